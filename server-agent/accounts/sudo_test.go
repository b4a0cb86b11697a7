package accounts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

var everything = entitlement.Rules{Everything: true}

func fullSudo(t *testing.T, login string) string {
	t.Helper()
	text, err := sudoFile(login, everything)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// All of these are sudoers files that visudo calls right.
func TestARuleIsInstalledOnlyIfSudoReadsItAsItIsMeant(t *testing.T) {
	for _, program := range []string{visudo, cvtsudoers} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("SKIPPED: sudo is not here")
		}
	}
	rule := fullSudo(t, "alice")
	for _, c := range []struct {
		name, text string
		good       bool
	}{
		{"what the builder writes", rule, true},
		{"another login", fullSudo(t, "mallory"), false},
		{"one more rule", rule + "mallory ALL=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"the rule twice", rule + rule, false},
		{"one more login in the rule", "alice, mallory ALL=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"a group of that name", "%alice ALL=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"a user id", "#70001 ALL=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"everybody", "ALL ALL=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"a setting for all", rule + "Defaults !authenticate\n", false},
		{"an alias", rule + "User_Alias OPS = mallory\n", false},
		{"a password", "alice ALL=(ALL:ALL) ALL\n", false},
		{"one host alone", "alice web-1=(ALL:ALL) NOPASSWD: ALL\n", false},
		{"all but a command", "alice ALL=(ALL:ALL) NOPASSWD: ALL, !/bin/su\n", false},
		{"nothing", "# nothing\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rule")
			if err := os.WriteFile(path, []byte(c.text), sudoMode); err != nil {
				t.Fatal(err)
			}
			if err := new(Applier).checkSudo(t.Context(), path, "alice", everything); (err == nil) != c.good {
				t.Errorf("good: %v, error: %v", c.good, err)
			}
		})
	}
}

func TestARuleIsRefusedIfEitherProgramRefusesIt(t *testing.T) {
	const meant = `{"User_Specs": [{"User_List": [{"username": "alice"}], "Host_List": [{"hostname": "ALL"}], "Cmnd_Specs": [
		{"runasusers": [{"username": "ALL"}], "runasgroups": [{"usergroup": "ALL"}], "Options": [{"authenticate": false}], "Commands": [{"command": "ALL"}]}]}]}`
	for _, c := range []struct {
		name   string
		fails  string
		answer string
		good   bool
	}{
		{"both agree", "", meant, true},
		{"visudo fails", visudo, meant, false},
		{"cvtsudoers fails", cvtsudoers, meant, false},
		{"cvtsudoers answers no JSON", "", "ALL", false},
		{"cvtsudoers answers another meaning", "", "{}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Applier{Run: func(_ context.Context, argv ...string) ([]byte, error) {
				if argv[0] == c.fails {
					return []byte(c.answer), errors.New("it fails")
				}
				return []byte(c.answer), nil
			}}
			if err := a.checkSudo(t.Context(), "/nowhere", "alice", everything); (err == nil) != c.good {
				t.Errorf("good: %v, error: %v", c.good, err)
			}
		})
	}
}
