package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/hello"
)

// patience bounds what a test waits for; it is long because machines are busy.
const patience = 30 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// plane is a control plane that signs tickets, takes claims once and gives
// orders.
type plane struct {
	*apitest.Server
	t    testing.TB
	keys ed25519.PrivateKey

	mu      sync.Mutex
	refuse  error             // what claims are answered with, if set
	hold    chan struct{}     // claims wait for it, if set
	nonces  map[[32]byte]bool // claimed
	count   int               // sessions started
	orders  []string          // to end, so far
	changed chan struct{}     // closed when orders grow
	endsAt  time.Time         // of the next sessions
	reports []api.GatewayReport
	acks    bool // sealing keys are acknowledged
}

func newPlane(t testing.TB) *plane {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{Server: apitest.New(t), t: t, keys: priv, nonces: map[[32]byte]bool{}, changed: make(chan struct{}), acks: true}
	p.On("POST", "/v1/gateways/enrol", p.enrol)
	p.On("POST", "/v1/gateway/report", p.report)
	p.On("GET", "/v1/gateway/watch", p.watch)
	p.On("POST", "/v1/gateway/sessions", p.claim)
	return p
}

func (p *plane) ticketKeys() api.GatewayKeys {
	public := p.keys.Public().(ed25519.PublicKey)
	return api.GatewayKeys{TicketKeys: map[string][]byte{"key_1": public}}
}

func (p *plane) enrol(c apitest.Call) (any, error) {
	var in api.GatewayEnrolment
	c.Into(p.t, &in)
	if in.Secret != "cardea_enr_good" {
		return nil, api.Errorf(api.Gone, "the enrolment token is used or over")
	}
	token, _ := p.SignIn(c.Thumbprint)
	return api.EnrolledGateway{
		Token: api.Token{AccessToken: token, TokenType: "DPoP"}, Gateway: api.Gateway{ID: "gw_a", Name: "gw-1"}, GatewayKeys: p.ticketKeys(),
	}, nil
}

func (p *plane) report(c apitest.Call) (any, error) {
	var in api.GatewayReport
	c.Into(p.t, &in)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports = append(p.reports, in)
	out := api.GatewayReportAnswer{GatewayKeys: p.ticketKeys()}
	for _, k := range in.SealingKeys {
		if p.acks {
			out.Acknowledged = append(out.Acknowledged, k.ID)
		}
	}
	for _, k := range in.RecordingKeys {
		if p.acks {
			out.Recording = append(out.Recording, k.ID)
		}
	}
	return out, nil
}

func (p *plane) watch(c apitest.Call) (any, error) {
	after := 0
	fmt.Sscan(c.Query.Get("after"), &after)
	p.mu.Lock()
	changed := p.changed
	p.mu.Unlock()
	for range 2 {
		p.mu.Lock()
		if len(p.orders) > after {
			defer p.mu.Unlock()
			return api.GatewayWatch{After: int64(len(p.orders)), End: p.orders[after:], GatewayKeys: p.ticketKeys()}, nil
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond): // as short as a test can bear to end
		}
	}
	return nil, nil
}

func (p *plane) order(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = append(p.orders, ids...)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *plane) claim(c apitest.Call) (any, error) {
	var in api.Claim
	c.Into(p.t, &in)
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return nil, p.refuse
	}
	keys, _ := hello.NewTicketKeys(p.keys.Public().(ed25519.PublicKey))
	claimed, err := hello.VerifyClaim(in.Hello, keys, time.Now())
	if err != nil {
		return nil, api.Errorf(api.Denied, "the ticket is not good").WithCause(err)
	}
	if _, err := netip.ParseAddrPort(in.Source); err != nil {
		return nil, api.Errorf(api.Invalid, "source %q", in.Source)
	}
	if p.nonces[claimed.Nonce] {
		return nil, api.Errorf(api.Conflict, "the hello was used before")
	}
	p.nonces[claimed.Nonce] = true
	p.count++
	id := fmt.Sprintf("gse_%d", p.count)
	p.On("POST", "/v1/gateway/sessions/"+id+"/end", func(apitest.Call) (any, error) { return nil, nil })
	return api.Claimed{Session: id, EndsAt: p.endsAt}, nil
}

