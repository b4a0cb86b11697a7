package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/server-agent/sftd"
)

// refresh is the variable with which golden files are written anew.
const refresh = "CARDEA_GOLDEN"

func TestImportsOfSFTDFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/sftd/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: %q", err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			code, got, stderr := call(t, nil, "import-sftd", "--config", emptyFile(t), file)
			want := 0
			if name := filepath.Base(file); name == "broken.yaml" || name == "list.yaml" {
				want = commandline.Failed
			}
			if code != want || (stderr != "") != (want != 0) {
				t.Fatalf("code %d: %s", code, stderr)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if os.Getenv(refresh) != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			written, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; to write it set %s=1", err, refresh)
			}
			if d := cmp.Diff(string(written), got); d != "" {
				t.Error(d)
			}
			if strings.Contains(got, "\x1b") {
				t.Error("an escape sequence came through")
			}
			// What comes out is a configuration that the agent takes.
			path := filepath.Join(t.TempDir(), "server-agent.yaml")
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, _, stderr := call(t, nil, "config", "--config", path); code != 0 {
				t.Errorf("it is no configuration: %s", stderr)
			}
		})
	}
}

func emptyFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnImportIsWrittenWhereNothingIsSaidYet(t *testing.T) {
	dir := t.TempDir()
	example, err := os.ReadFile("../../packaging/server-agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "server-agent.yaml")
	if err := os.WriteFile(path, example, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(file string) (int, string, string) {
		return call(t, nil, "import-sftd", "--write", "--control-url", "https://access.example.com", "--config", path, file)
	}
	if code, stdout, stderr := run("testdata/sftd/all.yaml"); code != 0 || !strings.Contains(stderr, "written to "+path) || !strings.Contains(stdout, "bastion: bastion-1") {
		t.Fatalf("over the example: %d, %q, %q", code, stdout, stderr)
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(got), "control_url: https://access.example.com\n") || !strings.Contains(string(got), "bastion: bastion-1\n") {
		t.Errorf("%v: %s", err, got)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: a proxy's password may be in it", info.Mode())
	}
	if code, stdout, stderr := run("testdata/sftd/terraform.yaml"); code != commandline.Failed || !strings.Contains(stderr, "says something already") || !strings.Contains(stdout, "centos-target") {
		t.Errorf("over another: %d, %q, %q", code, stdout, stderr)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(got) {
		t.Errorf("%v: %s", err, again)
	}
	if code, _, stderr := call(t, nil, "import-sftd", "--config", filepath.Join(dir, "none.yaml"), "testdata/sftd/all.yaml"); code != commandline.Usage || !strings.Contains(stderr, "none.yaml") {
		t.Errorf("a file that was named and is not there: %d, %q", code, stderr)
	}
}

func TestImportsThatCannotBeRead(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.yaml")
	fill := func(n int) {
		t.Helper()
		text := "CanonicalName: web-1\n#" + strings.Repeat("x", n)
		if err := os.WriteFile(big, []byte(text[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill(sftd.MaxFile)
	if code, stdout, _ := call(t, nil, "import-sftd", big); code != 0 || !strings.Contains(stdout, "hostname: web-1") {
		t.Errorf("at the limit: %d, %q", code, stdout)
	}
	fill(sftd.MaxFile + 1)
	if code, stdout, _ := call(t, nil, "import-sftd", big); code != commandline.Failed || strings.Contains(stdout, "web-1") || !strings.Contains(stdout, "larger than") {
		t.Errorf("one byte more: %d, %q", code, stdout)
	}
	path := filepath.Join(t.TempDir(), "server-agent.yaml")
	if err := os.WriteFile(path, []byte("# nothing yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := call(t, nil, "import-sftd", "--write", "--config", path, "testdata/sftd/broken.yaml"); code != commandline.Failed {
		t.Errorf("a broken file was written: %d", code)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "# nothing yet\n" {
		t.Errorf("the configuration is %q, %v", text, err)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none.yaml"), "/dev/zero", t.TempDir()} {
		if code, stdout, stderr := call(t, nil, "import-sftd", bad); code != commandline.Failed || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d, %q, %q", bad, code, stdout, stderr)
		}
	}
}

func FuzzImport(f *testing.F) {
	for _, file := range []string{"all", "odd", "broken", "windows"} {
		raw, err := os.ReadFile("testdata/sftd/" + file + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(strings.Repeat("[", 50)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := sftd.Read(raw, acceptable).Text("x", "", asYAML)
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		opt := defaults()
		flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
		loader := config.Bind(flags, &opt, path)
		if err := loader.Load(func(string) (string, bool) { return "", false }); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := opt.check(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

func TestConfigSaysWhatIsInForceAndWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := "hostname: web-1\nhttps_proxy: http://agent:hunter2@proxy:3128\nlabel_commands: {role: [/bin/role, '-x']}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CARDEA_CONFIG": path, "CARDEA_LOG_LEVEL": "debug"}
	code, stdout, stderr := call(t, env, "config", "--alt-names", "www")
	if code != 0 || stderr != "" {
		t.Fatalf("%d: %s", code, stderr)
	}
	flat := regexp.MustCompile(` +`).ReplaceAllString(stdout, " ")
	for _, want := range []string{
		"hostname: web-1 # " + path, "label_commands: {role: [/bin/role, \"-x\"]} # " + path, "alt_names: [www] # --alt-names\n",
		"CARDEA_LOG_LEVEL", "state_dir: /var/lib/cardea-server-agent # default\n", "https_proxy: http://...@proxy:3128 ",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "hunter2") {
		t.Error("it tells the proxy's password")
	}
	again := filepath.Join(t.TempDir(), "again.yaml")
	if err := os.WriteFile(again, []byte(strings.Replace(stdout, "...@", "x@", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, nil, "config", "--config", again); code != 0 {
		t.Errorf("what it prints is no configuration: %s", stderr)
	}
}

// The example that packages install has every key once, with its default.
func TestTheExampleHasEveryKeyWithItsDefault(t *testing.T) {
	const example = "../../packaging/server-agent.yaml"
	raw, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, nil, "config", "--config", example); code != 0 {
		t.Fatalf("the example as it is installed: %s", stderr)
	}
	setting := regexp.MustCompile(`(?m)^#([a-z_]+):(.*(?:\n#  .*)*)$`)
	var text strings.Builder
	var found []string
	for _, m := range setting.FindAllStringSubmatch(string(raw), -1) {
		found = append(found, m[1])
		text.WriteString(m[1] + ":" + strings.ReplaceAll(m[2], "\n#", "\n") + "\n")
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := defaults()
	loader := config.Bind(pflag.NewFlagSet("x", pflag.ContinueOnError), &opt, path)
	if err := loader.Load(func(string) (string, bool) { return "", false }); err != nil {
		t.Fatalf("with every key uncommented: %v\n%s", err, text.String())
	}
	none := defaults()
	usual := config.Bind(pflag.NewFlagSet("x", pflag.ContinueOnError), &none, "").Settings()
	for _, s := range usual {
		if n := strings.Count("\n"+strings.Join(found, "\n")+"\n", "\n"+s.Key+"\n"); n != 1 {
			t.Errorf("%s stands in it %d times", s.Key, n)
		}
	}
	for i, s := range loader.Settings() {
		// What has no value by default shows an example.
		if d := usual[i].YAML; d != `""` && d != "[]" && d != "{}" && s.YAML != d {
			t.Errorf("%s: it says %s, the default is %s", s.Key, s.YAML, d)
		}
	}
	slices.Sort(found)
	if len(slices.Compact(found)) != len(usual) {
		t.Errorf("it has keys that there are not: %q", found)
	}
}
