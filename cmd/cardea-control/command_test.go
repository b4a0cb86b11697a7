package main

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// isolated runs the program with its files in dir and nothing from outside.
func isolated(t *testing.T, dir string) func(args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("CARDEA_DATABASE", filepath.Join(dir, "state", "cardea.db"))
	t.Setenv("CARDEA_KEY_FILE", filepath.Join(dir, "state", "kek"))
	t.Setenv("CARDEA_LISTEN", "127.0.0.1:0")
	t.Setenv("CARDEA_CONFIG", writeFile(t, dir, "empty.yaml", ""))
	return func(args ...string) (int, string, string) {
		var out, err bytes.Buffer
		code := run(args, &out, &err)
		return code, out.String(), err.String()
	}
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInitMakesEverythingForItsOwnerAloneAndTellsThePasswordOnce(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	code, out, stderr := control("init", "--team", "demo")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"password", "\n  cardea-control serve\n", "\n  cardea login http://", "\n  cardea admin projects create web\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	for name, mode := range map[string]fs.FileMode{"state": 0o700, "state/kek": 0o600, "state/cardea.db": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %o", name, info.Mode(), err, mode)
		}
	}
	made, _, _ := strings.Cut(out[strings.Index(out, "password")+len("password"):], "(")
	made = strings.TrimSpace(made)
	db, err := os.ReadFile(filepath.Join(dir, "state", "cardea.db"))
	if err != nil || len(made) != 23 || bytes.Contains(db, []byte(made)) {
		t.Errorf("password %q, or the database holds it; %v", made, err)
	}
	kek, _ := os.ReadFile(filepath.Join(dir, "state", "kek"))
	code, out, stderr = control("init", "--team", "other")
	if code != 1 || !strings.Contains(stderr, `has the team "demo" already; type: cardea-control serve`) || out != "" {
		t.Errorf("again: exit %d, %q, %q", code, out, stderr)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "state", "kek")); !bytes.Equal(kek, after) {
		t.Error("the second init changed the key file")
	}
}

func TestASetUpCodeTakesThePlaceOfAPassword(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	codeOf := func(out string) string {
		t.Helper()
		_, rest, found := strings.Cut(out, "set-up code")
		code, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if !found || len(code) != 52 || !strings.Contains(out, "/setup\n") {
			t.Fatalf("no code in:\n%s", out)
		}
		return code
	}
	code, out, stderr := control("init", "--setup-code", "--admin", "alice")
	if code != 0 || strings.Contains(out, "password  ") {
		t.Fatalf("exit %d, %s\n%s", code, stderr, out)
	}
	first := codeOf(out)
	if db, err := os.ReadFile(filepath.Join(dir, "state", "cardea.db")); err != nil || bytes.Contains(db, []byte(first)) {
		t.Errorf("the database holds the code; %v", err)
	}
	code, out, stderr = control("setup-code", "--admin", "alice")
	if code != 0 || codeOf(out) == first {
		t.Errorf("another: exit %d, %s\n%s", code, stderr, out)
	}
	for _, id := range []string{"", "laptop", "dev_aaaaaaaaaaaaaaaaaaaa"} {
		if code, _, stderr := control("approve-device", "--device", id); code != 2 || !strings.Contains(stderr, "give its id with --device") {
			t.Errorf("approve-device %q: exit %d, %q", id, code, stderr)
		}
	}
	if code, _, stderr = control("setup-code"); code != 2 || !strings.Contains(stderr, "--admin") {
		t.Errorf("of nobody: exit %d, %s", code, stderr)
	}
}

func TestTheNextCommandRepeatsTheOptionsThatServeNeedsToo(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	database, key := filepath.Join(dir, "an other", "c.db"), filepath.Join(dir, "kek")
	next := "cardea-control serve --database='" + database + "' --key-file=" + key
	args := []string{"init", "--team", "demo", "--admin", "alice", "--database", database, "--key-file", key}
	code, out, stderr := control(args...)
	if code != 0 || !strings.Contains(out, "\n  "+next+"\n") {
		t.Errorf("exit %d, %q, %q", code, out, stderr)
	}
	if code, _, stderr := control(args...); code != 1 || !strings.HasSuffix(stderr, "; type: "+next+"\n") {
		t.Errorf("again: exit %d, %q", code, stderr)
	}
	secret := []string{"init", "--database", "postgres://u:secret@127.0.0.1:1/x", "--key-file", key}
	if code, out, stderr := control(secret...); code != 1 || strings.Contains(out+stderr, "secret") {
		t.Errorf("PostgreSQL: exit %d, %q, %q", code, out, stderr)
	}
}

func TestInitReadsThePasswordFromAFile(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	code, out, stderr := control("init", "--admin", "alice", "--admin-password-file", writeFile(t, dir, "pw", "correct horse battery\n"))
	if code != 0 || strings.Contains(out+stderr, "correct horse") || strings.Contains(out, "password") {
		t.Errorf("exit %d, %q, %q", code, out, stderr)
	}
}

