package agent_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// Names that mean two servers are never guessed; those that the user's own configuration
// uses stay his.
func TestWhichNamesSSHKnows(t *testing.T) {
	unique, one, two, taken := agenttest.Entry("db-1", "web"), agenttest.Entry("web-1", "blue"), agenttest.Entry("web-1", "green"), agenttest.Entry("mine", "web")
	bad := agenttest.Entry("-oProxyCommand=id", "web")
	dotted := agenttest.Entry("db-1.web", "x") // as the short form of the first one
	w := agenttest.New(t, unique, one, two, taken, bad, dotted)
	own := filepath.Join(filepath.Dir(w.Paths.SSH), "config")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("Include "+w.Paths.SSHConfig()+"\nHost mine\n  HostName mine.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.Paths.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "Host "); ok {
			names = append(names, strings.Fields(list)...)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	want := []string{"db-1", "db-1.web.x", "mine.web", "web-1.blue", "web-1.green"}
	if !slices.Equal(names, want) {
		t.Errorf("names are %q, want %q", names, want)
	}
	s, err := w.Ask.Status(t.Context())
	if err != nil || !slices.Equal(s.Skipped, []string{"mine"}) || s.Problem != "" {
		t.Errorf("status %+v, %v", s, err)
	}
	for name, want := range map[string]string{"db-1": unique.ID, "blue/web-1": one.ID, "web-1.green": two.ID, "mine": taken.ID, two.ID: two.ID} {
		if c, err := w.Ask.Connect(t.Context(), name, "", 0); err != nil || c.ServerID != want {
			t.Errorf("%s: %s, %v", name, c.ServerID, err)
		}
	}
}

// A server's other names are as good as its own, and no better: what means two servers
// means none, and what could be more than a name to ssh goes nowhere.
func TestOtherNamesOfServers(t *testing.T) {
	named := func(name, project string, also ...string) api.CatalogEntry {
		e := agenttest.Entry(name, project)
		e.AltNames = also
		return e
	}
	one := named("web-1", "web", "www", "www.example.com", "web-1", "web-1.web", "shared", "mine", "*", "a b", "-oProxyCommand=id", "db-1")
	two, db := named("web-2", "web", "shared", "only"), named("db-1", "data")
	w := agenttest.New(t, one, two, db)
	own := filepath.Join(filepath.Dir(w.Paths.SSH), "config")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("Include "+w.Paths.SSHConfig()+"\nHost mine\n  HostName mine.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.Paths.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nHost web-1 web-1.web www www.example.com\n", "\nHost web-2 web-2.web only\n", "\nHost db-1.data\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "shared") || strings.Contains(string(text), "*") || strings.Contains(string(text), "-o") {
		t.Errorf("it knows what it must not:\n%s", text)
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || !slices.Equal(s.Skipped, []string{"mine"}) || s.Problem != "" {
		t.Errorf("status %+v, %v", s, err)
	}
	for name, want := range map[string]string{"www": one.ID, "web/www": one.ID, "www.web": one.ID, "www.example.com": one.ID, "only": two.ID, "web/only": two.ID, "data/db-1": db.ID} {
		if c, err := w.Ask.Connect(t.Context(), name, "", 0); err != nil || c.ServerID != want {
			t.Errorf("%s: %s, %v", name, c.ServerID, err)
		}
	}
}

// An answer that is not a catalog must not cost the user the one he has.
func TestABadAnswerLeavesTheLastCatalogAndFiles(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(w.Paths.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]any{
		"an error":    api.Errorf(api.Unavailable, "the database is away"),
		"other JSON":  []string{"x"},
		"without CAs": api.Catalog{Version: "9", Servers: []api.CatalogEntry{agenttest.Entry("web-9", "web")}},
	} {
		w.Control.On("GET", "/v1/catalog", func(c agenttest.Call) (any, error) {
			if e, ok := answer.(*api.Error); ok {
				return nil, e
			}
			return answer, nil
		})
		w.Ask.Refresh(t.Context()) // it may fail: what counts is what is left
		if after, err := os.ReadFile(w.Paths.SSHConfig()); err != nil || string(after) != string(before) {
			t.Errorf("%s: the file is now %q, %v", name, after, err)
		}
		if s, err := w.Ask.Status(t.Context()); err != nil || s.Problem == "" {
			t.Errorf("%s: nothing is said about it: %+v, %v", name, s, err)
		}
	}
}

func BenchmarkTenThousandServers(b *testing.B) {
	var servers []api.CatalogEntry
	for i := range 10_000 {
		e := agenttest.Entry(fmt.Sprintf("web-%d", i), "web")
		e.Labels = map[string]string{"env": "prod", "region": "eu-west-1"}
		servers = append(servers, e)
	}
	w := agenttest.New(b, servers...)
	w.Start()
	if err := w.Ask.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := w.Ask.Catalog(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// ssh -A forwards the user's own agent, also where an ssh started ours: ssh then hands down
// our socket as SSH_AUTH_SOCK, so the user's is the one that ssh itself was started with.
func TestTheUsersOwnAgentIsFoundAndForgotten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: another process' environment is read on Linux only")
	}
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start(func(o *agent.Options) { o.UserAgent = w.Paths.SSHSocket() })
	own := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", own)
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command("sleep", "60")
	parent.Env = []string{"SSH_AUTH_SOCK=" + own}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer parent.Process.Kill()
	forwards := func() string {
		if err := w.Ask.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(w.Paths.SSHConfig())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "ForwardAgent") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return strings.Join(lines, "; ")
	}
	if got := forwards(); got != "ForwardAgent no" {
		t.Errorf("before anybody connected: %s", got)
	}
	w.Connect("web-1", parent.Process.Pid)
	if got := forwards(); got != "ForwardAgent no; ForwardAgent "+own {
		t.Errorf("after an ssh of the user's: %s", got)
	}
	l.Close() // removes the socket
	if got := forwards(); got != "ForwardAgent no" {
		t.Errorf("after the user's agent has gone: %s", got)
	}
}

// A proxy in between may answer a long poll at once, again and again.
func TestAPollThatDoesNotWaitIsNotRepeatedWithoutAPause(t *testing.T) {
	for name, answer := range map[string]any{
		"nothing, at once": nil, "the same catalog, at once": api.Catalog{Version: "1", HostCAs: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"}},
	} {
		w := agenttest.New(t)
		w.Control.On("GET", "/v1/catalog", func(agenttest.Call) (any, error) { return answer, nil })
		w.Start()
		time.Sleep(500 * time.Millisecond)
		if n := len(w.Control.Calls("GET", "/v1/catalog")); n > 10 {
			t.Errorf("%s: %d polls in half a second", name, n)
		}
	}
}

// The laptop slept while the team's CA of hosts was rotated. The first connection
// finds that out, and ssh has the new trust before it looks at the host key.
func TestANewCAOfHostsIsTrustedBeforeSSHMeetsIt(t *testing.T) {
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	line := w.RotateHostCA(t)
	if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.Paths.KnownHosts())
	if err != nil || !strings.Contains(string(text), line) {
		t.Errorf("known_hosts has %q, %v", text, err)
	}
}

// Programs that check no certificates find the servers' own keys, under the names that ssh
// has for them. What was another key, another server or none is gone with the catalog that
// says so; where a gateway answers, the server's key would be wrong.
func TestPlainKeysOfServersFollowTheCatalog(t *testing.T) {
	key := func() string { return sshtest.Line(sshtest.Key(t).PublicKey()) }
	web, seen, two, other, gone := agenttest.Entry("web-1", "web"), agenttest.Entry("rec-1", "web"), agenttest.Entry("two", "web"), agenttest.Entry("two", "x"), agenttest.Entry("gone", "web")
	for _, e := range []*api.CatalogEntry{&web, &seen, &two, &other, &gone} {
		e.HostKey = key()
	}
	web.AltNames, seen.Recorded = []string{"www.example.com"}, true
	w := agenttest.New(t, web, seen, two, other, gone, agenttest.Entry("untold", "web"))
	w.Start()
	plain := func() (lines []string) {
		t.Helper()
		if err := w.Ask.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(w.Paths.KnownHosts())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line[0] != '@' && line[0] != '#' {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		slices.Sort(lines)
		return lines
	}
	want := []string{"gone,gone.web " + gone.HostKey, "two.web " + two.HostKey, "two.x " + other.HostKey, "web-1,web-1.web,www.example.com " + web.HostKey}
	if got := plain(); !slices.Equal(got, want) {
		t.Errorf("known_hosts has %q, want %q", got, want)
	}
	again := agenttest.Entry("web-1", "web") // enrolled anew
	again.HostKey, two.HostKey = key(), "ssh-ed25519 AAAA\n* "+key()
	w.SetCatalog("2", again, two)
	if got, want := plain(), []string{"web-1,web-1.web " + again.HostKey}; !slices.Equal(got, want) {
		t.Errorf("later it has %q, want %q", got, want)
	}
}
