package sshd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
)

// principalText is the file of principals of one login: one line, with the
// options of an authorized_keys line (sshd(8)).
func principalText(options []string, login, server string, until time.Time) []byte {
	// Without a "Z" the time is the host's local one: OpenSSH knows the letter
	// only since 9.1.
	options = append(options, `expiry-time="`+until.Format("200601021504")+`"`)
	return []byte(strings.Join(options, ",") + " " + sshcert.UserPrincipal(login, server) + "\n")
}

func fromOption(sources []string) []string {
	if len(sources) == 0 {
		return nil
	}
	return []string{`from="` + strings.Join(sources, ",") + `"`}
}

// expiry is when principals written now end. It moves on once in renew, so
// that the files change once a day and not at every look; on each server at
// another time of the day.
func expiry(server string, now time.Time, valid time.Duration, local *time.Location) time.Time {
	renew := min(renewPrincipals, valid/2)
	share := spread(server, renew).Truncate(time.Minute) // expiry-time has no seconds
	return now.Add(valid - share).Truncate(renew).Add(share).In(local)
}

// principals are the wanted files by login. own are the host's addresses, the
// only ones from which the probe may come.
func (c checked) principals(now time.Time, local *time.Location, own []string) map[string][]byte {
	if !c.News.IsZero() && c.News.Before(now) {
		now = c.News
	}
	until := expiry(c.Server, now, c.valid, local)
	files := map[string][]byte{}
	for _, login := range c.Logins {
		files[login] = principalText(fromOption(c.sources), login, c.Server, until)
	}
	files[ident.Canary] = principalText(append([]string{"restrict"}, fromOption(own)...), ident.Canary, c.Server, until)
	return files
}

// location reads the host's time zone anew; the process's own was read at its
// start. Without the file the zone is UTC, for sshd too.
func location() *time.Location {
	raw, err := os.ReadFile("/etc/localtime")
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("Local", raw)
	if err != nil {
		return time.UTC
	}
	return zone
}

// writePrincipals takes files away first and writes after, and goes on after
// an error, so that one bad file cannot keep another person in.
func writePrincipals(dir string, files map[string][]byte, keep []string) (changed bool, err error) {
	kept := map[string]bool{}
	for _, login := range keep {
		kept[login] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, e := range entries {
		if _, wanted := files[e.Name()]; wanted || kept[e.Name()] {
			continue
		}
		// The folder is ours alone: whatever else lies in it goes.
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, err)
		}
		changed = true
	}
	if changed {
		// The power must not bring back who was taken out.
		errs = append(errs, atomicfile.SyncDir(dir))
	}
	for login, data := range files {
		wrote, err := atomicfile.Write(filepath.Join(dir, login), data, atomicfile.Options{Mode: 0o644, Owner: &atomicfile.Owner{}})
		if err != nil {
			errs = append(errs, err)
		}
		changed = changed || wrote
	}
	return changed, errors.Join(errs...)
}

// makeDir makes a folder that root alone may write and everybody may read:
// sshd reads principals as the user who logs in.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder; move it away", dir)
	}
	if err := os.Lchown(dir, 0, 0); err != nil {
		return err
	}
	if info.Mode().Perm() == 0o755 {
		return nil
	}
	return os.Chmod(dir, 0o755)
}
