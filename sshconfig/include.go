package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// includeNote stands before the Include line, for whoever reads his own file.
const includeNote = "# Cardea's servers; \"cardea ssh-config --uninstall\" removes these lines.\n"

// Include puts one Include line for path first into a user's ssh configuration and keeps
// every other byte. First is where it must be: ssh takes the first value that it finds, and
// an Include below a Host line belongs to that host. If it stands first already, changed is
// false; if it stands elsewhere, it is moved. path is as the user would write it
// (~/.ssh/cardea/config), or absolute. A file that begins with a byte order mark is an error:
// ssh reads none, whatever stands in it.
func Include(config []byte, path string) (out []byte, changed bool, err error) {
	block, err := includeBlock(path)
	if err != nil {
		return nil, false, err
	}
	if bytes.HasPrefix(config, block) {
		return config, false, nil
	}
	if !strings.HasPrefix(path, "~/") && strings.Contains(path, "%") {
		return nil, false, fmt.Errorf("%.200q has a per cent sign, which ssh before 9.9 takes for itself and later ones for the beginning of more; set HOME to a path without", path)
	}
	if bytes.HasPrefix(config, []byte("\xef\xbb\xbf")) {
		return nil, false, errors.New("it begins with a byte order mark, which ssh cannot read; save it as UTF-8 without one")
	}
	rest, _, err := Exclude(config, path)
	if err != nil {
		return nil, false, err
	}
	return append(block, rest...), true, nil
}

// Exclude undoes Include: what is left are the bytes that were there before. A line that
// the user wrote differently (other blanks, other case) is left alone, unless it is ours
// without the note.
func Exclude(config []byte, path string) (out []byte, changed bool, err error) {
	block, err := includeBlock(path)
	if err != nil {
		return nil, false, err
	}
	line := block[len(includeNote) : len(block)-1] // without the blank line after it
	for _, b := range [][]byte{block, append([]byte(includeNote), line...), line} {
		if before, after, found := cutAtLine(config, b); found {
			return append(before[:len(before):len(before)], after...), true, nil
		}
	}
	return config, false, nil
}

func includeBlock(path string) ([]byte, error) {
	arg := path
	if rest, home := strings.CutPrefix(path, "~/"); home {
		if err := checkLetters(rest); err != nil {
			return nil, err
		}
		if strings.ContainsAny(rest, quoted) {
			arg = `"` + path + `"`
		}
	} else {
		var err error
		if arg, err = argument(path); err != nil {
			return nil, err
		}
		arg = strings.ReplaceAll(arg, "%%", "%") // Include knows no tokens before OpenSSH 9.9
	}
	if strings.ContainsAny(path, "*?[") {
		return nil, fmt.Errorf("%.200q would be read as a pattern of paths", path)
	}
	return []byte(includeNote + "Include " + arg + "\n\n"), nil
}

// cutAtLine is bytes.Cut where the match begins a line.
func cutAtLine(config, sep []byte) (before, after []byte, found bool) {
	for from := 0; ; {
		i := bytes.Index(config[from:], sep)
		if i < 0 {
			return nil, nil, false
		}
		i += from
		if i == 0 || config[i-1] == '\n' {
			return config[:i], config[i+len(sep):], true
		}
		from = i + 1
	}
}
