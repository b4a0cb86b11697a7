package entitlement_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

type command = entitlement.Command

func TestCommandsAreCheckedPartByPart(t *testing.T) {
	long := "/" + strings.Repeat("a", entitlement.MaxPath-1)
	for name, c := range map[string]struct {
		command command
		good    bool
	}{
		"a program":                         {command{Kind: "executable", Path: "/usr/bin/systemctl"}, true},
		"a program without arguments":       {command{Kind: "executable", Path: "/usr/bin/id", Arguments: "none"}, true},
		"a program with these arguments":    {command{Kind: "executable", Path: "/usr/bin/systemctl", Arguments: "exact", Exact: []string{"restart", "nginx.service"}}, true},
		"a directory":                       {command{Kind: "directory", Path: "/usr/local/ops/"}, true},
		"a raw command":                     {command{Kind: "raw", Path: "/usr/bin/journalctl -u nginx"}, true},
		"a raw command without arguments":   {command{Kind: "raw", Path: "/usr/bin/id"}, true},
		"as another user":                   {command{Kind: "executable", Path: "/usr/bin/psql", RunAs: "postgres"}, true},
		"the longest path":                  {command{Kind: "executable", Path: long}, true},
		"a longer path":                     {command{Kind: "executable", Path: long + "a"}, false},
		"nothing":                           {command{}, false},
		"no kind":                           {command{Path: "/bin/ls"}, false},
		"an unknown kind":                   {command{Kind: "regex", Path: "/bin/ls"}, false},
		"no path":                           {command{Kind: "executable"}, false},
		"a relative path":                   {command{Kind: "executable", Path: "bin/ls"}, false},
		"ALL":                               {command{Kind: "executable", Path: "ALL"}, false},
		"the root":                          {command{Kind: "executable", Path: "/"}, false},
		"a path that climbs":                {command{Kind: "executable", Path: "/usr/bin/../bin/su"}, false},
		"a path with an empty name":         {command{Kind: "executable", Path: "/usr//bin/su"}, false},
		"a program that ends like a folder": {command{Kind: "executable", Path: "/usr/bin/"}, false},
		"a folder that ends like a program": {command{Kind: "directory", Path: "/usr/bin"}, false},
		"every folder":                      {command{Kind: "directory", Path: "/"}, false},
		"a folder with arguments":           {command{Kind: "directory", Path: "/usr/bin/", Arguments: "none"}, false},
		"sudoedit":                          {command{Kind: "executable", Path: "/usr/bin/sudoedit"}, false},
		"an unknown choice of arguments":    {command{Kind: "executable", Path: "/bin/ls", Arguments: "some"}, false},
		"exact without arguments":           {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact"}, false},
		"arguments without exact":           {command{Kind: "executable", Path: "/bin/ls", Exact: []string{"-l"}}, false},
		"an empty argument":                 {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{""}}, false},
		"two blanks in a raw command":       {command{Kind: "raw", Path: "/bin/ls  -l"}, false},
		"a raw command with a list":         {command{Kind: "raw", Path: "/bin/ls", Exact: []string{"-l"}}, false},
		"as ALL":                            {command{Kind: "executable", Path: "/bin/ls", RunAs: "ALL"}, false},
		"as a uid":                          {command{Kind: "executable", Path: "/bin/ls", RunAs: "#0"}, false},
		"as a group":                        {command{Kind: "executable", Path: "/bin/ls", RunAs: "%wheel"}, false},
		"as two users":                      {command{Kind: "executable", Path: "/bin/ls", RunAs: "a,b"}, false},
		"as a user who closes the brackets": {command{Kind: "executable", Path: "/bin/ls", RunAs: "a) NOPASSWD"}, false},
		"the most arguments":                {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: strings.Fields(strings.Repeat("x ", entitlement.MaxArguments))}, true},
		"one argument too many":             {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: strings.Fields(strings.Repeat("x ", entitlement.MaxArguments+1))}, false},
		"the longest argument":              {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{strings.Repeat("x", entitlement.MaxArgument)}}, true},
		"an argument that is longer":        {command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{strings.Repeat("x", entitlement.MaxArgument+1)}}, false},
	} {
		if err := c.command.Check(); (err == nil) != c.good {
			t.Errorf("%s: good %v, error %v", name, c.good, err)
		}
	}
}

