package labels

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// rootsFolder is one that the agent trusts.
func rootsFolder(t *testing.T) string {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, whose programs alone are run")
	}
	dir, err := os.MkdirTemp("/root", "cardea-labels-") // no folder above may be everybody's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestACommandPrintsTheValueOfALabel(t *testing.T) {
	dir := rootsFolder(t)
	path := filepath.Join(dir, "role")
	commands := map[string][]string{"host/role": {path, "$(id)", "; id"}}
	g, err := New(map[string]string{"rack": "b7"}, commands)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, text, want, problem string }{
		{"arguments come as they are, and no shell reads them", `[ "$#/$1/$2" = '2/$(id)/; id' ] && echo db`, "db", ""},
		{"there is nothing in the environment but what sh puts there", `[ -z "$HOME$CARDEA_CONTROL_URL$LANG" ] && echo clean`, "clean", ""},
		{"a line end is no part of it", `printf 'web\r\n\n'`, "web", ""},
		{"one that fails leaves the value of before", `echo oops >&2; exit 3`, "web", "oops"},
		{"so does one that prints nothing", `:`, "web", "no label value"},
		{"and one that prints two lines", `printf 'a\nb\n'`, "web", "no label value"},
		{"and one that prints an escape", `printf '\033[2J'`, "web", "no label value"},
		{"and one that prints 5 MB", `yes | head -c 5000000`, "web", "wrote more than"},
		{"the longest value", "echo " + strings.Repeat("v", ident.MaxLabelValue), strings.Repeat("v", ident.MaxLabelValue), ""},
		{"a longer one", "echo " + strings.Repeat("w", ident.MaxLabelValue+1), strings.Repeat("v", ident.MaxLabelValue), "no label value"},
		{"then a good one", "echo db", "db", ""},
	} {
		script(t, path, tc.text)
		got, problems := g.Gather(t.Context())
		said := strings.Join(problems, "; ")
		if !maps.Equal(got, map[string]string{"rack": "b7", "role": tc.want}) || (said == "") != (tc.problem == "") || !strings.Contains(said, tc.problem) || strings.Contains(said, "\x1b") {
			t.Errorf("%s: %v, %q", tc.name, got, said)
		}
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	script(t, path, "echo mallory")
	if got, problems := g.Gather(t.Context()); got["role"] != "db" || len(problems) != 1 || !strings.Contains(problems[0], "others than root") {
		t.Errorf("a program that others can write: %v, %q", got, problems)
	}
	fresh, err := New(nil, commands)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := fresh.Gather(t.Context()); len(got) != 0 || got == nil {
		t.Errorf("without a value of before: %v", got)
	}
}

func TestTagsOfACloud(t *testing.T) {
	var tags map[string]string
	var fault error
	g, err := New(map[string]string{"env": "prod"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Tags = func(context.Context) (map[string]string, error) { return tags, fault }
	tags = map[string]string{"env": "dev", "team": "shop", "Name": "x", "note": "two words"}
	got, problems := g.Gather(t.Context())
	if !maps.Equal(got, map[string]string{"env": "prod", "team": "shop"}) || len(problems) > 0 {
		t.Errorf("%v, %q", got, problems)
	}
	tags, fault = nil, errors.New("timeout")
	got, problems = g.Gather(t.Context())
	if got["team"] != "shop" || len(problems) != 1 || !strings.Contains(problems[0], "timeout") {
		t.Errorf("while it does not answer: %v, %q", got, problems)
	}
	tags, fault = map[string]string{}, nil
	for i := range ident.MaxLabels {
		tags[fmt.Sprintf("t%02d", i)] = "v"
	}
	got, problems = g.Gather(t.Context())
	if len(got) != ident.MaxLabels || got["env"] != "prod" || got["t31"] != "" || len(problems) > 0 {
		t.Errorf("one too many: %d, %q", len(got), problems)
	}
	delete(tags, "t00")
	if got, problems = g.Gather(t.Context()); len(got) != ident.MaxLabels || len(problems) != 0 {
		t.Errorf("at the limit: %d, %q", len(got), problems)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	fixed := map[string]string{}
	for i := range ident.MaxLabels {
		fixed[fmt.Sprint("k", i)] = "v"
	}
	type commands map[string][]string
	words := append([]string{"/bin/x"}, make([]string, MaxWords)...)
	for name, tc := range map[string]struct {
		fixed    map[string]string
		commands commands
	}{
		"as many labels as there may be":                        {fixed, nil},
		"as many words":                                         {nil, commands{"a": words[:MaxWords]}},
		"with and without the prefix":                           {map[string]string{"host/a": "b"}, commands{"c": {"/bin/x"}}},
		"one label too many is refused":                         {fixed, commands{"x": {"/bin/x"}}},
		"one word too many is refused":                          {nil, commands{"a": words}},
		"a value and a command is refused":                      {map[string]string{"a": "b"}, commands{"a": {"/bin/x"}}},
		"a value twice is refused":                              {map[string]string{"a": "b", "host/a": "c"}, nil},
		"a program that would have to be looked for is refused": {nil, commands{"a": {"hostname"}}},
		"no program is refused":                                 {nil, commands{"a": {}}},
		"a NUL is refused":                                      {nil, commands{"a": {"/bin/x", "a\x00b"}}},
		"a command's key that is none is refused":               {nil, commands{"A": {"/bin/x"}}},
		"a value that is none is refused":                       {map[string]string{"a": "b c"}, nil},
		"a key that is none is refused":                         {map[string]string{"host/host/a": "b"}, nil},
	} {
		if _, err := New(tc.fixed, tc.commands); (err != nil) != strings.HasSuffix(name, "refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
