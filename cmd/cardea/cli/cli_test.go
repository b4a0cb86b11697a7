package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/login"
)

// testApp is the program in this process, with a folder of its own.
func testApp(t *testing.T) (a *app, stdout, stderr *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for name, below := range map[string]string{"XDG_CONFIG_HOME": "config", "XDG_STATE_HOME": "state", "HOME": "home"} {
		t.Setenv(name, filepath.Join(dir, below))
	}
	t.Setenv("XDG_RUNTIME_DIR", agenttest.ShortDir(t))
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	env := map[string]string{"CARDEA_NO_KEYRING": "1"}
	return &app{
		in: strings.NewReader(""), out: stdout, err: stderr, now: time.Now,
		lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}, stdout, stderr
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want ExitCode
	}{
		{"nothing went wrong", nil, ExitOK},
		{"any failure", errors.New("x"), ExitFailed},
		{"a file that is not safe to use", login.ErrUnsafe, ExitFailed},
		{"a mistake in the command line", &usageError{text: "x"}, ExitUsage},
		{"no session", api.Errorf(api.SignIn, "x"), ExitSignIn},
		{"no session, wrapped", fmt.Errorf("do: %w", api.Errorf(api.SignIn, "x")), ExitSignIn},
		{"a refusal", api.Errorf(api.Denied, "x"), ExitDenied},
		{"a verdict that was printed", silentError{ExitDenied}, ExitDenied},
		{"interrupted", errInterrupted, ExitInterrupted},
		{"interrupted within a call", fmt.Errorf("do: %w", context.Canceled), ExitInterrupted},
		{"a deadline is a failure", context.DeadlineExceeded, ExitFailed},
		{"not found", api.Errorf(api.NotFound, "x"), ExitFailed},
		{"ambiguous", api.Errorf(api.Ambiguous, "x"), ExitFailed},
		{"unreachable", api.Errorf(api.Unavailable, "x"), ExitFailed},
		{"what the control plane finds wrong in what was typed", api.Errorf(api.Invalid, "x"), ExitUsage},
		{"an answer of something else", api.Errorf(api.Foreign, "x"), ExitFailed},
		{"a fault of the server", api.Errorf(api.Internal, "x"), ExitFailed},
	} {
		if got := exitOf(tc.err); got != tc.want {
			t.Errorf("%s: code %d, want %d", tc.name, got, tc.want)
		}
	}
	if runtime.GOOS != "windows" {
		if got := exitOf(exec.Command("sh", "-c", "exit 42").Run()); got != 42 {
			t.Errorf("ssh's own code became %d", got)
		}
		a, _, stderr := testApp(t)
		helper := fmt.Errorf("systemctl: %w: no bus", exec.Command("sh", "-c", "exit 5").Run())
		if code := a.tell(helper); code != ExitFailed || stderr.String() != "cardea: systemctl: exit status 5: no bus\n" {
			t.Errorf("a program that worked for us ended: code %d, told %q", code, stderr)
		}
	}
}

// Not in what a program reads, nor across a screen, which says it in its own way.
func TestAPersonIsToldOnceThatTheControlPlaneIsSlow(t *testing.T) {
	a, stdout, stderr := testApp(t)
	if err := a.place(); err != nil {
		t.Fatal(err)
	}
	for _, who := range []struct{ person, drawn bool }{{false, false}, {true, true}} {
		a.person = who.person
		a.drawn.Store(who.drawn)
		if a.acct.Slow(); stderr.Len() > 0 {
			t.Errorf("%+v is told %q", who, stderr)
		}
	}
	a.drawn.Store(false)
	for range 2 {
		a.acct.Slow()
	}
	if got := stderr.String(); got != "the control plane has not answered yet; to wait no longer press Ctrl-C\n" || stdout.Len() > 0 {
		t.Errorf("told %q and %q", got, stdout)
	}
}

// Every kind of error gets a next step on the same line, whoever wrote it.
func TestEveryErrorSaysWhatToDoNext(t *testing.T) {
	a, _, stderr := testApp(t)
	for _, kind := range []api.Kind{api.SignIn, api.Denied, api.NotFound, api.Ambiguous, api.Limited, api.Unavailable, api.NoGateway, api.Foreign, api.Internal} {
		stderr.Reset()
		a.tell(api.Errorf(kind, "evil\n\x1b[31mname"))
		got := stderr.String()
		if !strings.HasPrefix(got, `cardea: evil\n\x1b[31mname; `) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s is told as %q", kind, got)
		}
	}
	stderr.Reset()
	a.tell(api.Errorf(api.Unavailable, "the issuer does not answer; try again in a moment"))
	if got := stderr.String(); got != "cardea: the issuer does not answer; try again in a moment\n" {
		t.Errorf("told %q", got)
	}
	stderr.Reset()
	a.tell(api.Errorf(api.Limited, "too many").WithRetry(7 * time.Second))
	if !strings.Contains(stderr.String(), "wait 7 s") {
		t.Errorf("told %q", stderr)
	}
}

