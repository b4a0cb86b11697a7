//go:build unix

package cli

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

// Who is led to a server by gateways to which he never was has them looked at, each by itself,
// though one would do; and the control plane is asked for one connection in all.
func TestTheGatewaysOfAServerAreLookedAt(t *testing.T) {
	tr, stdout, _ := newTrouble(t)
	up := tr.gateway(func(conn net.Conn, o *hello.Opened) { conn.Write(o.Refuse("claim", "no")) })
	down := up
	down.Address = "127.0.0.1:1"
	w := tr.world()
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) {
		out.Routes, out.Ticket = []api.Route{up, down}, []byte("ticket")
	})
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	known, _, err := w.Ask.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tr.control.Reply("GET", "/v1/catalog", known)
	if code := tr.run(t.Context(), []string{"doctor", "web-1", "-o", "json"}); code != ExitFailed {
		t.Errorf("code %d", code)
	}
	var got checkup
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range got.Checks {
		if f.Check == "gateway" {
			found = append(found, string(f.State)+" "+f.Text+"; "+f.Cure)
		}
	}
	want := []string{"ok " + up.Address + " on the way to web-1 took a connection", "warning 127.0.0.1:1 on the way to web-1: connect: connection refused; none is needed"}
	if len(found) != 2 || !strings.HasPrefix(found[0], want[0]) || !strings.HasPrefix(found[1], want[1]) {
		t.Errorf("found %q\n%s", found, stdout)
	}
	if n := len(w.Control.Calls("POST", "/v1/connect")); n != 1 {
		t.Errorf("%d connections were asked for", n)
	}
}
