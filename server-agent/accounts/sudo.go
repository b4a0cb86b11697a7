package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
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

// installSudo puts the rules of login in place after three checks of the very
// file: visudo says that it parses, cvtsudoers that it means what is meant and
// nothing else, and, once it is there, visudo that the whole is still valid.
// A configuration that is broken already is not ours to mend, nor to add to.
// Where the new rules cannot be put in place, old ones that give more do not stay.
func (a *Applier) installSudo(ctx context.Context, login string, uid int, rules entitlement.Rules) error {
	if err := ident.Login(login); err != nil {
		return err
	}
	text, err := sudoFile(login, rules)
	if err != nil {
		return err
	}
	path := sudoersPath(uid)
	if err := a.replaceSudo(ctx, path, text, login, rules); err != nil {
		return errors.Join(err, withdraw(path, text))
	}
	return nil
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

func (a *Applier) replaceSudo(ctx context.Context, path, text, login string, rules entitlement.Rules) error {
	if _, err := a.run(ctx, visudo, "-c"); err != nil {
		return fmt.Errorf("the sudo configuration of the host is broken, mend it with visudo: %w", err)
	}
	check := func(temp string) error { return a.checkSudo(ctx, temp, login, rules) }
	opt := atomicfile.Options{Mode: sudoMode, Owner: &atomicfile.Owner{}, Check: check}
	if _, err := atomicfile.Write(path, []byte(text), opt); err != nil {
		return err
	}
	if _, err := a.run(ctx, visudo, "-c"); err != nil {
		_, undo := atomicfile.Remove(path)
		return errors.Join(fmt.Errorf("the sudo rule was taken back: %w", err), undo)
	}
	return nil
}

// checkSudo has sudo's own programs read the file that is to be installed.
func (a *Applier) checkSudo(ctx context.Context, temp, login string, rules entitlement.Rules) error {
	if _, err := a.run(ctx, visudo, "-c", "-f", temp); err != nil {
		return err
	}
	meaning, err := a.run(ctx, cvtsudoers, "-c", "/dev/null", "-f", "json", temp)
	if err != nil {
		return err
	}
	return rules.CheckMeaning(login, meaning)
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
