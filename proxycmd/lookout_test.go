package proxycmd

import (
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"golang.org/x/crypto/ssh"
)

// On a direct way nobody else sees that ssh refused the server.
func TestAServerThatShowsAnotherHostKeyIsToldOf(t *testing.T) {
	w, right := home(t)
	plain := sshtest.Key(t)
	server := w.Connect("web-1", 0).ServerID
	wrong := w.HostSigner(ident.New(ident.Server), nil)
	for i, c := range []struct {
		name string
		host ssh.Signer
		ok   func(api.Impostor) bool
	}{
		{"another server's certificate", wrong, func(met api.Impostor) bool { return met.HostKey == sshtest.Line(wrong.PublicKey()) }},
		{"a key without certificate", plain.Signer, func(met api.Impostor) bool {
			return met.HostKey == "" && met.HostKeyAlgorithms == "ssh-ed25519" && !met.HostKeyHidden
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := w.SSHD(server, c.host).Addr
			through(w, at, api.Route{Address: at})
			if r := realSSH(w); r.Exit != 255 || r.Stdout != "" {
				t.Fatalf("exit %d, stdout %q", r.Exit, r.Stdout)
			}
			var met []api.Impostor
			w.Until("the control plane is told", func() bool {
				met = nil
				for _, call := range w.Control.Calls("POST", "/v1/impostors") {
					var m api.Impostor
					call.Into(t, &m)
					met = append(met, m)
				}
				return len(met) > i
			})
			if got := met[i]; len(met) != i+1 || got.Server != server || got.Address != at || len(got.Gateways) != 0 || !c.ok(got) {
				t.Errorf("told %+v", met)
			}
		})
	}
	// Of the right one nobody is told, and what passes is whole.
	before := len(w.Control.Calls("POST", "/v1/impostors"))
	through(w, right.Addr, api.Route{Address: right.Addr})
	if r := realSSH(w); r.Exit != 0 || r.Stdout != "hello alice\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
	}
	if n := len(w.Control.Calls("POST", "/v1/impostors")); n != before {
		t.Errorf("told %d times of the right server", n-before)
	}
}

func TestALookoutTellsOnceAndChangesNothing(t *testing.T) {
	var told []api.Impostor
	sent := strings.Repeat("x\n", 64<<10)
	l := &lookout{from: strings.NewReader(sent), tell: func(met api.Impostor) { told = append(told, met) }}
	var got strings.Builder
	buf := make([]byte, 1000)
	began := time.Now()
	for {
		n, err := l.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if got.String() != sent || len(told) != 1 || !told[0].HostKeyHidden || time.Since(began) > 10*time.Second {
		t.Errorf("%d of %d bytes, told %+v", got.Len(), len(sent), told)
	}
}
