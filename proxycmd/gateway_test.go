package proxycmd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"golang.org/x/crypto/ssh"
)

// gateway opens hellos and does with the connection what the test wants.
type gateway struct {
	*agenttest.Gateway
	Addr string
	Hits atomic.Int32
	// hangsUp is how many of the first connections are closed before a hello.
	hangsUp atomic.Int32
	serve   func(conn net.Conn, o *hello.Opened)
}

// nobody is an address at which nobody listens. Of a port that was listened at the next
// listener may get the number.
const nobody = "127.0.0.1:1"

func newGateway(t testing.TB, serve func(conn net.Conn, o *hello.Opened)) *gateway {
	t.Helper()
	g := &gateway{Gateway: agenttest.NewGateway(t), serve: serve}
	g.Addr = tcptest.Serve(t, g.meet)
	return g
}

func (g *gateway) meet(conn net.Conn) {
	if g.Hits.Add(1) <= g.hangsUp.Load() {
		return
	}
	if opened, err := g.Open(conn); err == nil {
		g.serve(conn, opened)
	}
}

// relayTo accepts the hello and joins the connection to addr.
func relayTo(addr string) func(net.Conn, *hello.Opened) {
	return func(conn net.Conn, o *hello.Opened) {
		up, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer up.Close()
		if _, err := conn.Write(o.Accept()); err != nil {
			return
		}
		go func() { io.Copy(up, conn); up.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, up)
		conn.(halfCloser).CloseWrite()
		time.Sleep(10 * time.Millisecond)
	}
}

func refuse(kind, sentence string) func(net.Conn, *hello.Opened) {
	return func(conn net.Conn, o *hello.Opened) { conn.Write(o.Refuse(kind, sentence)) }
}

func (g *gateway) route() api.Route { return g.Route(g.Addr) }

// through has the control plane name these routes, with a ticket for their gateways.
func through(w *agenttest.World, address string, routes ...api.Route) {
	w.Helper()
	w.OnConnect(naming(w, address, routes...))
}

func naming(w *agenttest.World, address string, routes ...api.Route) func(out *api.Connection, key ssh.PublicKey) {
	w.Helper()
	_, ticketKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	var ids []string
	for _, r := range routes {
		for _, g := range r.Recipients {
			ids = append(ids, g.Gateway)
		}
	}
	return func(out *api.Connection, key ssh.PublicKey) {
		out.Routes = routes
		if len(ids) == 0 {
			return
		}
		out.Ticket, err = hello.SignTicket(ticketKey, hello.Ticket{
			ID: ident.New(ident.Ticket), KeyFingerprint: hello.Fingerprint(key), User: ident.New(ident.User), Session: ident.New(ident.Session),
			Server: out.ServerID, Login: out.Login, Address: address, Gateways: ids, IssuedAt: time.Now(), Expires: time.Now().Add(hello.TicketLife),
		})
		if err != nil {
			w.Errorf("sign the ticket: %v", err)
		}
	}
}

// home is alice's laptop with the agent running, and web-1.
func home(t testing.TB) (*agenttest.World, *agenttest.SSHD) {
	t.Helper()
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.Start(func(o *agent.Options) { o.Binary = binary })
	w.Until("ssh's configuration is there", func() bool { _, err := os.Stat(w.Paths.SSHConfig()); return err == nil })
	paths, err := json.Marshal(w.Paths)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(pathsVariable, string(paths))
	return w, w.SSHD(web.ID, w.HostSigner(web.ID, nil))
}

func realSSH(w *agenttest.World, more ...string) sshtest.Result {
	w.Helper()
	args := append([]string{"-F", w.Paths.SSHConfig(), "-o", "BatchMode=yes"}, more...)
	return sshtest.Run(w, sshtest.Command(w, "ssh", append(args, "web-1", "true")...))
}

func TestRealSSHReachesTheServerThroughAGateway(t *testing.T) {
	w, s := home(t)
	g := newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, g.route())
	if r := realSSH(w); r.Exit != 0 || r.Stdout != "hello alice\n" || r.Stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
	}
	through(w, s.Addr, api.Route{Address: s.Addr})
	if r := realSSH(w); r.Exit != 0 || r.Stdout != "hello alice\n" {
		t.Errorf("without a gateway: exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
	}
}

func TestThePassedDescriptorIsTheWholeConnection(t *testing.T) {
	w, s := home(t)
	g := newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, g.route())
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := realSSH(w, "-o", "ProxyUseFdpass=yes", "-o", `ProxyCommand="`+binary+`" proxycommand --fdpass %h %p %r`)
	if r.Exit != 0 || r.Stdout != "hello alice\n" || r.Stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
	}
}

