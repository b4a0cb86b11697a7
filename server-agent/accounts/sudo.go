package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

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
	// maxSudoers bounds what is read of one file below /etc/sudoers.d, in bytes.
	maxSudoers = 64 << 10
)

func sudoersPath(uid int) string { return filepath.Join(sudoersDir, sudoPrefix+strconv.Itoa(uid)) }

// sudoRule is full sudo for one login, without a password: the account has
// none. The login obeys the grammar of ident, in which nothing is special to
// sudoers.
func sudoRule(login string) string {
	return sudoHeader + login + " ALL=(ALL:ALL) NOPASSWD: ALL\n"
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

// installSudo puts the rule of login in place after three checks of the very
// file: visudo says that it parses, cvtsudoers that it means what is meant and
// nothing else, and, once it is there, visudo that the whole is still valid.
// A configuration that is broken already is not ours to mend, nor to add to.
func (a *Applier) installSudo(ctx context.Context, login string, uid int) error {
	if err := ident.Login(login); err != nil {
		return err
	}
	if _, err := a.run(ctx, visudo, "-c"); err != nil {
		return fmt.Errorf("the sudo configuration of the host is broken, mend it with visudo: %w", err)
	}
	check := func(temp string) error { return a.checkSudo(ctx, temp, login) }
	path := sudoersPath(uid)
	opt := atomicfile.Options{Mode: sudoMode, Owner: &atomicfile.Owner{}, Check: check}
	if _, err := atomicfile.Write(path, []byte(sudoRule(login)), opt); err != nil {
		return err
	}
	if _, err := a.run(ctx, visudo, "-c"); err != nil {
		_, undo := atomicfile.Remove(path)
		return errors.Join(fmt.Errorf("the sudo rule was taken back: %w", err), undo)
	}
	return nil
}

// checkSudo has sudo's own programs read the file that is to be installed.
func (a *Applier) checkSudo(ctx context.Context, temp, login string) error {
	if _, err := a.run(ctx, visudo, "-c", "-f", temp); err != nil {
		return err
	}
	meaning, err := a.run(ctx, cvtsudoers, "-c", "/dev/null", "-f", "json", temp)
	if err != nil {
		return err
	}
	return checkSudoMeaning(meaning, login)
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

// checkSudoMeaning compares what sudo understood with what was meant: exactly
// one rule, for exactly this login.
func checkSudoMeaning(raw []byte, login string) error {
	var got any
	if err := json.Unmarshal(raw, &got); err != nil {
		return fmt.Errorf("cvtsudoers did not answer in JSON: %w", err)
	}
	for _, setenv := range []bool{true, false} {
		if reflect.DeepEqual(got, sudoMeaning(login, setenv)) {
			return nil
		}
	}
	return fmt.Errorf("sudo reads the rule of %s as something else than was meant", login)
}

// sudoMeaning is the JSON of sudoRule. Newer versions add that ALL implies
// SETENV.
func sudoMeaning(login string, setenv bool) any {
	type object = map[string]any
	type list = []any
	options := list{object{"authenticate": false}}
	if setenv {
		options = append(options, object{"setenv": true})
	}
	return object{"User_Specs": list{object{
		"User_List": list{object{"username": login}},
		"Host_List": list{object{"hostname": "ALL"}},
		"Cmnd_Specs": list{object{
			"runasusers":  list{object{"username": "ALL"}},
			"runasgroups": list{object{"usergroup": "ALL"}},
			"Options":     options,
			"Commands":    list{object{"command": "ALL"}},
		}},
	}}}
}
