package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

const (
	sudoersDir = "/etc/sudoers.d"
	// sudoPrefix and the uid make the name: sudo skips names with a dot or a
	// tilde at the end in silence, and a login might one day have either.
	sudoPrefix = "50-cardea-"
	// sudoHeader marks a file as ours; without it a file is left alone.
	sudoHeader = "# Written by cardea-server-agent, which puts it back when it is changed.\n"
	// sudoMode is what sudo itself gives its files.
	sudoMode = 0o440
	// maxSudoers bounds one file of ours below /etc/sudoers.d, in bytes: the most
	// rules of one person, each of half a kilobyte. It holds for what is written
	// as for what is read: a file that cannot be read counts as somebody else's,
	// and would stay when the person has lost everything.
	maxSudoers = entitlement.MaxRules << 9
)

func sudoersPath(uid int) string { return filepath.Join(sudoersDir, sudoPrefix+strconv.Itoa(uid)) }

// sudoFile is what the file of a login with these rules holds.
func sudoFile(login string, rules entitlement.Rules) (string, error) {
	text, err := rules.Sudoers(login)
	if text = sudoHeader + text; err == nil && len(text) > maxSudoers {
		err = fmt.Errorf("the rules have %d bytes, and %d are the most", len(text), maxSudoers)
	}
	return text, err
}

// readSudoers reads our files, by uid. One that is no plain file, or too
// large, counts as somebody else's.
func readSudoers(dir string) (map[int]string, error) {
	found := map[int]string{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil // no sudo on this host
	}
	if err != nil {
		return nil, fmt.Errorf("read the sudo rules: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), sudoPrefix)
		uid, err := strconv.Atoi(id)
		if !ok || err != nil || strconv.Itoa(uid) != id {
			continue
		}
		found[uid] = ""
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() <= maxSudoers {
			raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("read the sudo rules: %w", err)
			}
			found[uid] = string(raw)
		}
	}
	return found, nil
}

// withdraw removes rules of ours of which one is not in text.
func withdraw(path, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(old), sudoHeader) {
		return nil
	}
	if err != nil {
		return err
	}
	allowed := map[string]bool{}
	for line := range strings.Lines(text) {
		allowed[line] = true
	}
	for line := range strings.Lines(string(old)) {
		if !allowed[line] {
			_, err := atomicfile.Remove(path)
			return err
		}
	}
	return nil
}

func (a *Applier) removeSudo(uid int) error {
	path := sudoersPath(uid)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(raw), sudoHeader) {
		return fmt.Errorf("%s is not Cardea's and is left alone", path)
	}
	_, err = atomicfile.Remove(path)
	return err
}
