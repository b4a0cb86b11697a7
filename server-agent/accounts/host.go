package accounts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Host is what the planner may know of a machine.
type Host struct {
	Users  []User
	Groups []Group
	Shadow map[string]Shadow // by login
	Shells []string
	// Homes are the wanted homes that exist, by login.
	Homes map[string]Home
	// HomeProblem is set if no home can be made safely.
	HomeProblem string
	// OldHomes are the uids whose homes were moved away and wait for their end.
	OldHomes []int
	// Sudoers are our files below /etc/sudoers.d, by uid.
	Sudoers map[int]string
	// Busy are the uids of locked accounts that still have processes.
	Busy map[int]bool
	// Jobs are the paths of what acts for locked accounts, by uid.
	Jobs map[int][]string
	// Leftovers are what locked accounts have where everybody may write, by uid.
	Leftovers map[int]leftover
	// OutOfStep are names of ours of which shadow or gshadow say something else
	// than passwd and group.
	OutOfStep []string
	// Unread are sentences about what could not be looked at.
	Unread []string
	// Today is in days since 1970, as /etc/shadow counts.
	Today    int
	Register Register
}

// User is a line of /etc/passwd.
type User struct {
	Name, GECOS, Home, Shell string
	UID, GID                 int
}

// Group is a line of /etc/group.
type Group struct {
	Name    string
	GID     int
	Members []string
}

// Shadow is what matters here of a line of /etc/shadow.
type Shadow struct {
	Password string
	Expires  int // day; -1 means never
}

// Home is what lstat says of a home that exists.
type Home struct {
	UID int
	Dir bool // a folder, and not a symbolic link
}

// maxAccountFile bounds /etc/passwd and its sisters, in bytes: 100 MB are more
// than half a million accounts.
const maxAccountFile = 100 << 20

// ReadHost reads the files of the host below root ("/" but for tests) and
// looks at the homes of the logins.
func ReadHost(root string, reg Register, logins []string, now time.Time) (Host, error) {
	h := Host{Register: reg, Today: int(now.Unix() / 86400), Homes: map[string]Home{}}
	if err := h.readAccounts(root); err != nil {
		return h, err
	}
	h.readHomes(filepath.Join(root, HomeBase), logins)
	var err error
	h.Sudoers, err = readSudoers(filepath.Join(root, sudoersDir))
	return h, err
}

func (h *Host) readAccounts(root string) error {
	for name, parse := range map[string]func([]byte){
		"passwd": func(b []byte) { h.Users = parsePasswd(b) },
		"group":  func(b []byte) { h.Groups = parseGroup(b) },
		"shadow": func(b []byte) { h.Shadow = parseShadow(b) },
		"shells": func(b []byte) { h.Shells = parseShells(b) },
	} {
		raw, err := readFile(filepath.Join(root, "etc", name))
		if errors.Is(err, fs.ErrNotExist) && name == "shells" {
			continue // then only FallbackShell is allowed
		}
		if err != nil {
			return fmt.Errorf("read the accounts of the host: %w", err)
		}
		parse(raw)
	}
	files, err := readAccountFiles(root)
	if err != nil {
		return fmt.Errorf("read the accounts of the host: %w", err)
	}
	h.OutOfStep, _ = outOfStep(files, h.Register)
	if len(h.Users) == 0 || len(h.Groups) == 0 {
		return errors.New("read the accounts of the host: /etc/passwd or /etc/group is empty")
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxAccountFile {
		return nil, fmt.Errorf("%s is not a file of sane size", path)
	}
	return os.ReadFile(path)
}

func (h *Host) readHomes(base string, logins []string) {
	info, err := os.Stat(base)
	switch {
	case err != nil:
		h.HomeProblem = HomeBase + " does not exist"
		return
	case !info.IsDir() || info.Mode().Perm()&0o022 != 0 || ownerOf(info) != os.Geteuid():
		h.HomeProblem = HomeBase + " is not a folder that root alone can write"
		return
	}
	h.OldHomes = oldHomes(base)
	for _, login := range logins {
		info, err := os.Lstat(filepath.Join(base, filepath.Base(login)))
		if err != nil {
			continue // absent; anything worse shows when the home is made
		}
		h.Homes[login] = Home{UID: ownerOf(info), Dir: info.IsDir()}
	}
}

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// records calls f with the fields of every line that has at least n of them.
// Lines that are something else (comments, NIS "+" lines) are not ours to judge.
func records(raw []byte, n int, f func([]string)) {
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, len(raw)+1)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) >= n && fields[0] != "" {
			f(fields)
		}
	}
}

func parsePasswd(raw []byte) (users []User) {
	records(raw, 7, func(f []string) {
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 == nil && err2 == nil {
			users = append(users, User{Name: f[0], UID: int(uid), GID: int(gid), GECOS: f[4], Home: f[5], Shell: f[6]})
		}
	})
	return users
}

func parseGroup(raw []byte) (groups []Group) {
	records(raw, 4, func(f []string) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return
		}
		g := Group{Name: f[0], GID: int(gid)}
		for m := range strings.SplitSeq(f[3], ",") {
			if m != "" {
				g.Members = append(g.Members, m)
			}
		}
		groups = append(groups, g)
	})
	return groups
}

func parseShadow(raw []byte) map[string]Shadow {
	m := map[string]Shadow{}
	records(raw, 8, func(f []string) {
		s := Shadow{Password: f[1], Expires: -1}
		if day, err := strconv.Atoi(f[7]); err == nil && day >= 0 {
			s.Expires = day
		}
		m[f[0]] = s
	})
	return m
}

func parseShells(raw []byte) (shells []string) {
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
			shells = append(shells, line)
		}
	}
	return shells
}