// The first gateway fails in every way that there is; the second one carries the session.
func TestTheNextGatewayIsTriedInTime(t *testing.T) {
	w, s := home(t)
	dead := newGateway(t, nil).route()
	dead.Address = nobody
	impostor := newGateway(t, nil).route()
	babble := tcptest.Listen(t)
	impostor.Address = babble.Addr().String()
	go tcptest.Each(babble, func(c net.Conn) {
		c.Write([]byte(strings.Repeat("SSH-2.0-OpenSSH_9.2p1\r\n", 100)))
		io.Copy(io.Discard, c)
	})

	for name, c := range map[string]struct {
		first api.Route
		limit time.Duration
	}{
		"nobody listens":                    {dead, time.Second},
		"something else answers":            {impostor, time.Second},
		"it drains":                         {newGateway(t, refuse("draining", "this gateway is going away")).route(), time.Second},
		"it cannot reach the control plane": {newGateway(t, refuse("control", "the control plane does not answer")).route(), time.Second},
		"it has an unknown reason":          {newGateway(t, refuse("moon", "the moon is full")).route(), time.Second},
		"it hangs up":                       {newGateway(t, func(net.Conn, *hello.Opened) {}).route(), time.Second},
		"it never answers":                  {newGateway(t, func(c net.Conn, _ *hello.Opened) { io.Copy(io.Discard, c) }).route(), 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			good := newGateway(t, relayTo(s.Addr))
			through(w, s.Addr, c.first, good.route())
			start := time.Now()
			if r := realSSH(w); r.Exit != 0 || r.Stdout != "hello alice\n" {
				t.Errorf("exit %d, stdout %q, stderr %q", r.Exit, r.Stdout, r.Stderr)
			}
			if took := time.Since(start); took > c.limit+time.Second {
				t.Errorf("it took %s, want at most %s", took, c.limit)
			}
		})
	}
	// Of what answered there, and of nothing else, the control plane is told.
	var told []api.Impostor
	for end := time.Now().Add(5 * time.Second); len(told) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, call := range w.Control.Calls("POST", "/v1/impostors") {
			var met api.Impostor
			call.Into(t, &met)
			told = append(told, met)
		}
	}
	if len(told) != 1 || told[0].Address != impostor.Address || !slices.Equal(told[0].Gateways, []string{impostor.Recipients[0].Gateway}) {
		t.Errorf("told of %+v, want %s", told, impostor.Address)
	}
}

func TestWhatTheControlPlaneRefusesIsNotTriedElsewhere(t *testing.T) {
	w, s := home(t)
	no, good := newGateway(t, refuse("claim", "your user is disabled")), newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, no.route(), good.route())
	r := realSSH(w)
	if r.Exit != 255 || !strings.Contains(r.Stderr, "cardea: the gateway refused: your user is disabled") || good.Hits.Load() != 0 {
		t.Errorf("exit %d, stderr %q, the other gateway was asked %d times", r.Exit, r.Stderr, good.Hits.Load())
	}
}

func TestATicketThatIsOverIsReplacedOnce(t *testing.T) {
	w, s := home(t)
	first := true
	g := newGateway(t, nil)
	g.serve = func(conn net.Conn, o *hello.Opened) {
		if first {
			first = false
			conn.Write(o.Refuse("ticket", "the ticket has expired"))
			return
		}
		relayTo(s.Addr)(conn, o)
	}
	through(w, s.Addr, g.route())
	if r := realSSH(w); r.Exit != 0 {
		t.Errorf("exit %d, stderr %q", r.Exit, r.Stderr)
	}
	g.serve = refuse("ticket", "the ticket has expired")
	g.Hits.Store(0)
	if r := realSSH(w); r.Exit != 255 || !strings.Contains(r.Stderr, "the ticket has expired") || g.Hits.Load() != 2 {
		t.Errorf("exit %d, stderr %q, %d tries", r.Exit, r.Stderr, g.Hits.Load())
	}
}

func TestWhatPassesIsTriedASecondTimeOnce(t *testing.T) {
	for _, kind := range []string{"control", "busy", "draining"} {
		w, s := home(t)
		var g *gateway
		g = newGateway(t, func(conn net.Conn, o *hello.Opened) {
			if g.Hits.Load() == 1 {
				refuse(kind, "not now")(conn, o)
				return
			}
			relayTo(s.Addr)(conn, o)
		})
		through(w, s.Addr, g.route())
		if r := realSSH(w); r.Exit != 0 {
			t.Errorf("%s: exit %d, stderr %q", kind, r.Exit, r.Stderr)
		}
		for refused, tries := range map[string]int32{kind: 2, "server": 1} {
			g := newGateway(t, refuse(refused, "not now"))
			through(w, s.Addr, g.route())
			if r := realSSH(w); r.Exit != 255 || !strings.Contains(r.Stderr, "not now") || g.Hits.Load() != tries {
				t.Errorf("%s: exit %d, stderr %q, %d tries, want %d", refused, r.Exit, r.Stderr, g.Hits.Load(), tries)
			}
		}
	}
}

func TestWhenNoWayIsLeftTheReasonsAreTold(t *testing.T) {
	w, s := home(t)
	through(w, s.Addr, newGateway(t, refuse("draining", "this gateway is going away")).route(), newGateway(t, refuse("server", "the server did not \x1b[2J answer")).route())
	r := realSSH(w)
	if r.Exit != 255 || !strings.Contains(r.Stderr, "going away") || strings.Contains(r.Stderr, "\x1b") || strings.Count(r.Stderr, "cardea:") != 1 {
		t.Errorf("exit %d, stderr %q", r.Exit, r.Stderr)
	}
}
