//go:build unix

package cli

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

// catalogCall answers with a catalog of some servers.
func catalogCall(servers []api.CatalogEntry, err error) func(apitest.Call) (any, error) {
	return func(apitest.Call) (any, error) { return api.Catalog{Version: "1", Servers: servers}, err }
}

// At a real terminal somebody looks for a server, chooses one of two with the same name, and
// the terminal is as it was before.
func TestThePickerAtATerminal(t *testing.T) {
	a, s := signedIn(t)
	s.On("GET", "/v1/catalog", catalogCall(pickerTeam(), nil))
	s.Reply("GET", "/v1/why", api.Why{Allow: true, Reason: "a grant allows it"})
	master, tty, screen, unchanged := terminal(t)
	type step struct{ see, keys string }
	show := func(args []string, want ExitCode, steps ...step) {
		t.Helper()
		a.in, a.out = tty, tty
		screen.mu.Lock()
		screen.b.Reset()
		screen.mu.Unlock()
		over := make(chan ExitCode, 1)
		go func() { over <- a.run(context.Background(), args) }()
		for _, step := range steps {
			screen.await(t, step.see)
			if _, err := master.WriteString(step.keys); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case code := <-over:
			if code != want {
				t.Errorf("%q: code %d", args, code)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the screen does not end")
		}
	}
	show(nil, ExitOK, step{"3 servers", "/db"}, step{"1 of 3", "\ti"}, step{"a grant allows it", "c"}, step{"\x1b]52;c;", "q"})
	show([]string{"resolve", "web-1"}, ExitOK, step{"Which web-1?", "j"}, step{"› ", "\r"}, step{"srv_bbbbbbbbbbbbbbbbbbbb", ""})
	show([]string{"resolve", "web-1"}, ExitFailed, step{"Which web-1?", "q"})
	unchanged()
	if _, err := os.Stat(a.paths.State + "/" + firstFile); err != nil {
		t.Error(err)
	}
}
