package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxLeftover and maxDepth bound the walk through the folders that everybody
	// may fill: entries of all of them, and folders inside each other.
	maxLeftover, maxDepth = 100_000, 32
	// maxFindings is how many files of one person are told one by one.
	maxFindings = 5
)

// openFolders are writable for everybody on every Unix.
var openFolders = [...]string{"/tmp", "/var/tmp", "/dev/shm"}

// leftover is what one person has in the open folders. It is told and not
// touched: it may be evidence, or somebody's work.
type leftover struct {
	setID   []string // at most maxFindings
	more    int      // further ones
	files   int      // that are not set-id
	example string
}

// findLeftovers walks the open folders below root for files of people, logins
// by uid. It follows no link and enters nothing that is mounted there: such a
// file system may be a person's own program that never answers. What cannot be
// read is left out; the walk is a help and no proof.
func findLeftovers(root string, people map[int]string) map[int]leftover {
	found := map[int]leftover{}
	if len(people) == 0 {
		return found
	}
	mounts, seen := mountPoints(root), 0
	for _, top := range openFolders {
		dir, err := os.OpenRoot(filepath.Join(root, top))
		if err != nil {
			continue
		}
		fs.WalkDir(dir.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			path := filepath.Join(top, name)
			if seen++; seen > maxLeftover {
				return fs.SkipAll
			}
			switch {
			case err != nil:
				return nil // of a folder: it could not be read, and is passed over
			case name == ".":
				return nil
			case d.IsDir() && (mounts[path] || strings.Count(name, "/") >= maxDepth):
				return fs.SkipDir
			case d.Type().IsRegular() && !mounts[path]:
				note(found, people, path, d)
			}
			return nil
		})
		dir.Close()
	}
	return found
}

func note(found map[int]leftover, people map[int]string, path string, d fs.DirEntry) {
	info, err := d.Info()
	if err != nil {
		return
	}
	uid := ownerOf(info)
	if _, his := people[uid]; !his {
		return
	}
	l := found[uid]
	switch {
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) == 0:
		if l.files++; l.example == "" {
			l.example = path
		}
	case len(l.setID) < maxFindings:
		l.setID = append(l.setID, path)
	default:
		l.more++
	}
	found[uid] = l
}

// mountPoints reads proc_pid_mountinfo(5): the fifth field of each line, with
// spaces and the like as octal numbers.
func mountPoints(root string) map[string]bool {
	points := map[string]bool{}
	raw, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return points
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 {
			points[plain.Replace(f[4])] = true
		}
	}
	return points
}

// setIDProblems are sentences about programs that run as somebody who is gone.
func setIDProblems(login string, l leftover) (problems []string) {
	for _, path := range l.setID {
		problems = append(problems, fmt.Sprintf("%s, who is locked, has left the set-id program %s; look at it and remove it", login, quotePath(path)))
	}
	if l.more > 0 {
		problems = append(problems, fmt.Sprintf("%s, who is locked, has left %d more set-id programs in %s", login, l.more, strings.Join(openFolders[:], ", ")))
	}
	return problems
}

// leftBehind says in one sentence what else is left of a person, or "".
func leftBehind(root, login string, l leftover, strays []process) string {
	var parts []string
	if l.files > 0 {
		parts = append(parts, fmt.Sprintf("%d files in %s, such as %s", l.files, strings.Join(openFolders[:], ", "), quotePath(l.example)))
	}
	if _, err := os.Lstat(filepath.Join(root, "/var/mail", login)); !errors.Is(err, fs.ErrNotExist) {
		parts = append(parts, "mail")
	}
	for i, p := range strays {
		if i == maxFindings {
			parts = append(parts, fmt.Sprintf("%d more processes", len(strays)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("process %d (%s) of uid %d, begun in a session of this account", p.pid, quotePath(p.name), p.uids[1]))
	}
	if len(parts) == 0 {
		return ""
	}
	return "left behind, and not touched: " + strings.Join(parts, "; ")
}
