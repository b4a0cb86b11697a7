//go:build unix

package cli

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// agentThat answers at the control socket as one of some version does: by verb, and with
// what an older one says of a verb that it does not know.
func (tr trouble) agentThat(answers map[string]any) (asked func() []string) {
	tr.Helper()
	if err := os.MkdirAll(filepath.Dir(tr.paths.ControlSocket()), 0o700); err != nil {
		tr.Fatal(err)
	}
	l, err := net.Listen("unix", tr.paths.ControlSocket())
	if err != nil {
		tr.Fatal(err)
	}
	tr.Cleanup(func() { l.Close() })
	verbs := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadBytes('\n')
			var req struct{ Verb string }
			json.Unmarshal(line, &req)
			answer, known := answers[req.Verb]
			if !known {
				answer = map[string]any{"error": api.Errorf(api.Foreign, "the agent does not know the verb %q", req.Verb)}
			}
			verbs <- req.Verb
			json.NewEncoder(conn).Encode(answer)
			conn.Close()
		}
	}()
	return func() (got []string) {
		for {
			select {
			case v := <-verbs:
				got = append(got, v)
			default:
				return got
			}
		}
	}
}

// Whatever agent there is, and whoever's list it has: a Tab offers what its person may reach,
// and prints nothing else.
func TestATabOffersTheSameByEveryAgent(t *testing.T) {
	const mine = "web-1 web-mine"
	words := func(change func(*agent.Words)) func(api.Session) map[string]any {
		return func(s api.Session) map[string]any {
			w := agent.Words{Words: []string{"web-ready"}, User: s.User, Device: s.Device}
			change(&w)
			return map[string]any{"names": map[string]any{"words": w}}
		}
	}
	for name, tc := range map[string]struct {
		answers func(api.Session) map[string]any
		want    string
	}{
		"one that has them ready":           {words(func(*agent.Words) {}), "web-ready"},
		"one that has none that fit":        {words(func(w *agent.Words) { w.Words = nil }), ""},
		"one of another person":             {words(func(w *agent.Words) { w.User = "usr_other" }), "web-old"},
		"one of another device":             {words(func(w *agent.Words) { w.Device = "dev_other" }), "web-old"},
		"one that could not renew its list": {words(func(w *agent.Words) { w.Age = staleAfter + time.Second }), "web-old"},
		"one that answers nonsense":         {func(api.Session) map[string]any { return map[string]any{"names": map[string]any{"status": 7}} }, "web-old"},
		"one that answers nothing":          {func(api.Session) map[string]any { return map[string]any{"names": map[string]any{}} }, "web-old"},
		"an older one":                      {func(api.Session) map[string]any { return map[string]any{} }, "web-old"},
		"none":                              {nil, mine},
	} {
		t.Run(name, func(t *testing.T) {
			a, stdout, stderr := testApp(t)
			newRoot(a) // binds the options
			s := apitest.New(t)
			tr := trouble{t, a, s}
			tr.signedIn()
			saved, err := a.home.Peek()
			if err != nil {
				t.Fatal(err)
			}
			entry := func(name string) api.CatalogEntry {
				e := catalogOf(s).Servers[0]
				e.Name = name
				return e
			}
			s.Reply("GET", "/v1/catalog", api.Catalog{Session: saved.Session, Servers: []api.CatalogEntry{entry("web-mine"), entry("web-1"), entry("db-1"), entry("web-\x1b[2J"), entry("web-$(id)")}})
			if tc.answers != nil {
				answers := tc.answers(saved.Session)
				answers["catalog"] = map[string]any{"catalog": api.Catalog{Session: saved.Session, Servers: []api.CatalogEntry{entry("web-old"), entry("web-`id`")}}}
				tr.agentThat(answers)
			}
			if code := a.run(t.Context(), []string{"__complete", "exec", "web-typed", "web"}); code != ExitOK {
				t.Errorf("code %d", code)
			}
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			got := lines[:len(lines)-1] // the last one is for the shell's script
			if !slices.Equal(got, strings.Fields(tc.want)) || !strings.HasPrefix(lines[len(lines)-1], ":4") {
				t.Errorf("it printed %q, want %s; and %q", stdout, tc.want, stderr)
			}
		})
	}
}

// What was typed goes to the agent as it is, and comes back neither as another question nor as
// a command.
func TestATabThatIsHostileOffersNothing(t *testing.T) {
	a, stdout, _ := testApp(t)
	newRoot(a) // binds the options
	s := apitest.New(t)
	tr := trouble{t, a, s}
	w := tr.world()
	saved, err := a.home.Peek()
	if err != nil {
		t.Fatal(err)
	}
	c := catalogOf(s)
	c.Session, c.HostCAs = saved.Session, []string{sshtest.Line(w.HostCA.PublicKey())}
	w.Control.Reply("GET", "/v1/catalog", c)
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.run(t.Context(), []string{"__complete", "resolve", "we"}); stdout.String() != "web-1\nweb/web-2\n:4\n" {
		t.Fatalf("of what it knows it offers %q", stdout)
	}
	for _, typed := range []string{"$(touch hacked)", "`id`", "\"},{\"verb\":\"stop\"", "\x1b[2J", "web-1\nverb", "\xff\xfe", strings.Repeat("x", 1<<17), "-"} {
		stdout.Reset()
		if code := a.run(t.Context(), []string{"__complete", "resolve", "--", typed}); code != ExitOK || stdout.String() != ":4\n" {
			t.Errorf("%.40q: code %d, it printed %.200q", typed, code, stdout)
		}
	}
	if _, ok := w.Ask.Running(t.Context()); !ok {
		t.Error("the agent is gone")
	}
}
