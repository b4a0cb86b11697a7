package config

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

type logOptions struct {
	Level slog.Level `name:"log-level" help:"least level to log"`
}

type options struct {
	logOptions
	Listen  string            `name:"listen" help:"address" short:"l"`
	Timeout time.Duration     `name:"dial-timeout" help:"how long"`
	Verify  bool              `name:"verify" help:"check"`
	Limit   int               `name:"limit" help:"how many"`
	Port    uint16            `name:"port" help:"port"`
	Peers   []string          `name:"peers" help:"who"`
	Labels  map[string]string `name:"labels" help:"labels"`
	Addr    netip.Addr        `name:"addr" help:"address"`

	Commands map[string][]string `name:"commands" help:"commands"`
}

// load runs one start of a program: its flags, its variables, its file.
func load(t *testing.T, args []string, env map[string]string, file string) (options, *Loader, error) {
	t.Helper()
	opt := options{Listen: ":1", Timeout: time.Second, Peers: []string{"default"}}
	path := filepath.Join(t.TempDir(), "c.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	l := Bind(flags, &opt, path)
	if err := flags.Parse(args); err != nil {
		return opt, l, err
	}
	err := l.Load(func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	return opt, l, err
}

func TestPrecedence(t *testing.T) {
	env := map[string]string{"CARDEA_LISTEN": ":env"}
	for _, tc := range []struct {
		name   string
		args   []string
		env    map[string]string
		file   string
		want   string
		source Source
	}{
		{"without anything the default holds", nil, nil, "", ":1", FromDefault},
		{"the file beats the default", nil, nil, "listen: :file", ":file", FromFile},
		{"the variable beats the file", nil, env, "listen: :file", ":env", FromEnv},
		{"the flag beats them all", []string{"--listen", ":flag"}, env, "listen: :file", ":flag", FromFlag},
		{"a flag with the value of the default still beats the others", []string{"-l:1"}, env, "listen: :file", ":1", FromFlag},
		{"an empty variable is a value", nil, map[string]string{"CARDEA_LISTEN": ""}, "listen: :file", "", FromEnv},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt, l, err := load(t, tc.args, tc.env, tc.file)
			if err != nil {
				t.Fatal(err)
			}
			if opt.Listen != tc.want || l.Source("listen") != tc.source {
				t.Errorf("listen = %q from %s, want %q from %s", opt.Listen, l.Source("listen"), tc.want, tc.source)
			}
		})
	}
}

