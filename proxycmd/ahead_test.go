package proxycmd

import (
	"net"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"golang.org/x/crypto/ssh"
)

// Where a connection of this project led last, the next one is dialled while the control
// plane still thinks, and that very connection is used.
func TestTheGatewayIsDialledWhileTheControlPlaneIsAsked(t *testing.T) {
	w, s := home(t)
	g, other := newGateway(t, relayTo(s.Addr)), newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, g.route())
	if r := realSSH(w); r.Exit != 0 || g.Hits.Load() != 1 {
		t.Fatalf("exit %d, stderr %q, %d connections", r.Exit, r.Stderr, g.Hits.Load())
	}
	early := false
	slow := func(then func(out *api.Connection, key ssh.PublicKey)) func(out *api.Connection, key ssh.PublicKey) {
		return func(out *api.Connection, key ssh.PublicKey) {
			for end := time.Now().Add(5 * time.Second); g.Hits.Load() < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			early = g.Hits.Load() == 2
			then(out, key)
		}
	}
	w.OnConnect(slow(naming(w, s.Addr, other.route(), g.route())))
	if r := realSSH(w); r.Exit != 0 || !early || g.Hits.Load() != 2 || other.Hits.Load() != 0 {
		t.Errorf("exit %d, stderr %q; dialled while the control plane was asked: %v; %d and %d connections", r.Exit, r.Stderr, early, g.Hits.Load(), other.Hits.Load())
	}
}

// What was guessed wrongly is closed, without a word.
func TestAWrongGuessIsClosedWithoutAWord(t *testing.T) {
	w, s := home(t)
	said := make(chan int, 16)
	l := tcptest.Listen(t)
	go tcptest.Each(l, func(c net.Conn) {
		n, _ := c.Read(make([]byte, 1))
		said <- n
	})
	gone, good := newGateway(t, nil).route(), newGateway(t, relayTo(s.Addr))
	gone.Address = l.Addr().String()
	through(w, s.Addr, gone)
	if r := realSSH(w); r.Exit != 255 {
		t.Fatalf("exit %d", r.Exit)
	}
	for len(said) > 0 {
		<-said
	}
	through(w, s.Addr, good.route())
	if r := realSSH(w); r.Exit != 0 || r.Stdout != "hello alice\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
	}
	select {
	case n := <-said:
		if n != 0 {
			t.Error("something was said to a gateway that no ticket names")
		}
	case <-time.After(5 * time.Second):
		t.Error("nobody came, or he did not leave")
	}
}

// "cardea ssh" prepares the way; what the agent has dialled for it is what its ssh uses.
func TestWhatWasDialledWhileItWasPreparedIsUsed(t *testing.T) {
	w, s := home(t)
	prepare := &agent.Control{Paths: w.Paths, Ahead: true}
	once := func(name string, options []string, hangUps int32) (dialled int32, asked int) {
		g := newGateway(t, relayTo(s.Addr))
		g.hangsUp.Store(hangUps)
		through(w, s.Addr, g.route())
		before := len(w.Control.Calls("POST", "/v1/connect"))
		if _, err := prepare.Prepare(t.Context(), "web-1", ""); err != nil {
			t.Fatal(err)
		}
		w.Until("it is dialled", func() bool { return g.Hits.Load() == 1 })
		greeted(t, name, realSSH(w, options...))
		return g.Hits.Load(), len(w.Control.Calls("POST", "/v1/connect")) - before
	}
	for name, options := range passing(t) {
		if dialled, asked := once(name, options, 1); dialled != 2 || asked != 1 {
			t.Errorf("%s, it had died: dialled %d times, the control plane was asked %d times", name, dialled, asked)
		}
		var dialled int32
		for range 5 { // on a machine so slow that ssh takes a second to start it has been closed
			if dialled, _ = once(name, options, 0); dialled == 1 {
				break
			}
		}
		if dialled != 1 {
			t.Errorf("%s: dialled %d times", name, dialled)
		}
	}
}