// What init made is gone again if it fails before anything depends on it, and why
// it failed is said once.
func TestAnInitThatFailsLeavesNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		says string
		left []string
	}{
		{"PostgreSQL does not run", []string{"--database=postgres://u:hunter2@127.0.0.1:1/x"},
			"cardea-control: the database postgres://u:xxxxx@127.0.0.1:1/x does not open: connection refused; see that it runs and that --database is right\n", nil},
		{"PostgreSQL's name is unknown", []string{"--database=postgres://u@nowhere.invalid/x"}, "does not open: the name nowhere.invalid is not known; see", nil},
		{"the key file's place is a file", []string{"--key-file=taken/kek"}, "taken", []string{"taken"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			control := isolated(t, filepath.Join(dir))
			work := filepath.Join(dir, "work")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Chdir(work)
			for _, name := range tc.left {
				writeFile(t, work, name, "")
			}
			code, out, stderr := control(append([]string{"init", "--key-file=new/folder/kek", "--database=other/cardea.db"}, tc.args...)...)
			if code != 1 || out != "" || !strings.Contains(stderr, tc.says) || strings.Contains(stderr, "hunter2") {
				t.Errorf("exit %d, %q, %q", code, out, stderr)
			}
			var left []string
			entries, err := os.ReadDir(work)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if !slices.Equal(left, tc.left) {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// Each mistake gets one line that says what to type next, and the right code.
func TestMistakesAreToldInOneLine(t *testing.T) {
	dir := t.TempDir()
	control := isolated(t, dir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	unknown := writeFile(t, dir, "bad.yaml", "databse: x\n")
	short := writeFile(t, dir, "short", "short\n")
	other := writeFile(t, dir, "other-kek", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	broken := writeFile(t, dir, "broken-kek", "not a key\n")
	open := writeFile(t, dir, "open-kek", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(name string, code int, hint string, args ...string) {
		t.Helper()
		got, out, stderr := control(args...)
		if got != code || !strings.Contains(stderr, hint) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "cardea-control: ") {
			t.Errorf("%s: exit %d (want %d), stderr %q (want %q)", name, got, code, stderr, hint)
		}
		if strings.Contains(out+stderr, "hunter2") {
			t.Errorf("%s: tells a password", name)
		}
	}
	check("before init", 1, "type: cardea-control init\n", "serve")
	config := writeFile(t, dir, "here.yaml", "database: "+filepath.Join(dir, "elsewhere.db")+"\n")
	check("before init, with a file of its own", 1, "type: cardea-control init --config="+config+"\n", "serve", "--config", config)
	check("a password that is too short", 2, "shorter than 12 characters; put a longer one into", "init", "--admin-password-file", short)
	check("no such password file", 2, "no such file", "init", "--admin-password-file", filepath.Join(dir, "nope"))
	check("an administrator whom no server would have", 2, "--admin-login", "init", "--admin", "root")
	check("a team with an escape in its name", 2, "no name for a team", "init", "--team", "a\x1b[2J")
	if code, _, stderr := control("init"); code != 0 {
		t.Fatal(stderr)
	}
	check("a key file that is not there", 1, "restore it from your backup", "serve", "--key-file", filepath.Join(dir, "gone"))
	check("another key file", 1, "not the one with which this database was made", "serve", "--key-file", other)
	check("a key file that is none", 1, "restore it from your backup", "serve", "--key-file", broken)
	check("a key file that others can read", 1, "type: chmod 600", "serve", "--key-file", open)
	check("an unknown key in the file", 2, `unknown key "databse"`, "serve", "--config", unknown)
	check("an unknown flag", 2, "type: cardea-control serve --help", "serve", "--nope")
	check("a word too many", 2, "type: cardea-control serve --help", "serve", "now")
	check("an address in use", 1, "choose another address with --listen", "serve", "--listen", taken.Addr().String())
	check("plain HTTP for everybody", 2, "tls-cert", "serve", "--listen", "0.0.0.0:0")
	check("a proxy without a public URL", 2, "public-url is missing", "serve", "--listen", "0.0.0.0:0", "--behind-tls-proxy")
	check("http as public URL", 2, "has no TLS", "serve", "--public-url", "http://access.example.com")
	check("half a certificate", 2, "belong together", "serve", "--tls-cert", "x")
	check("a certificate that is not there", 2, "tls-cert and tls-key", "serve", "--tls-cert", "/nope", "--tls-key", "/nope", "--public-url", "https://a.example")
	check("a session of a week", 2, "1h to 25h", "serve", "--session-life", "168h")
	check("a port that there is not", 2, "write it as 127.0.0.1:7080", "serve", "--listen", "127.0.0.1:72345")
	check("a proxy that is none", 2, "neither an address nor a prefix", "serve", "--trusted-proxies", "balancer")
	check("a time that is none", 2, "no duration such as", "serve", "--session-life", "long")
	check("a format of logging that there is not", 2, "use text or json", "serve", "--log-format", "xml")
	check("an unknown verb", 2, "is not a verb of cardea-control; type: cardea-control --help", "sever")
	check("a file that is not there", 2, "no such file", "serve", "--config", filepath.Join(dir, "nope"))
	check("another kind of database", 2, "postgres:// URL", "serve", "--database", "mysql://u:hunter2@127.0.0.1/x")
	check("a URL of PostgreSQL that is none", 2, "postgres://cardea@", "init", "--database", "postgres://u:hunter2@127.0.0.1:port/x")
	check("an unknown way to PostgreSQL", 2, "sslmode", "serve", "--database", "postgres://u:hunter2@127.0.0.1/x?sslmode=perhaps")
	check("a database that does not answer", 1, "see that it runs", "serve", "--database", "postgres://u:hunter2@127.0.0.1:1/x")
}
