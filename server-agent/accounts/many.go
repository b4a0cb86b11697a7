package accounts

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// manyFrom is how many new accounts are made by writing the account files
	// once. useradd reads and writes all of them for each account: 5,000 take it
	// minutes, and writing them once takes a moment. Fewer are left to useradd.
	manyFrom = 16
	// manyTogether bounds one such batch, so that a lock can come in between.
	manyTogether = homesTogether
)

// newAccount is what useradd is told of a new account, besides its ids.
type newAccount struct {
	gecos, home, shell string
	group              bool     // its own group is there already
	groups             []string // the others
}

// errOneByOne: these accounts are for useradd.
var errOneByOne = errors.New("this host's accounts are made one by one")

// makeAccounts makes accounts, and returns what went wrong of each. Where not all
// can be made at once useradd is asked for one after the other: it makes those
// that it can, and says of the others why not. In between a newer want may come.
func (a *Applier) makeAccounts(ctx context.Context, steps []Step) []error {
	errs := make([]error, len(steps))
	one := func(i int) {
		a.begin(steps[i])
		errs[i] = a.step(ctx, steps[i])
	}
	rest := 0
	if len(steps) >= cmp.Or(a.ManyFrom, manyFrom) {
		// One is useradd's, and what it says of passwords' ages holds for all: which of
		// login.defs's words it heeds is different from version to version.
		one(0)
		rest = 1
		if errs[0] == nil && a.makeMany(ctx, steps[0].Login, steps[1:]) == nil {
			return errs
		}
	}
	for i := rest; i < len(steps); i++ {
		if a.Stale != nil && a.Stale() {
			errs[i] = ErrStale
			continue
		}
		one(i)
	}
	return errs
}

// makeMany makes many accounts with their groups. It writes what useradd would
// write, under the locks under which useradd writes, each file whole and passwd
// last: until then there is nobody, and a run that was cut off is finished by
// the next. An error means that nobody was made; useradd is then asked for each,
// and says what it does not like. The account like was just made by useradd.
func (a *Applier) makeMany(ctx context.Context, like string, steps []Step) error {
	defs, err := readDefaults("/")
	if err != nil {
		return err
	}
	if err := a.unknownElsewhere(ctx, defs, steps); err != nil {
		return err
	}
	unlock, err := lockAccounts("/etc")
	if err != nil {
		return err
	}
	defer unlock()
	files, err := readAccountFiles("/")
	if err != nil {
		return err
	}
	if defs.age, err = ageOf(files["shadow"], like); err != nil {
		return err
	}
	if err := addAccounts(files, steps, defs, int(a.now().Unix()/86400)); err != nil {
		return err
	}
	for _, name := range accountFiles {
		data, there := files[name]
		if !there {
			continue
		}
		path := filepath.Join("/etc", name)
		a.begin(Step{Op: OpRun, Subject: "file " + path, Argv: []string{"write", path}})
		if err := writeAccountFile(path, data); err != nil {
			return err
		}
	}
	a.forgetCached(ctx)
	return nil
}

// accountFiles are in the order in which they are written: a group that is there
// has its line in gshadow, and an account its group and its line in shadow.
var accountFiles = [...]string{"gshadow", "group", "shadow", "passwd"}

// defaults are what useradd reads of the host's administrator's.
type defaults struct {
	age       string // the last six fields of shadow(5), of an account that useradd made
	uidMax    int
	subIDs    bool // accounts up to uidMax get ids of a range of their own
	elsewhere bool // accounts may come from a directory service
}

// readDefaults refuses a host whose administrator wants more of useradd than
// what is written here.
func readDefaults(root string) (d defaults, err error) {
	d = defaults{uidMax: 60000}
	words, err := readWords(filepath.Join(root, "etc/login.defs"), " \t")
	if err != nil {
		return d, err
	}
	if s := words["UID_MAX"]; s != "" {
		if d.uidMax, err = strconv.Atoi(s); err != nil {
			return d, errOneByOne
		}
	}
	_, err = os.Stat(filepath.Join(root, "etc/subuid"))
	d.subIDs = err == nil
	own, err := readWords(filepath.Join(root, "etc/default/useradd"), "=")
	if err != nil || own["EXPIRE"] != "" || own["INACTIVE"] != "" && own["INACTIVE"] != "-1" {
		return d, errors.Join(err, errOneByOne)
	}
	for _, dir := range []string{"etc/shadow-maint/useradd-pre.d", "etc/shadow-maint/useradd-post.d"} {
		if scripts, _ := os.ReadDir(filepath.Join(root, dir)); len(scripts) > 0 {
			return d, errOneByOne
		}
	}
	services, err := readWords(filepath.Join(root, "etc/nsswitch.conf"), ":")
	for _, base := range []string{"passwd", "group"} {
		for _, s := range strings.Fields(services[base]) {
			d.elsewhere = d.elsewhere || s != "files"
		}
	}
	return d, err
}

// ageOf are the fields of login's line in shadow(5) behind that of its last change.
func ageOf(shadow []byte, login string) (string, error) {
	for _, fields := range entries(shadow) {
		if fields[0] == login && len(fields) == 9 {
			return strings.Join(fields[3:], ":"), nil
		}
	}
	return "", fmt.Errorf("%w: useradd made no line in shadow", errOneByOne)
}

// readWords reads lines of a key and a value; no file is none.
func readWords(path, between string) (map[string]string, error) {
	words := map[string]string{}
	raw, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return words, nil
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if i := strings.IndexAny(line, between); i > 0 && line[0] != '#' {
			words[line[:i]] = strings.TrimSpace(line[i+1:])
		}
	}
	return words, err
}