// Each of these is something to sudoers, and visudo accepts a file with most of them.
func TestNothingThatSudoersKnowsIsLetThrough(t *testing.T) {
	for _, s := range []string{
		"\n", "\r", "\x00", "\t", " ", ",", ":", "=", `\`, "\\\n", "#", "!", `"`, "'", "*", "?", "[a]", "^", "$", "(", ")", "|", "&", ";", "<", ">", "`", "{", "}", "~", "é", "\u202e",
		"\nmallory ALL=(ALL) NOPASSWD: ALL", ", ALL", " NOPASSWD: ALL", "\n#include /tmp/x", "\n@includedir /tmp", strings.Repeat("a", 100<<10),
	} {
		for _, c := range []command{
			{Kind: "executable", Path: "/bin/l" + s + "s"},
			{Kind: "executable", Path: "/bin/ls" + s},
			{Kind: "directory", Path: "/bin" + s + "/"},
			{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"a" + s}},
			{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{s + "a"}},
			{Kind: "raw", Path: "/bin/ls a" + s},
			{Kind: "executable", Path: "/bin/ls", RunAs: "root" + s},
		} {
			if c.Kind == "raw" && s == " NOPASSWD: ALL" {
				continue // the colon is what is refused, as the next line shows
			}
			if text, err := (entitlement.Rules{Commands: []command{c}}).Sudoers("alice"); err == nil {
				t.Errorf("%.200v became %.200q", c, text)
			}
		}
	}
	if (command{Kind: "raw", Path: "/bin/ls NOPASSWD: ALL"}).Check() == nil {
		t.Error("a tag was let through as an argument")
	}
	for _, login := range []string{"", "root", "ALL", "#0", "%admin", "+ops", "a b", "a,b", "a\nb", "Alice", strings.Repeat("a", 33)} {
		if text, err := (entitlement.Rules{Everything: true}).Sudoers(login); err == nil {
			t.Errorf("the login %q became %q", login, text)
		}
	}
}

func TestEqualRightsAreEqualText(t *testing.T) {
	ls := command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"-l", "/srv"}}
	raw := command{Kind: "raw", Path: "/bin/ls -l /srv", RunAs: "root"}
	id := command{Kind: "executable", Path: "/usr/bin/id", Arguments: "none", NoExec: true, SetEnv: true, Password: true}
	a, err := entitlement.Rules{Commands: []command{id, ls, raw}}.Sudoers("alice")
	if err != nil {
		t.Fatal(err)
	}
	b, err := entitlement.Rules{Commands: []command{raw, id, id}}.Sudoers("alice")
	if err != nil || a != b {
		t.Errorf("%v\n%s%s", err, a, b)
	}
	want := "alice ALL=(root) NOPASSWD: EXEC: NOSETENV: /bin/ls -l /srv\nalice ALL=(root) PASSWD: NOEXEC: SETENV: /usr/bin/id \"\"\n"
	if a != want {
		t.Errorf("got\n%swant\n%s", a, want)
	}
}

func TestSoManyCommandsAndNoMore(t *testing.T) {
	var rules entitlement.Rules
	for i := range entitlement.MaxRules {
		rules.Commands = append(rules.Commands, command{Kind: "executable", Path: fmt.Sprintf("/opt/%d", i)})
	}
	if err := rules.Check("alice"); err != nil {
		t.Error(err)
	}
	rules.Commands = append(rules.Commands, command{Kind: "executable", Path: "/opt/more"})
	if rules.Check("alice") == nil {
		t.Error("one more was accepted")
	}
}