func (p *plane) set(change func(*plane)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// end waits for the end of a session.
func (p *plane) end(id string) api.SessionEnd {
	p.t.Helper()
	var out api.SessionEnd
	eventually(p.t, "the end of "+id, func() bool {
		calls := p.Calls("POST", "/v1/gateway/sessions/"+id+"/end")
		if len(calls) > 0 {
			calls[0].Into(p.t, &out)
		}
		return len(calls) > 0
	})
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not come", what)
}

// running is a gateway on loopback.
type running struct {
	*Gateway
	addr string
	stop context.CancelFunc // begins the drain
	done chan error
}

func runGateway(t testing.TB, p *plane, change func(*Options)) *running {
	t.Helper()
	return runGatewayAt(t, "127.0.0.1:0", p, change)
}

func runGatewayAt(t testing.TB, address string, p *plane, change func(*Options)) *running {
	t.Helper()
	key, err := dpop.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	token, _ := p.SignIn(key.Thumbprint())
	opt := Options{
		Credential: Credential{URL: p.URL, Gateway: "gw_a", Token: token},
		Client:     &api.Client{URL: p.URL, Prover: key, Token: token},
		StateDir:   t.TempDir(), AllowTargets: loopback, DrainTime: patience,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opt)
	}
	g, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Gateway: g, addr: listener.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- g.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		g.sessions.close()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * patience):
			t.Error("the gateway did not stop")
		}
	})
	eventually(t, "the first report", func() bool { return g.tickets.Load() != nil && (!p.acks || !g.sealing.wants()) })
	return r
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// caller is a client with a fresh key and a ticket for it.
type caller struct {
	t          testing.TB
	plane      *plane
	fresh      ed25519.PrivateKey
	ticket     hello.Ticket
	recipients []hello.Recipient
	dial       func(address string) (net.Conn, error) // nil: from here
}

func newCaller(t testing.TB, p *plane, server string, gateways ...*running) *caller {
	t.Helper()
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(fresh.Public())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	c := &caller{t: t, plane: p, fresh: fresh, ticket: hello.Ticket{
		ID: "tkt_1", KeyFingerprint: hello.Fingerprint(pub), User: "usr_alice", Session: "ses_1", Server: "srv_web1", Login: "alice",
		Address: server, Gateways: []string{"gw_a"}, IssuedAt: now, Expires: now.Add(hello.TicketLife),
	}}
	for _, g := range gateways {
		c.recipients = append(c.recipients, hello.Recipient{Gateway: g.opt.Credential.Gateway, PublicKey: g.sealing.public()[0].Public})
	}
	return c
}

func (c *caller) seal() ([]byte, hello.AnswerKeys) {
	c.t.Helper()
	raw, err := hello.SignTicket(c.plane.keys, c.ticket)
	if err != nil {
		c.t.Fatal(err)
	}
	message, keys, err := hello.Seal(c.fresh, raw, c.recipients, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return message, keys
}

// call dials a gateway and returns its answer.
func (c *caller) call(g *running) (*net.TCPConn, hello.Answer) {
	c.t.Helper()
	message, keys := c.seal()
	return c.send(g, message, keys)
}

func (c *caller) send(g *running, message []byte, keys hello.AnswerKeys) (*net.TCPConn, hello.Answer) {
	c.t.Helper()
	if c.dial == nil {
		c.dial = func(address string) (net.Conn, error) { return net.Dial("tcp", address) }
	}
	conn := dialWith(c.t, g.addr, c.dial)
	if _, err := conn.Write(message); err != nil {
		c.t.Fatal(err)
	}
	a, err := hello.ReadAnswer(conn, keys)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return conn, a
}

func (c *caller) mustCall(g *running) *net.TCPConn {
	c.t.Helper()
	conn, a := c.call(g)
	if !a.Accepted || a.Gateway != "gw_a" {
		c.t.Fatalf("not accepted: %+v", a)
	}
	return conn
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	return dialWith(t, addr, func(address string) (net.Conn, error) { return net.Dial("tcp", address) })
}

func dialWith(t testing.TB, addr string, dial func(string) (net.Conn, error)) *net.TCPConn {
	t.Helper()
	conn, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// sshd is a server that hands its connections to the test.
type sshd struct {
	addr  string
	conns chan *net.TCPConn
}

func newSSHD(t testing.TB) *sshd {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newSSHDAt(t, l)
}

func newSSHDAt(t testing.TB, l net.Listener) *sshd {
	s := &sshd{addr: l.Addr().String(), conns: make(chan *net.TCPConn, 1000)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- c.(*net.TCPConn)
		}
	}()
	return s
}

func (s *sshd) next(t testing.TB) *net.TCPConn {
	t.Helper()
	select {
	case c := <-s.conns:
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	case <-time.After(patience):
		t.Fatal("the gateway dialled nobody")
		return nil
	}
}

func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t testing.TB, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("heard %q, want %q (%v)", buf, want, err)
	}
}

func hearEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("heard %d bytes, %v; want the end", n, err)
	}
}
