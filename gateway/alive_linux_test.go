package gateway

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/vhost"
)

// silence is the peer timeout of these tests.
const silence = 2 * time.Second

// apart is a client and a server on hosts of their own, and a gateway between them.
type apart struct {
	*testing.T
	plane          *plane
	gateway        *running
	client, server *vhost.Host
	sshd           *sshd
}

func newApart(t *testing.T, n *vhost.Network, change func(*Options)) *apart {
	t.Helper()
	a := &apart{T: t, plane: newPlane(t)}
	for _, h := range []**vhost.Host{&a.client, &a.server} {
		var err error
		if *h, err = n.NewHost(t.Context(), vhost.Options{Name: "host"}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := a.server.Listen("tcp", a.server.Addr().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	a.sshd = newSSHDAt(t, l)
	a.gateway = runGatewayAt(t, n.Addr().String()+":0", a.plane, func(o *Options) {
		o.PeerTimeout = silence
		if change != nil {
			change(o)
		}
	})
	return a
}

// call begins a session: the client's end, and the server's.
func (a *apart) call() (client, server *net.TCPConn) {
	a.Helper()
	c := newCaller(a, a.plane, a.sshd.addr, a.gateway)
	c.dial = func(address string) (net.Conn, error) { return a.client.Dial("tcp", address) }
	client = c.mustCall(a.gateway)
	server = a.sshd.next(a)
	say(a, client, "ping")
	hear(a, server, "ping")
	return client, server
}

// cutOff takes a host from the network: nothing of it is heard any more.
func (a *apart) cutOff(h *vhost.Host) {
	a.Helper()
	if _, err := h.Run(a.Context(), "ip", "link", "set", "eth0", "down"); err != nil {
		a.Fatal(err)
	}
}

// TestWhoIsGoneEndsTheSession, within the time, with the cause, and leaves nothing behind.
func TestWhoIsGoneEndsTheSession(t *testing.T) {
	t.Parallel()
	n, err := vhost.NewNetwork(t.Context(), vhost.NetworkOptions{})
	if errors.Is(err, vhost.ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	write := func(c net.Conn) { c.Write([]byte("what nobody acknowledges")) }
	for name, tc := range map[string]struct {
		vanish func(a *apart, client, server *net.TCPConn)
		cause  string
	}{
		"the client vanishes while nothing passes": {func(a *apart, _, _ *net.TCPConn) { a.cutOff(a.client) }, causeClient},
		"the server vanishes while nothing passes": {func(a *apart, _, _ *net.TCPConn) { a.cutOff(a.server) }, causeServer},
		"the client vanishes while it is sent to":  {func(a *apart, _, server *net.TCPConn) { a.cutOff(a.client); write(server) }, causeClient},
		"the server vanishes while it is sent to":  {func(a *apart, client, _ *net.TCPConn) { a.cutOff(a.server); write(client) }, causeServer},
		"both vanish":                              {func(a *apart, _, _ *net.TCPConn) { a.cutOff(a.client); a.cutOff(a.server) }, ""},
		"the client resets its connection":         {func(_ *apart, client, _ *net.TCPConn) { client.SetLinger(0); client.Close() }, causeClient},
		"the server resets its connection":         {func(_ *apart, _, server *net.TCPConn) { server.SetLinger(0); server.Close() }, causeServer},
		"the client ends, and the server does not": {func(_ *apart, client, _ *net.TCPConn) { client.CloseWrite() }, causeClient},
		"the server ends, and the client does not": {func(_ *apart, _, server *net.TCPConn) { server.CloseWrite() }, causeServer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApart(t, n, nil)
			client, server := a.call()
			tc.vanish(a, client, server)
			if end := a.plane.end("gse_1"); end.Cause != tc.cause && tc.cause != "" {
				t.Errorf("ended with %q, want %q", end.Cause, tc.cause)
			}
			eventually(t, "no session", func() bool { return a.gateway.sessions.count() == 0 })
		})
	}
	for side, cause := range map[string]string{"client": causeClient, "server": causeServer} {
		t.Run("the "+side+" of a recorded session vanishes", func(t *testing.T) {
			t.Parallel()
			a := newApart(t, n, nil)
			l, err := a.server.Listen("tcp", a.server.Addr().String()+":0")
			if err != nil {
				t.Fatal(err)
			}
			r := newRecorderAt(t, n.Addr().String()+":0", l, func(o *Options) { o.PeerTimeout = silence })
			r.dial = func(address string) (net.Conn, error) { return a.client.Dial("tcp", address) }
			user, _ := r.connect()
			if _, err := user.NewSession(); err != nil {
				t.Fatal(err)
			}
			a.cutOff(map[string]*vhost.Host{"client": a.client, "server": a.server}[side])
			if end := r.plane.end("gse_1"); end.Cause != cause {
				t.Errorf("ended with %q", end.Cause)
			}
			eventually(t, "no session", func() bool { return r.gateway.sessions.count() == 0 })
			if e := r.recordings.closed; len(e) != 1 || e[0].Cause != cause {
				t.Errorf("the recording ended with %+v", e)
			}
		})
	}
	t.Run("who is there stays, though nothing passes or nobody reads", func(t *testing.T) {
		t.Parallel()
		a := newApart(t, n, nil)
		quiet, _ := a.call()
		stalled, sender := a.call()
		sent := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(sender, io.LimitReader(zeros{}, 32<<20))
			sender.CloseWrite()
			sent <- n
		}()
		time.Sleep(3 * silence) // less would not show it
		if a.gateway.sessions.count() != 2 {
			t.Errorf("%d sessions are left", a.gateway.sessions.count())
		}
		say(t, quiet, "still here")
		if n, err := io.Copy(io.Discard, stalled); err != nil || n != <-sent {
			t.Errorf("%d bytes came: %v", n, err)
		}
	})
}

// zeros are as many as one likes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