// unknownElsewhere asks the directory services whether they have any of the
// names and ids, as useradd does.
func (a *Applier) unknownElsewhere(ctx context.Context, d defaults, steps []Step) error {
	if !d.elsewhere {
		return nil
	}
	for database, id := range map[string]func(Step) int{"passwd": func(s Step) int { return s.UID }, "group": func(s Step) int { return s.GID }} {
		argv := []string{getent, database}
		for _, s := range steps {
			if database == "passwd" || !s.New.group {
				argv = append(argv, s.Login, strconv.Itoa(id(s)))
			}
		}
		if len(argv) == 2 {
			continue
		}
		out, err := a.run(ctx, argv...)
		var exit *exec.ExitError
		if len(out) > 0 || !errors.As(err, &exit) || exit.ExitCode() != notAll {
			return errOneByOne
		}
	}
	return nil
}

// addAccounts adds to the account files what useradd would add. It refuses what
// it does not know to be free.
func addAccounts(files map[string][]byte, steps []Step, d defaults, today int) error {
	names, ids := map[string]bool{}, map[string]bool{}
	groups, gids := map[string]string{}, map[string]bool{}
	for _, fields := range entries(files["passwd"]) {
		if len(fields) < 7 || strings.ContainsAny(fields[0][:1], "+-") {
			return errOneByOne // NIS, or something that is not ours to read
		}
		names[fields[0]], ids[fields[2]] = true, true
	}
	for _, fields := range entries(files["group"]) {
		if len(fields) < 4 || strings.ContainsAny(fields[0][:1], "+-") {
			return errOneByOne
		}
		groups[fields[0]], gids[fields[2]] = fields[2], true
	}
	join := map[string][]string{}
	var passwd, shadow, group, gshadow bytes.Buffer
	logins := map[string]bool{}
	for _, s := range steps {
		uid, gid := strconv.Itoa(s.UID), strconv.Itoa(s.GID)
		own, there := groups[s.Login]
		switch {
		case names[s.Login] || ids[uid] || d.subIDs && s.UID <= d.uidMax,
			there != s.New.group, there && own != gid, !there && gids[gid],
			strings.ContainsAny(s.Login+s.New.gecos+s.New.home+s.New.shell, ":\n\r\x00"):
			return fmt.Errorf("%w: %s", errOneByOne, s.Login)
		}
		if !there {
			fmt.Fprintf(&group, "%s:x:%s:\n", s.Login, gid)
			fmt.Fprintf(&gshadow, "%s:!::\n", s.Login)
		}
		for _, g := range s.New.groups {
			if _, there := groups[g]; !there {
				return fmt.Errorf("%w: there is no group %s", errOneByOne, g)
			}
			join[g] = append(join[g], s.Login)
		}
		fmt.Fprintf(&passwd, "%s:x:%s:%s:%s:%s:%s\n", s.Login, uid, gid, s.New.gecos, s.New.home, s.New.shell)
		fmt.Fprintf(&shadow, "%s:*:%d:%s\n", s.Login, today, d.age)
		names[s.Login], ids[uid], groups[s.Login], gids[gid], logins[s.Login] = true, true, gid, true, true
	}
	files["passwd"] = slices.Concat(whole(files["passwd"]), passwd.Bytes())
	files["shadow"] = slices.Concat(without(whole(files["shadow"]), logins), shadow.Bytes())
	files["group"] = slices.Concat(joined(whole(files["group"]), join), group.Bytes())
	if old, there := files["gshadow"]; there {
		left := map[string]bool{}
		for _, s := range steps {
			left[s.Login] = !s.New.group
		}
		files["gshadow"] = slices.Concat(joined(without(whole(old), left), join), gshadow.Bytes())
	}
	return nil
}

// entries are the fields of the lines of an account file.
func entries(raw []byte) (all [][]string) {
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != '#' {
			all = append(all, strings.Split(line, ":"))
		}
	}
	return all
}

// whole ends the last line.
func whole(raw []byte) []byte {
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		return append(slices.Clone(raw), '\n')
	}
	return raw
}

// without leaves lines of these names out: a run that was cut off wrote them.
func without(raw []byte, names map[string]bool) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(raw) {
		if name, _, _ := bytes.Cut(line, []byte(":")); !names[string(name)] {
			out.Write(line)
		}
	}
	return out.Bytes()
}

// joined puts people into groups: the fourth field is a list of names.
func joined(raw []byte, join map[string][]string) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(raw) {
		fields := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		people := join[fields[0]]
		if len(people) == 0 || len(fields) != 4 {
			out.Write(line)
			continue
		}
		var list []string
		for m := range strings.SplitSeq(fields[3], ",") {
			if m != "" && !slices.Contains(people, m) {
				list = append(list, m)
			}
		}
		fields[3] = strings.Join(append(list, people...), ",")
		out.WriteString(strings.Join(fields, ":") + "\n")
	}
	return out.Bytes()
}

// forgetCached tells the caches of names, where there are any.
func (a *Applier) forgetCached(ctx context.Context) {
	for _, argv := range [][]string{{nscd, "-i", "passwd"}, {nscd, "-i", "group"}, {sssCache, "-U", "-G"}} {
		if _, err := os.Stat(argv[0]); err == nil {
			a.run(ctx, argv...) // it fails where the service does not run
		}
	}
}