func TestEveryTypeFromEverySource(t *testing.T) {
	want := options{
		logOptions: logOptions{Level: slog.LevelDebug},
		Listen:     "x", Timeout: 90 * time.Second, Verify: true, Limit: -3, Port: 65535,
		Peers: []string{"a", "b"}, Labels: map[string]string{"env": "prod", "tier": "1"}, Addr: netip.MustParseAddr("10.0.0.1"),
		Commands: map[string][]string{"role": {"/usr/bin/facter", "role"}, "rack": {"/bin/rack"}},
	}
	texts := map[string]string{"log-level": "debug", "listen": "x", "dial-timeout": "1m30s", "verify": "true", "limit": "-3",
		"port": "65535", "peers": "a, b", "labels": "env=prod,tier=1", "addr": "10.0.0.1",
		"commands": "role=/usr/bin/facter,rack=/bin/rack,role=role"}
	env, args, file := map[string]string{}, []string{}, ""
	for k, v := range texts {
		env[EnvName(k)] = v
		args = append(args, "--"+k+"="+v)
		file += strings.ReplaceAll(k, "-", "_") + ": " + v + "\n"
	}
	yamlForms := "# a comment\nlog_level: debug\nlisten: 'x'\ndial_timeout: 90s\nverify: true\nlimit: -3\nport: 65535\n" +
		"peers:\n  - a\n  - b\nlabels:\n  env: prod\n  tier: 1\naddr: \"10.0.0.1\"\n" +
		"commands:\n  role: [/usr/bin/facter, role]\n  rack: /bin/rack\n"
	for name, run := range map[string]func() (options, *Loader, error){
		"flags":                     func() (options, *Loader, error) { return load(t, args, nil, "") },
		"variables":                 func() (options, *Loader, error) { return load(t, nil, env, "") },
		"a file of plain texts":     func() (options, *Loader, error) { return load(t, nil, nil, file) },
		"a file of YAML's own ways": func() (options, *Loader, error) { return load(t, nil, nil, yamlForms) },
	} {
		got, _, err := run()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(options{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestSettingsReadAsTheyAreWritten(t *testing.T) {
	file := "log_level: debug\nlisten: \"a b: '\\\"#\\x1b[2Jé\"\ndial_timeout: 90s\nverify: true\nlimit: -3\nport: 65535\n" +
		"peers: ['a, b', '[', '', 'true', 'c:']\nlabels: {env: prod, tier: '1', x: 'a=b'}\naddr: '2001:db8::1'\ncommands: {role: [/bin/x, '-n', '']}\n"
	want, l, err := load(t, nil, nil, file)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, s := range l.Settings() {
		if s.Source != FromFile || s.Help == "" || strings.ContainsAny(s.YAML, "\n\x1b") {
			t.Errorf("%+v", s)
		}
		text.WriteString(s.Key + ": " + s.YAML + "\n")
	}
	got, _, err := load(t, nil, nil, text.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(options{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("%s\n%s", d, text.String())
	}
}

func TestARepeatedFlagAddsToItselfAndReplacesTheDefault(t *testing.T) {
	opt, _, err := load(t, []string{"--peers=a", "--peers=b,c", "--verify"}, nil, "peers: [x]")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(opt.Peers, " "); got != "a b c" || !opt.Verify {
		t.Errorf("peers = %q, verify = %v", got, opt.Verify)
	}
}

func TestMistakesAreFatalAndSayWhere(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want []string
	}{
		{"an unknown key names its line and the nearest key", nil, nil, "listen: a\n\nlisen: b\n", []string{"c.yaml:3:", `"lisen"`, `did you mean "listen"?`}},
		{"an unknown key far from all others has no hint", nil, nil, "zzzzzzzz: b\n", []string{"c.yaml:1:", `unknown key "zzzzzzzz"`}},
		{"a key written like its flag", nil, nil, "dial-timeout: 5s\n", []string{"did you mean \"dial_timeout\"?"}},
		{"a key written twice", nil, nil, "listen: a\nlisten: b\n", []string{"line 2", "listen"}},
		{"a broken file", nil, nil, "listen: 'a\n", []string{"c.yaml: line 1"}},
		{"a list where one value belongs", nil, nil, "listen: [a, b]\n", []string{"c.yaml:1:", "not a list"}},
		{"keys where one value belongs", nil, nil, "listen:\n  a: b\n", []string{"c.yaml:", "listen"}},
		{"a key without a value", nil, nil, "listen:\n", []string{"c.yaml:1:", "no value"}},
		{"an alias", nil, nil, "listen: &a x\n", []string{"plain value"}},
		{"a bad duration in the file", nil, nil, "dial_timeout: 5\n", []string{"c.yaml:1:", "dial_timeout", "90s"}},
		{"a number that does not fit", nil, nil, "port: 65536\n", []string{"c.yaml:1:", "out of range"}},
		{"a number with something behind it", nil, nil, "limit: 3 apples\n", []string{"3 apples"}},
		{"a bad variable names itself", nil, map[string]string{"CARDEA_VERIFY": "perhaps"}, "", []string{"CARDEA_VERIFY", "perhaps"}},
		{"a bad flag names itself", []string{"--limit=x"}, nil, "", []string{"--limit", `"x"`}},
		{"a label without a value", []string{"--labels=x"}, nil, "", []string{"key=value"}},
		{"a command without words", nil, nil, "commands: {role: []}", []string{"c.yaml:1:", "role", "empty list"}},
		{"a list of lists", nil, nil, "commands: {role: [[a]]}", []string{"c.yaml:1:", "role", "plain value"}},
		{"a list where a label's value belongs", nil, nil, "labels: {a: [b]}", []string{"c.yaml:1:", "a", "plain value"}},
		{"a label given twice", nil, nil, "labels: 'a=1,a=2'", []string{"twice"}},
		{"a file that somebody named must exist", []string{"--config=/nonexistent/c.yaml"}, nil, "", []string{"/nonexistent/c.yaml"}},
		{"a file named by variable must exist", nil, map[string]string{"CARDEA_CONFIG": "/nonexistent/d.yaml"}, "", []string{"/nonexistent/d.yaml"}},
		{"a file that is a device", []string{"--config=/dev/zero"}, nil, "", []string{"regular file"}},
		{"a list at the top", nil, nil, "- a\n", []string{"c.yaml:1:", "key: value"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := load(t, tc.args, tc.env, tc.file)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
		})
	}
}

func TestTheFileMayBeAbsentEmptyOrCommentsAlone(t *testing.T) {
	for _, file := range []string{"", "\n", "# nothing\n", "---\n"} {
		if opt, _, err := load(t, nil, nil, file); err != nil || opt.Listen != ":1" {
			t.Errorf("file %q: %v, listen %q", file, err, opt.Listen)
		}
	}
}

func TestTheSizeLimitOfTheFile(t *testing.T) {
	fill := func(n int) string { return "listen: x\n#" + strings.Repeat("a", n-len("listen: x\n#")) }
	if _, _, err := load(t, nil, nil, fill(maxFile)); err != nil {
		t.Errorf("a file of the largest size: %v", err)
	}
	if _, _, err := load(t, nil, nil, fill(maxFile+1)); err == nil {
		t.Error("a file one byte too large is accepted")
	}
}

func TestUsageShowsNameDefaultAndHelp(t *testing.T) {
	opt := options{Timeout: time.Second}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Bind(flags, &opt, "")
	usage := flags.FlagUsages()
	for _, want := range []string{"--dial-timeout duration", "how long (default 1s)", "--peers strings", "--config"} {
		if !strings.Contains(usage, want) {
			t.Errorf("usage lacks %q:\n%s", want, usage)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen: a\npeers: [b, c]\nlabels:\n  x: y\n")
	f.Add("listen: *a\n? x\n: y")
	f.Fuzz(func(t *testing.T, s string) {
		var opt options
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		Bind(flags, &opt, path).Load(func(string) (string, bool) { return "", false }) // must not panic
	})
}