// sudo's own programs read what was written, for many random rules at once.
func TestSudoReadsWhatWasMeant(t *testing.T) {
	meant := entitlement.Rules{}
	for i := range 400 {
		c := command{Kind: "executable", Path: fmt.Sprintf("/opt/x%d/run-%d.sh", i, i), NoExec: rand.N(2) == 0, SetEnv: rand.N(2) == 0, Password: rand.N(2) == 0}
		switch i % 4 {
		case 0:
			c.Arguments, c.RunAs = "none", "postgres"
		case 1:
			c.Arguments, c.Exact = "exact", []string{"-a", "--b", "c@d", "50%", "/e/f"}
		case 2:
			c.Kind, c.Path = "directory", fmt.Sprintf("/opt/x%d/", i)
		case 3:
			c.Kind, c.Path = "raw", c.Path+" one -two +3"
		}
		meant.Commands = append(meant.Commands, c)
	}
	for name, rules := range map[string]entitlement.Rules{"commands": meant, "everything": {Everything: true}} {
		text, err := rules.Sudoers("alice")
		if err != nil {
			t.Fatal(err)
		}
		got := understood(t, text)
		if err := rules.CheckMeaning("alice", got); err != nil {
			t.Errorf("%s: %v\n%s\n%s", name, err, text, got)
		}
		for change, other := range map[string]string{
			"another login":        strings.ReplaceAll(text, "alice", "mallory"),
			"one more rule":        text + "alice ALL=(root) NOPASSWD: /bin/su\n",
			"another login's rule": text + "mallory ALL=(ALL:ALL) NOPASSWD: ALL\n",
			"a setting":            text + "Defaults !authenticate\n",
			"nothing":              "# nothing\n",
		} {
			if rules.CheckMeaning("alice", understood(t, other)) == nil {
				t.Errorf("%s: %s was not noticed", name, change)
			}
		}
	}
	lax := strings.Replace(mustText(t, meant), " PASSWD:", " NOPASSWD:", 1)
	if meant.CheckMeaning("alice", understood(t, lax)) == nil {
		t.Error("a password that is no longer asked for was not noticed")
	}
}

func mustText(t *testing.T, r entitlement.Rules) string {
	t.Helper()
	text, err := r.Sudoers("alice")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// understood is what sudo reads in a file that visudo found right.
func understood(t *testing.T, text string) []byte {
	t.Helper()
	const visudo, cvtsudoers = "/usr/sbin/visudo", "/usr/bin/cvtsudoers"
	for _, program := range []string{visudo, cvtsudoers} {
		if _, err := os.Stat(program); err != nil {
			t.Skip("SKIPPED: sudo is not here")
		}
	}
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(visudo, "-c", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("visudo: %v: %s", err, out)
	}
	out, err := exec.Command(cvtsudoers, "-c", "/dev/null", "-f", "json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever is let through makes exactly one line of a small alphabet.
func FuzzOneCommandIsOneLine(f *testing.F) {
	f.Add("executable", "/bin/ls", "exact", "-l", "root", true)
	f.Add("raw", "/bin/ls -l", "", "", "", false)
	f.Add("directory", "/opt/x/", "any", "", "postgres", true)
	line := regexp.MustCompile(`^alice ALL=\([a-z_][a-z0-9_-]*\) (NO)?PASSWD: (NO)?EXEC: (NO)?SETENV: /[A-Za-z0-9._+@%/-]+( ""|( [A-Za-z0-9._+@%/-]+)*)` + "\n$")
	f.Fuzz(func(t *testing.T, kind, path, arguments, argument, as string, flag bool) {
		c := command{Kind: entitlement.Kind(kind), Path: path, Arguments: entitlement.Arguments(arguments), RunAs: as, NoExec: flag, Password: !flag}
		if argument != "" {
			c.Exact = []string{argument}
		}
		text, err := entitlement.Rules{Commands: []command{c}}.Sudoers("alice")
		if err == nil && !line.MatchString(text) {
			t.Fatalf("%v became %q", c, text)
		}
	})
}
