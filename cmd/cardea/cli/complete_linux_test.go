package cli

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api/apitest"
)

// A locked keyring asks the person for a password, and says nothing until it has that.
func TestATabDoesNotWaitForTheKeyring(t *testing.T) {
	bus := filepath.Join(agenttest.ShortDir(t), "bus")
	l, err := net.Listen("unix", bus) // whoever comes is heard by nobody
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+bus)
	for _, words := range [][]string{{"requests", "show"}, {"ssh"}} {
		// Each Tab is a program of its own: the one before still waits.
		a, stdout, _ := testApp(t)
		newRoot(a) // binds the options
		trouble{t, a, apitest.New(t)}.signedIn()
		saved, err := a.home.Peek()
		if err != nil {
			t.Fatal(err)
		}
		saved.Keyring = true
		text, err := json.Marshal(saved)
		if err == nil {
			err = os.WriteFile(a.home.Path(), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		if code := a.run(ctx, append(append([]string{"__complete"}, words...), "")); code != ExitOK || stdout.String() != ":4\n" {
			t.Errorf("%q: code %d, it printed %q", words, code, stdout)
		}
		if waited := time.Since(began); waited > 20*time.Second {
			t.Errorf("%q: it took %v", words, waited)
		}
		cancel()
	}
}
