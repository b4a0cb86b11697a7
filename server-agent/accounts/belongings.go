package accounts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxSpool bounds the entries that are read of one folder of jobs. More are a
// fault of somebody's, and a problem rather than a wait.
const maxSpool = 100_000

// spool is a folder in which programs of the system keep what acts for a person
// while he is away, or lets him in without a question.
type spool struct {
	dir   string
	whose func(name string, owner int, logins map[string]int) (uid int, ok bool)
}

// spools are those of systemd, of the crons of Debian, Red Hat, SUSE and Alpine,
// of the at of Debian and Red Hat, and of old and new sudos.
var spools = [...]spool{
	{"/var/lib/systemd/linger", byLogin},
	{"/var/spool/cron/crontabs", byLogin},
	{"/var/spool/cron/tabs", byLogin},
	{"/var/spool/cron", byLogin},
	{"/etc/crontabs", byLogin},
	{"/var/spool/cron/atjobs", byOwner},
	{"/var/spool/at", byOwner},
	{"/run/sudo/ts", byLoginOrUID},
	{"/var/lib/sudo/ts", byLoginOrUID},
	{"/var/db/sudo/ts", byLoginOrUID},
}

// byLogin takes a file for that of the person whose login is its name, if it
// belongs to him or to the system. A stranger's is not his.
func byLogin(name string, owner int, logins map[string]int) (int, bool) {
	uid, ok := logins[name]
	return uid, ok && (owner == uid || owner < MinID)
}

func byOwner(_ string, owner int, _ map[string]int) (int, bool) { return owner, true }

func byLoginOrUID(name string, owner int, logins map[string]int) (int, bool) {
	if uid, err := strconv.Atoi(name); err == nil && strconv.Itoa(uid) == name {
		return uid, owner == uid || owner < MinID
	}
	return byLogin(name, owner, logins)
}

// belonging is one entry of a spool.
type belonging struct {
	uid       int
	dir, name string
}

func (b belonging) path() string { return filepath.Join(b.dir, b.name) }

// findBelongings looks for what people, logins by uid, have in the spools below
// root. A folder that cannot be trusted is an error, and the others go on.
func findBelongings(root string, people map[int]string) (found []belonging, err error) {
	if len(people) == 0 {
		return nil, nil
	}
	logins := map[string]int{}
	for uid, login := range people {
		logins[login] = uid
	}
	var errs []error
	seen := map[string]bool{}
	for _, s := range spools {
		dir, entries, err := readSpool(root, s.dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if seen[dir] {
			continue // two names of one folder, as on Alpine
		}
		seen[dir] = true
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.IsDir() {
				continue // ended meanwhile; folders are other spools
			}
			uid, ok := s.whose(e.Name(), ownerOf(info), logins)
			if _, his := people[uid]; ok && his {
				found = append(found, belonging{uid, dir, e.Name()})
			}
		}
	}
	return found, errors.Join(errs...)
}

// readSpool returns the folder under its real name, and what is in it.
func readSpool(root, dir string) (string, []fs.DirEntry, error) {
	dir, err := trusted(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil, nil // the host has no such program
	}
	if err != nil {
		return dir, nil, err
	}
	d, err := os.Open(filepath.Join(root, dir))
	if err != nil {
		return dir, nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(maxSpool + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return dir, nil, err
	}
	if len(entries) > maxSpool {
		return dir, nil, fmt.Errorf("%s has more than %d entries", dir, maxSpool)
	}
	return dir, entries, nil
}

// trusted returns the real name of dir after making sure that no person can put
// another folder in its place, or in that of one above it: each is a system
// account's, and not everybody may write to it. Links are followed if they are
// the system's, too: an administrator may keep a spool on another disk.
func trusted(root, dir string) (string, error) {
	if err := systemOnly(root, dir); err != nil {
		return dir, err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(root, dir))
	if err != nil {
		return dir, err
	}
	if real, err = filepath.Rel(root, real); err != nil {
		return dir, err
	}
	real = "/" + real
	if real != dir {
		err = systemOnly(root, real)
	}
	return real, err
}

func systemOnly(root, dir string) error {
	at := root
	for part := range strings.SplitSeq(strings.TrimPrefix(dir, "/"), "/") {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		link := info.Mode()&fs.ModeSymlink != 0 // of which the mode means nothing
		if owner := ownerOf(info); owner < 0 || owner >= MinID || !link && (!info.IsDir() || info.Mode().Perm()&0o002 != 0) {
			return fmt.Errorf("%s is not a folder that the system alone can write, so nothing in it is touched", at)
		}
	}
	return nil
}

// removeBelongings removes what one person has in the spools below root, and
// says how many there were. Only names in folders that he cannot exchange are
// removed, and none is opened: a link goes itself, not what it leads to.
func removeBelongings(root, login string, uid int) (removed int, err error) {
	found, err := findBelongings(root, map[int]string{uid: login})
	errs := []error{err}
	for _, b := range found {
		dir, err := os.OpenRoot(filepath.Join(root, b.dir))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = dir.Remove(b.name)
		dir.Close()
		if err == nil {
			removed++
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// pathsByUID is for the planner, which prints them.
func pathsByUID(found []belonging) map[int][]string {
	paths := map[int][]string{}
	for _, b := range found {
		paths[b.uid] = append(paths[b.uid], b.path())
	}
	for _, list := range paths {
		slices.Sort(list)
	}
	return paths
}
