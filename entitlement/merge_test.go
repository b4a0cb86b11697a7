package entitlement_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

func TestMergedCommandsAreSortedAndEachOnce(t *testing.T) {
	ls := command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"-l"}}
	raw := command{Kind: "raw", Path: "/bin/ls -l", RunAs: "root"} // the same to sudo
	as := command{Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"-l"}, RunAs: "postgres"}
	id := command{Kind: "executable", Path: "/usr/bin/id"}
	bad := command{Kind: "executable", Path: "/bin/a, /bin/su"}
	got, left := entitlement.Merge([]command{bad, id, ls}, nil, []command{raw, as, id})
	if want := []command{as, ls, id, bad}; left != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %d left out, want %v", got, left, want)
	}
	if got, left := entitlement.Merge(); got != nil || left != 0 {
		t.Errorf("of nothing: %v, %d", got, left)
	}
}

func TestWhatDoesNotFitIsCounted(t *testing.T) {
	var list []command
	for i := range entitlement.MaxRules {
		list = append(list, command{Kind: "executable", Path: fmt.Sprintf("/opt/%04d", i)})
	}
	if got, left := entitlement.Merge(list, list); len(got) != entitlement.MaxRules || left != 0 {
		t.Errorf("at the limit: %d, %d left out", len(got), left)
	}
	// One that breaks a rule never takes the place of a good one.
	more := append([]command{{Kind: "executable", Path: "\n"}, {Kind: "executable", Path: "/opt/zzzz"}}, list...)
	rand.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
	got, left := entitlement.Merge(more)
	if len(got) != entitlement.MaxRules || left != 2 || !reflect.DeepEqual(got, list) {
		t.Errorf("beyond: %d, %d left out, last %v", len(got), left, got[len(got)-1])
	}
	if entitlement.MaxPerGrant*entitlement.MaxCommands > entitlement.MaxRules {
		t.Error("one grant alone may hold more than a person may have")
	}
}

func TestACommandIsTypedAsItIsRead(t *testing.T) {
	for line, want := range map[string]command{
		"/usr/bin/id":    {Kind: "executable", Path: "/usr/bin/id", Arguments: "any"},
		`/usr/bin/id ""`: {Kind: "executable", Path: "/usr/bin/id", Arguments: "none"},
		"/usr/bin/systemctl  restart nginx.service ": {Kind: "executable", Path: "/usr/bin/systemctl", Arguments: "exact", Exact: []string{"restart", "nginx.service"}},
		"/usr/local/ops/": {Kind: "directory", Path: "/usr/local/ops/"},
		"":                {Kind: "executable", Arguments: "any"},
		"/bin/ls\n-l":     {Kind: "executable", Path: "/bin/ls\n-l", Arguments: "any"},
	} {
		got := entitlement.Parse(line)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v", line, got)
		}
		hostile := line == "" || strings.Contains(line, "\n")
		if (got.Check() != nil) != hostile {
			t.Errorf("%q: %v", line, got.Check())
		}
	}
	special := command{Kind: "raw", Path: "/bin/ls -l", RunAs: "postgres", Password: true, NoExec: true, SetEnv: true}
	if s := special.String(); s != "/bin/ls -l as postgres (password, noexec, setenv)" {
		t.Errorf("got %q", s)
	}
}

// What is printed is typed again without a change, and a line never becomes two rules.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/bin/ls -l", `/bin/ls ""`, "/opt/x/", "/bin/ls", "/bin/ls\nALL", ", ALL", `/bin/ls "" ""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := entitlement.Parse(line)
		if c.Check() != nil {
			return
		}
		if again := entitlement.Parse(c.String()); !reflect.DeepEqual(again, c) {
			t.Fatalf("%q: %+v became %+v", line, c, again)
		}
		text, err := entitlement.Rules{Commands: []command{c}}.Sudoers("alice")
		if err != nil || strings.Count(text, "\n") != 1 || slices.Contains([]byte(text), 0) {
			t.Fatalf("%q became %q, %v", line, text, err)
		}
	})
}
