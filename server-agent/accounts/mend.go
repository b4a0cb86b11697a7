package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Shadow-utils replace passwd and shadow, group and gshadow one after the other.
// Where one of them is killed in between, or the disk is full then, the second
// file lacks a line or has one too many, and none of these programs mends that:
// a group without a line in gshadow stays so, and gpasswd heeds gshadow alone
// when it says who may change a group.

// outOfStep are the names of ours of which shadow or gshadow say something else
// than passwd and group, and both files as they should be. A missing line of
// shadow is left to usermod, which knows what the host wants of a new one.
func outOfStep(files map[string][]byte, reg Register) (names []string, mended map[string][]byte) {
	wrong := map[string]bool{}
	people := map[string]bool{}
	for _, fields := range entries(files["passwd"]) {
		people[fields[0]] = true
	}
	gone := map[string]bool{}
	for _, o := range reg.Accounts {
		gone[o.Login] = !people[o.Login]
	}
	mended = map[string][]byte{"shadow": eachLine(files["shadow"], func(name, line string) string {
		if gone[name] {
			wrong[name] = true
			return ""
		}
		return line
	})}
	if gshadow, there := files["gshadow"]; there {
		mended["gshadow"] = groupsInStep(files["group"], gshadow, reg, wrong)
	}
	return slices.Sorted(maps.Keys(wrong)), mended
}

// groupsInStep is gshadow as group is.
func groupsInStep(group, gshadow []byte, reg Register, wrong map[string]bool) []byte {
	members, missing, recorded := map[string]string{}, map[string]bool{}, map[string]bool{}
	exists := map[string]bool{}
	for _, o := range reg.Groups {
		recorded[o.Name] = true
	}
	for _, fields := range entries(group) {
		exists[fields[0]] = true
		if gid, err := strconv.Atoi(fields[min(2, len(fields)-1)]); len(fields) == 4 && err == nil && reg.ownsGroup(fields[0], gid) {
			members[fields[0]], missing[fields[0]] = fields[3], true
		}
	}
	out := eachLine(gshadow, func(name, line string) string {
		want, ours := members[name]
		fields := strings.Split(line, ":")
		switch {
		case recorded[name] && !exists[name]:
			wrong[name] = true
			return ""
		case !ours || len(fields) != 4:
		case !slices.Equal(sortedList(want), sortedList(fields[3])):
			wrong[name] = true
			fields[3] = want
			line = strings.Join(fields, ":")
		}
		delete(missing, name)
		return line
	})
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		wrong[name] = true
		out = append(whole(out), name+":!::"+members[name]+"\n"...)
	}
	return out
}

func mendStep(names []string) Step {
	some := strings.Join(names[:min(len(names), maxListed)], ", ")
	if more := len(names) - maxListed; more > 0 {
		some += fmt.Sprintf(" and %d more", more)
	}
	return Step{Op: OpMend, Subject: "account files", Login: some}
}

func sortedList(s string) []string { return slices.Sorted(strings.SplitSeq(s, ",")) }

// eachLine gives each line of an account file to f, without its end, and leaves
// those out of which f makes nothing.
func eachLine(raw []byte, f func(name, line string) string) []byte {
	var out []byte
	for line := range strings.Lines(string(raw)) {
		text, ended := strings.CutSuffix(line, "\n")
		name, _, _ := strings.Cut(text, ":")
		if text = f(name, text); text != "" {
			out = append(out, text...)
			if ended {
				out = append(out, '\n')
			}
		}
	}
	return out
}

// mend puts shadow and gshadow in step, under the locks of shadow-utils.
func (a *Applier) mend() error {
	reg, err := LoadRegister(a.Register)
	if err != nil {
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
	_, mended := outOfStep(files, reg)
	for _, name := range slices.Sorted(maps.Keys(mended)) {
		if err := writeAccountFile(filepath.Join("/etc", name), mended[name]); err != nil {
			return err
		}
	}
	return nil
}

// mendAfter mends what a program of shadow-utils that failed may have left, and
// leaves it to the next run where that fails too: then a disk is full.
func (a *Applier) mendAfter(res *Result) {
	if a.Run == nil && res.runFailed {
		if err := a.mend(); err != nil {
			res.Problems = append(res.Problems, "the lines of Cardea's accounts in /etc/shadow and /etc/gshadow may not be complete: "+ident.Text(err.Error()))
		}
	}
}

// writeAccountFile replaces one of the account files, and keeps its label.
func writeAccountFile(path string, data []byte) error {
	_, err := atomicfile.Write(path, data, atomicfile.Options{Check: func(temp string) error { return copyLabel(path, temp) }})
	return err
}

// readAccountFiles reads the four files below root; a host may have no gshadow.
func readAccountFiles(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range accountFiles {
		raw, err := readFile(filepath.Join(root, "etc", name))
		if errors.Is(err, fs.ErrNotExist) && name == "gshadow" {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = raw
	}
	return files, nil
}

// sweepAccountFiles removes what a killed run, or a disk that let no file be
// removed, left beside the account files.
func sweepAccountFiles() error { return atomicfile.Sweep("/etc") }
