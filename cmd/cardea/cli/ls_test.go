//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

// That a server was seen again wakes no agent: whoever looks at an old list is told anew when
// that was, and a script that reads names has them at once.
func TestAListSaysWhenServersWereSeenByNow(t *testing.T) {
	a, stdout, _ := testApp(t)
	newRoot(a) // binds the options
	s := apitest.New(t)
	trouble{t, a, s}.signedIn()
	saved, err := a.home.Peek()
	if err != nil {
		t.Fatal(err)
	}
	server := catalogOf(s).Servers[0]
	server.LastSeen = a.now().Add(-time.Minute)
	s.Reply("GET", "/v1/catalog", api.Catalog{Session: saved.Session, Servers: []api.CatalogEntry{server}})
	server.LastSeen = a.now().Add(-3 * time.Hour)
	a.local = keeping{catalog: api.Catalog{Session: saved.Session, Servers: []api.CatalogEntry{server}}}
	stored := filepath.Join(a.paths.State, "catalog.json")
	for _, c := range []struct {
		name  string
		age   time.Duration
		quiet bool
		want  string
	}{
		{"a list of three hours ago", 3 * time.Hour, false, " 1m ago"},
		{"its names alone", 3 * time.Hour, true, "web-1"},
		{"a list of a minute ago", time.Minute, false, " 3h ago"},
	} {
		trouble{t, a, s}.write(stored, "{}", 0o600)
		if err := os.Chtimes(stored, a.now(), a.now().Add(-c.age)); err != nil {
			t.Fatal(err)
		}
		stdout.Reset()
		asked := len(s.Calls("GET", "/v1/catalog"))
		if err := a.ls(t.Context(), lsOptions{quiet: c.quiet}); err != nil || !strings.Contains(stdout.String(), c.want) {
			t.Errorf("%s: %v, %q", c.name, err, stdout)
		}
		if got := len(s.Calls("GET", "/v1/catalog")) - asked; (got > 0) != (c.want == " 1m ago") {
			t.Errorf("%s: asked %d times", c.name, got)
		}
	}
}