func TestInterruptionIs130(t *testing.T) {
	a, _, stderr := testApp(t)
	s := apitest.New(t)
	lookup := a.lookup
	a.lookup = func(name string) (string, bool) {
		if name == login.BrowserVariable && runtime.GOOS != "windows" {
			return "true", true // a browser that shows the page, and a person who goes away
		}
		return lookup(name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if code := a.run(ctx, []string{"login", s.URL}); code != ExitInterrupted || !strings.HasSuffix(stderr.String(), "cardea: interrupted\n") {
		t.Errorf("code %d, told %q", code, stderr)
	}
}

// Help, usage and completion work for every verb, and each says what it does.
func TestEveryVerbIsDocumented(t *testing.T) {
	a, _, _ := testApp(t)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s is described as %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Parent() != nil && !cmd.Parent().HasParent() && cmd.GroupID == "" {
			t.Errorf("%s is in no group of the help", cmd.CommandPath())
		}
		b, _, stderr := testApp(t)
		if code := b.run(t.Context(), append(strings.Fields(cmd.CommandPath())[1:], "--help")); code != ExitOK {
			t.Errorf("%s --help ends with %d: %s", cmd.CommandPath(), code, stderr)
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot(a))
}

func TestOptionsOfSSHAndTheCommandBehindThem(t *testing.T) {
	for _, tc := range []struct{ line, options, command, login string }{
		{"", "", "", ""},
		{"uptime", "", "uptime", ""},
		{"-v uptime -l", "-v", "uptime -l", ""},
		{"-L 8080:localhost:80 ls", "-L 8080:localhost:80", "ls", ""},
		{"-L8080:localhost:80 ls", "-L8080:localhost:80", "ls", ""},
		{"-o ProxyCommand=none ls", "-o ProxyCommand=none", "ls", ""},
		{"-oBatchMode=yes ls -o x", "-oBatchMode=yes", "ls -o x", ""},
		{"-tt -p 22 -- -x -l", "-tt -p 22", "-x -l", ""},
		{"-l alice ls", "", "ls", "alice"},
		{"-lalice ls", "", "ls", "alice"},
		{"-Nl alice", "-N", "", "alice"},
		{"-vNlalice -4", "-vN -4", "", "alice"},
		{"-NL 1:a:2 ls", "-NL 1:a:2", "ls", ""},
		{"- ls", "", "- ls", ""},
	} {
		options, command, login, err := splitSSH(strings.Fields(tc.line))
		if err != nil || strings.Join(options, " ") != tc.options || strings.Join(command, " ") != tc.command || login != tc.login {
			t.Errorf("%q is read as %q, %q, login %q, %v", tc.line, options, command, login, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"web-1", "web-2", "db-1", "cache-01"}
	for word, want := range map[string]string{
		"wbe-1": "web-1", "web1": "web-1", "cache-10": "cache-01", "db1": "db-1", "zzz": "", "": "", "mail-1": "",
		strings.Repeat("x", maxWord+1): "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestPickNeverGuesses(t *testing.T) {
	entry := func(id, project, name string) api.CatalogEntry {
		return api.CatalogEntry{ID: "srv_" + strings.Repeat(id, 20), Name: name, ProjectName: project, Login: "alice"}
	}
	servers := []api.CatalogEntry{entry("a", "web", "web-1"), entry("b", "data", "web-1"), entry("c", "web", "db-1")}
	for name, want := range map[string]api.Kind{"web-1": api.Ambiguous, "web/web-1": "", "db-1": "", "srv_" + strings.Repeat("b", 20): "", "web/db-2": api.NotFound} {
		if _, err := pick(servers, name); api.KindOf(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []func(*api.CatalogEntry){
		func(s *api.CatalogEntry) { s.ID = "srv_$(id)" },
		func(s *api.CatalogEntry) { s.Login = "a b" },
		func(s *api.CatalogEntry) { s.Login = "root" },
		func(s *api.CatalogEntry) { s.ProjectName = "-x" },
	} {
		s := entry("d", "web", "mail-1")
		bad(&s)
		if _, err := pick([]api.CatalogEntry{s}, "mail-1"); api.KindOf(err) != api.Foreign {
			t.Errorf("%+v was taken: %v", s, err)
		}
	}
}

func TestTablesAreSafeToLookAt(t *testing.T) {
	a, stdout, _ := testApp(t)
	rows := []api.Group{{Name: "ops\x1b]0;x\a\u202e\nroot", GID: 1}}
	if err := show(a, rows, groupColumns()); err != nil {
		t.Fatal(err)
	}
	if got := stdout.String(); strings.ContainsAny(got, "\x1b\a\u202e") || strings.Count(got, "\n") != 2 {
		t.Errorf("printed %q", got)
	}
	stdout.Reset()
	a.output = asJSON
	if err := show(a, rows, groupColumns()); err != nil || strings.ContainsAny(stdout.String(), "\x1b\a") {
		t.Errorf("printed %q, %v", stdout, err)
	}
}

func TestUntil(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"8h": "2026-01-01T20:00:00Z", "2026-12-31T18:00:00Z": "2026-12-31T18:00:00Z", "2026-12-31T18:00:00+02:00": "2026-12-31T16:00:00Z",
		"tomorrow": "", "-8h": "", "0s": "", "": "",
	} {
		u := untilFlag{now: func() time.Time { return now }}
		err := u.Set(text)
		if u.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q is %s, %v; want %q", text, u.String(), err, want)
		}
	}
}

func TestServerNamesThatAreRefused(t *testing.T) {
	for _, name := range []string{
		"-oProxyCommand=touch /tmp/x", "`id`", "$(id)", "a;id", "a\nb", "%h%r", strings.Repeat("a", 4096), "wеb-1", "a\x00b", "",
		"a b", "a/b/c", "/etc/passwd", "../x", "web/", "/web-1", "*", "WEB-1", "127.1", "0x7f.1", "localhost", "srv_short", "a@b", "[::1]",
	} {
		if err := checkServer(name); exitOf(err) != ExitUsage {
			t.Errorf("%q gives %v", name, err)
		}
	}
	for _, name := range []string{"web-1", "web-1.example.com", "web/web-1", ident.New(ident.Server)} {
		if err := checkServer(name); err != nil {
			t.Errorf("%q gives %v", name, err)
		}
	}
}

func TestPathOfKeepsANameInOneSegment(t *testing.T) {
	got, err := pathOf("servers", "web/web-1?x#y%2F..")
	if want := "/v1/servers/web%2Fweb-1%3Fx%23y%252F.."; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"", ".", ".."} {
		if _, err := pathOf("servers", bad); exitOf(err) != ExitUsage {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

// keeping is a local agent that has a list, and only that.
type keeping struct {
	localAgent
	catalog api.Catalog
	age     time.Duration
}

func (k keeping) Catalog(context.Context) (api.Catalog, time.Duration, error) {
	return k.catalog, k.age, nil
}

// An old list stands in for a control plane that cannot be reached, and for no other
// answer of it.
func TestAnOldListIsShownOnlyWhereThereIsNoAnswer(t *testing.T) {
	listed := func(name string) api.Catalog {
		return api.Catalog{Servers: []api.CatalogEntry{{Name: name}}}
	}
	for _, tc := range []struct {
		name    string
		age     time.Duration
		between func(*apitest.Server)
		kind    api.Kind
		shows   string
		looks   string // for a server of this name
	}{
		{"a list that was just renewed", staleAfter, func(s *apitest.Server) { s.Stop() }, "", "kept", ""},
		{"an old one, and the control plane answers", staleAfter + 1, func(*apitest.Server) {}, "", "new", ""},
		{"an old one, and the control plane is gone", staleAfter + 1, func(s *apitest.Server) { s.Stop() }, "", "kept", ""},
		{"an old one, because the session is over", staleAfter + 1, func(s *apitest.Server) { s.RevokeAll() }, api.SignIn, "", ""},
		{"a new one without what is looked for", 0, func(*apitest.Server) {}, "", "new", "new"},
		{"a new one without what is looked for, and the control plane is gone", 0, func(s *apitest.Server) { s.Stop() }, "", "kept", "new"},
		{"an empty one, and the control plane is gone", 0, func(s *apitest.Server) { s.Stop() }, api.Unavailable, "", "empty"},
		{"an empty one, because the session is over", 0, func(s *apitest.Server) { s.RevokeAll() }, api.SignIn, "", "empty"},
		{"one of another device of the same person", 0, func(*apitest.Server) {}, "", "new", "other"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, _, _ := testApp(t)
			s := apitest.New(t)
			s.Reply("GET", "/v1/catalog", listed("new"))
			newRoot(a) // binds the options
			if err := a.configure(); err != nil {
				t.Fatal(err)
			}
			if err := a.home.Check(); err != nil {
				t.Fatal(err)
			}
			key, err := a.home.DeviceKey()
			if err != nil {
				t.Fatal(err)
			}
			token, session := s.SignIn(key.Thumbprint())
			if err := a.home.Save(login.Saved{URL: s.URL, Token: token, Session: session}); err != nil {
				t.Fatal(err)
			}
			kept := listed("kept")
			kept.Session = session
			switch tc.looks {
			case "empty":
				kept.Servers = nil
			case "other":
				kept.Session.Device = ident.New(ident.Device)
			}
			a.local = keeping{catalog: kept, age: tc.age}
			tc.between(s)
			c, _, err := a.catalogWith(t.Context(), func(c api.Catalog) bool { return tc.looks == "" || len(meant(c.Servers, tc.looks)) > 0 })
			got := ""
			if len(c.Servers) > 0 {
				got = c.Servers[0].Name
			}
			if api.KindOf(err) != tc.kind || got != tc.shows {
				t.Errorf("shows %q, error %v; want %q of kind %q", got, err, tc.shows, tc.kind)
			}
		})
	}
}
