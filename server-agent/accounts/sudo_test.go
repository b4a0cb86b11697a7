package accounts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

var (
	everything = entitlement.Rules{Everything: true}
	alone      = []entitlement.Holder{{Login: "alice", Rules: everything}}
)

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
			a := Applier{Register: filepath.Join(t.TempDir(), "register")}
			if err := a.checkSudo(t.Context(), c.text, alone); (err == nil) != c.good {
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
			a := Applier{Register: filepath.Join(t.TempDir(), "register"), Run: func(_ context.Context, argv ...string) ([]byte, error) {
				if argv[0] == c.fails {
					return []byte(c.answer), errors.New("it fails")
				}
				return []byte(c.answer), nil
			}}
			if err := a.checkSudo(t.Context(), fullSudo(t, "alice"), alone); (err == nil) != c.good {
				t.Errorf("good: %v, error: %v", c.good, err)
			}
		})
	}
}

// An entitlement with as many and as long arguments as may be makes a file that
// we would not read again: it would count as somebody else's, and stay for ever
// when the person has lost it.
func TestNoMoreRulesAreWrittenThanAreRead(t *testing.T) {
	long := entitlement.Command{Kind: entitlement.Executable, Arguments: entitlement.ExactArguments, Exact: slices.Repeat([]string{strings.Repeat("a", entitlement.MaxArgument)}, entitlement.MaxArguments)}
	var rules entitlement.Rules
	dir := t.TempDir()
	for len(rules.Commands) < entitlement.MaxCommands {
		long.Path = "/usr/bin/" + strconv.Itoa(len(rules.Commands))
		rules.Commands = append(rules.Commands, long)
		text, err := sudoFile("alice", rules)
		if err != nil {
			break
		}
		if err := os.WriteFile(filepath.Join(dir, sudoPrefix+"70001"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := readSudoers(dir); err != nil || found[70001] != text {
			t.Fatalf("%d rules of %d bytes are written and not read (%v)", len(rules.Commands), len(text), err)
		}
	}
	if len(rules.Commands) == entitlement.MaxCommands {
		t.Error("there is no limit")
	}
}

// As many rules as one person may have: what cvtsudoers says of them is long.
func TestSudoReadsAsManyRulesAsMayBe(t *testing.T) {
	for _, program := range []string{visudo, cvtsudoers} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("SKIPPED: sudo is not here")
		}
	}
	var rules entitlement.Rules
	name := strings.Repeat("a", 300)
	for i := range entitlement.MaxRules {
		rules.Commands = append(rules.Commands, entitlement.Command{Kind: entitlement.Executable, Path: "/usr/bin/" + name + strconv.Itoa(i), RunAs: "postgres"})
	}
	text, err := sudoFile("alice", rules)
	if err != nil {
		t.Fatal(err)
	}
	a := Applier{Register: filepath.Join(t.TempDir(), "register")}
	if err := a.checkSudo(t.Context(), text, []entitlement.Holder{{Login: "alice", Rules: rules}}); err != nil {
		t.Error(err)
	}
}

// Alice may no longer run su, and what she may run now cannot be installed: su
// must not stay in force for that.
func TestWhereNewRulesCannotBeInstalledOldOnesThatGiveMoreGo(t *testing.T) {
	rule := func(commands ...string) string {
		var r entitlement.Rules
		for _, c := range commands {
			r.Commands = append(r.Commands, entitlement.Command{Kind: entitlement.Executable, Path: c})
		}
		text, err := sudoFile("alice", r)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, c := range map[string]struct {
		old, wanted string
		stays       bool
	}{
		"one was taken away":      {rule("/bin/su", "/bin/ls"), rule("/bin/ls", "/bin/id"), false},
		"no administrator now":    {fullSudo(t, "alice"), rule("/bin/ls"), false},
		"one was added":           {rule("/bin/ls"), rule("/bin/ls", "/bin/id"), true},
		"nothing changed":         {rule("/bin/ls"), rule("/bin/ls"), true},
		"a file that is not ours": {"alice ALL=(ALL) ALL\n", rule("/bin/ls"), true},
	} {
		path := filepath.Join(t.TempDir(), "rule")
		if err := os.WriteFile(path, []byte(c.old), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := withdraw(path, c.wanted); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); (err == nil) != c.stays {
			t.Errorf("%s: %v", name, err)
		}
		if err := withdraw(filepath.Join(path, "..", "none"), c.wanted); err != nil {
			t.Errorf("%s: no file: %v", name, err)
		}
	}
}
