package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/internal/config"
)

// What root would make in the service's folder the service could not write.
func TestRootMakesNothingInTheFolderOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: it takes root; type: sudo make test")
	}
	dir := t.TempDir()
	control := isolated(t, dir)
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	const nobody = 54321 // an id without a name
	for _, tc := range []struct {
		name     string
		uid      int
		args     []string
		code     int
		complain string
	}{
		{"init in another's folder", nobody, []string{"init", "--team", "an example"}, 1, "; type: runuser -u 54321 -- cardea-control init --team 'an example'\n"},
		{"init in root's own", 0, []string{"init"}, 0, ""},
		{"serve in another's folder", nobody, []string{"serve"}, 1, "; type: runuser -u 54321 -- cardea-control serve\n"},
	} {
		if err := os.Chown(state, tc.uid, tc.uid); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadDir(state)
		if err != nil {
			t.Fatal(err)
		}
		code, _, stderr := control(tc.args...)
		if code != tc.code || !strings.HasSuffix(stderr, tc.complain) {
			t.Errorf("%s: exit %d, %q", tc.name, code, stderr)
		}
		if after, err := os.ReadDir(state); tc.code != 0 && (err != nil || len(after) != len(before)) {
			t.Errorf("%s: it left %v, %v", tc.name, after, err)
		}
	}
}

func TestWhatAPackageInstalledIsStartedAsAService(t *testing.T) {
	const packaged = "/usr/bin/cardea-control"
	for _, tc := range []struct{ name, file, program, want string }{
		{"by systemd", "usr/lib/systemd/system/cardea-control.service", packaged, "systemctl enable --now cardea-control"},
		{"by OpenRC", "etc/init.d/cardea-control", packaged, "rc-update add cardea-control && rc-service cardea-control start"},
		{"a program built here, beside a package", "etc/init.d/cardea-control", "/srv/bin/cardea-control", ""},
		{"without a package", "etc/passwd", packaged, ""},
	} {
		root := t.TempDir()
		file := filepath.Join(root, tc.file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := startVerb(root, tc.program); got != tc.want {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

// The example that packages install has every key once, with its default.
func TestTheExampleHasEveryKeyWithItsDefault(t *testing.T) {
	raw, err := os.ReadFile("../../packaging/control.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^#([a-z_]+):.*$`).FindAllStringSubmatch(string(raw), -1)
	var all strings.Builder
	count := map[string]int{}
	for _, m := range found {
		count[m[1]]++
		all.WriteString(strings.TrimPrefix(m[0], "#") + "\n")
	}
	settings := func(file string) []config.Setting {
		o := defaults()
		loader := config.Bind(pflag.NewFlagSet("x", pflag.ContinueOnError), &o, file)
		if err := loader.Load(func(string) (string, bool) { return "", false }); err != nil {
			t.Fatalf("%v\n%s", err, all.String())
		}
		return loader.Settings()
	}
	usual := settings("../../packaging/control.yaml") // nothing is set as it is installed
	for i, s := range settings(writeFile(t, t.TempDir(), "all.yaml", all.String())) {
		if count[s.Key] != 1 {
			t.Errorf("%s stands in it %d times", s.Key, count[s.Key])
		}
		// What has no value by default shows an example.
		if d := usual[i].YAML; d != `""` && d != "[]" && d != "false" && s.YAML != d {
			t.Errorf("%s: it says %s, the default is %s", s.Key, s.YAML, d)
		}
	}
	if len(count) != len(usual) {
		t.Errorf("it has %d keys, there are %d", len(count), len(usual))
	}
}
