package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/pires/go-proxyproto"
)

// withTLS gives a gateway a listener for TLS and returns its address.
func withTLS(t testing.TB, opt *Options) string {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	opt.TLS = l
	return l.Addr().String()
}

// inside brings a client's TLS up on conn.
func inside(t testing.TB, conn net.Conn) *tls.Conn {
	t.Helper()
	c := tls.Client(conn, hello.ClientTLS("gw.example.com"))
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// greet says hello on conn and returns the answer.
func (c *caller) greet(conn net.Conn) hello.Answer {
	c.t.Helper()
	message, keys := c.seal()
	if _, err := conn.Write(message); err != nil {
		c.t.Fatal(err)
	}
	a, err := hello.ReadAnswer(conn, keys)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return a
}

func TestTheSameIsSpokenInsideTLSAndEachHalfClosesByItself(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	var addr string
	g := runGateway(t, p, func(o *Options) { addr = withTLS(t, o) })
	client := inside(t, dial(t, addr))
	if a := newCaller(t, p, server.addr, g).greet(client); !a.Accepted {
		t.Fatalf("not accepted: %+v", a)
	}
	remote := server.next(t)
	say(t, client, "SSH-2.0-client\r\n")
	hear(t, remote, "SSH-2.0-client\r\n")
	client.CloseWrite()
	hearEnd(t, remote)
	bulk := strings.Repeat("the server goes on ", 1<<15) // after the client's half is closed
	go io.WriteString(remote, bulk)
	hear(t, client, bulk)
	remote.Close()
	hearEnd(t, client)
	if got := p.end("gse_1"); got != (api.SessionEnd{Cause: "client", Up: 16, Down: int64(len(bulk)), HostKeyHidden: true}) {
		t.Errorf("reported %+v", got)
	}
}

func TestARefusalAndTheServersEndArriveInsideTLS(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	var addr string
	g := runGateway(t, p, func(o *Options) { addr = withTLS(t, o) })
	c := newCaller(t, p, server.addr, g)
	c.ticket.Gateways = []string{"gw_other"}
	client := inside(t, dial(t, addr))
	if a := c.greet(client); a.Accepted || a.Kind != "ticket" {
		t.Errorf("answer %+v", a)
	}
	hearEnd(t, client)
	client = inside(t, dial(t, addr))
	if a := newCaller(t, p, server.addr, g).greet(client); !a.Accepted {
		t.Fatalf("not accepted: %+v", a)
	}
	server.next(t).CloseWrite()
	hearEnd(t, client)
	say(t, client, "still")
	client.Close()
	if got := p.end("gse_1"); got != (api.SessionEnd{Cause: "server", Up: 5}) {
		t.Errorf("reported %+v", got)
	}
}

func TestWhatIsNoHelloInsideTLSIsClosed(t *testing.T) {
	p := newPlane(t)
	var addr string
	runGateway(t, p, func(o *Options) { addr = withTLS(t, o); o.helloTimeout = 500 * time.Millisecond })
	for _, c := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"no protocol named", func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }},
		{"another protocol", func(c *tls.Config) { c.NextProtos, c.VerifyConnection = []string{"h2"}, nil }},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	} {
		config := hello.ClientTLS("x")
		c.change(config)
		conn := tls.Client(dial(t, addr), config)
		if err := conn.Handshake(); err != nil {
			continue
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || isTimeout(err) {
			t.Errorf("%s: %d bytes, %v; want it closed", c.name, n, err)
		}
	}
	for name, first := range map[string]string{"nothing": "", "a plain hello": "cardea\x00\x01", "half a handshake": "\x16\x03\x01\x02\x00"} {
		conn := dial(t, addr)
		say(t, conn, first)
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	silent := inside(t, dial(t, addr))
	if n, err := silent.Read(make([]byte, 1)); n > 0 || err == nil || isTimeout(err) {
		t.Errorf("TLS and then nothing: %d bytes, %v; want it closed", n, err)
	}
}

func TestAClientTakesNoWebSiteForAGateway(t *testing.T) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", func() *tls.Config { c := hello.ServerTLS(); c.NextProtos, c.VerifyConnection = nil, nil; return c }())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).Handshake(); c.Close() }()
		}
	}()
	if err := tls.Client(dial(t, l.Addr().String()), hello.ClientTLS("x")).HandshakeContext(context.Background()); err == nil || !strings.Contains(err.Error(), hello.ALPN) {
		t.Errorf("handshake: %v", err)
	}
}

// header is what a balancer writes for a client.
func header(t testing.TB, version byte, command proxyproto.ProtocolVersionAndCommand, source string, tlv int) []byte {
	t.Helper()
	from := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))
	h := proxyproto.HeaderProxyFromAddrs(version, from, &net.TCPAddr{IP: from.IP, Port: 7234})
	h.Command = command
	if tlv > 0 {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: 0xE0, Value: make([]byte, tlv)}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABalancersHeaderTellsTheClientsAddress(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	var secure string
	g := runGateway(t, p, func(o *Options) { o.ProxyFrom = loopback; secure = withTLS(t, o) })
	const v4, v6 = "203.0.113.9:5022", "[2001:db8::9]:5022"
	for i, c := range []struct {
		name string
		sent []byte
		want string // the source of the claim; "peer" is the socket's
	}{
		{"version 1", header(t, 1, proxyproto.PROXY, v4, 0), v4},
		{"version 1, IPv6", header(t, 1, proxyproto.PROXY, v6, 0), v6},
		{"version 1 of an unknown family", []byte("PROXY UNKNOWN\r\n"), "peer"},
		{"version 2", header(t, 2, proxyproto.PROXY, v4, 0), v4},
		{"version 2, IPv6", header(t, 2, proxyproto.PROXY, v6, 0), v6},
		{"version 2 with what else the balancer tells", header(t, 2, proxyproto.PROXY, v4, 1000), v4},
		{"the balancer itself", header(t, 2, proxyproto.LOCAL, v4, 0), "peer"},
	} {
		for _, way := range []string{g.addr, secure} {
			caller := newCaller(t, p, server.addr, g)
			conn := dial(t, way)
			want := c.want
			if want == "peer" {
				want = conn.LocalAddr().String()
			}
			var through client = conn
			if way == secure {
				conn.Write(c.sent)
				through = inside(t, conn)
				if a := caller.greet(through); !a.Accepted {
					t.Fatalf("%s inside TLS: %+v", c.name, a)
				}
			} else {
				// In one segment with the hello: not a byte too much may be read.
				message, keys := caller.seal()
				conn.Write(append(bytes.Clone(c.sent), message...))
				if a, err := hello.ReadAnswer(conn, keys); err != nil || !a.Accepted {
					t.Fatalf("%s: %+v, %v", c.name, a, err)
				}
			}
			remote := server.next(t)
			say(t, through, "ping")
			hear(t, remote, "ping")
			say(t, remote, "pong")
			hear(t, through, "pong")
			calls := p.Calls("POST", claimPath)
			var claim api.Claim
			calls[len(calls)-1].Into(t, &claim)
			if claim.Source != want {
				t.Errorf("%d %s: the audit has %s, want %s", i, c.name, claim.Source, want)
			}
			through.Close()
		}
	}
}

func TestWhatIsNoHeaderOfABalancerIsClosedWithoutAWord(t *testing.T) {
	good := header(t, 2, proxyproto.PROXY, "203.0.113.9:5022", 0)
	long := func(n int) []byte {
		b := append(bytes.Clone(good[:14]), byte(n>>8), byte(n))
		return append(b, make([]byte, n)...)
	}
	udp := bytes.Clone(good)
	udp[13] = 0x12
	for _, c := range []struct {
		name      string
		untrusted bool
		sent      []byte
	}{
		{"from a stranger, version 2", true, good},
		{"from a stranger, version 1", true, header(t, 1, proxyproto.PROXY, "203.0.113.9:5022", 0)},
		{"from a stranger, the balancer itself", true, header(t, 2, proxyproto.LOCAL, "203.0.113.9:5022", 0)},
		{"from the balancer, no header", false, nil},
		{"a body of 64 KiB", false, long(65535)},
		{"a body above the limit by one", false, long(maxProxyBody + 1)},
		{"a line above the limit", false, []byte("PROXY " + strings.Repeat("x", maxProxyLine) + "\r\n")},
		{"a line with a name for an address", false, []byte("PROXY TCP4 localhost localhost 1 2\r\n")},
		{"UDP", false, udp},
		{"a signature with one bit changed", false, append([]byte{good[0] ^ 1}, good[1:]...)},
		{"two headers", false, append(bytes.Clone(good), good...)},
		{"half a header and then nothing", false, good[:20]},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, server := newPlane(t), newSSHD(t)
			g := runGateway(t, p, func(o *Options) {
				o.helloTimeout = 500 * time.Millisecond
				if !c.untrusted {
					o.ProxyFrom = loopback
				}
			})
			conn := dial(t, g.addr)
			sent := bytes.Clone(c.sent)
			if !strings.Contains(c.name, "nothing") {
				message, _ := newCaller(t, p, server.addr, g).seal()
				sent = append(sent, message...)
			}
			conn.Write(sent)
			if n, err := io.Copy(io.Discard, conn); n > 0 || isTimeout(err) {
				t.Errorf("%d bytes, %v; want it closed without a word", n, err)
			}
			if calls := p.Calls("POST", claimPath); len(calls) > 0 {
				t.Errorf("%d claims", len(calls))
			}
		})
	}
}

func TestTheLongestHeaderThatIsReadIsReadWhole(t *testing.T) {
	sized := func(n int) []byte { // version 2 with a body of n bytes
		b := header(t, 2, proxyproto.PROXY, "203.0.113.9:5022", n-12-3)
		if len(b) != proxyHead+n {
			t.Fatalf("made %d bytes, want %d", len(b), proxyHead+n)
		}
		return b
	}
	for n, ok := range map[int]bool{maxProxyBody: true, maxProxyBody + 1: false} {
		if _, err := proxyHeader(bytes.NewReader(sized(n))); (err == nil) != ok {
			t.Errorf("a body of %d bytes: %v", n, err)
		}
	}
	for n, ok := range map[int]bool{maxProxyLine: true, maxProxyLine + 1: false} {
		line := "PROXY UNKNOWN " + strings.Repeat("x", n-len("PROXY UNKNOWN \r\n")) + "\r\n"
		if got, err := proxyHeader(strings.NewReader(line + "rest")); (err == nil) != ok || ok && string(got) != line {
			t.Errorf("a line of %d bytes: %q, %v", n, got, err)
		}
	}
}

// The limits before a hello count the clients of a balancer, and not it.
func TestTheLimitOfASourceIsThatOfTheClientBehindABalancer(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	limits := DefaultLimits()
	limits.PendingPerSource = 3
	g := runGateway(t, p, func(o *Options) { o.ProxyFrom = loopback; o.limits = limits })
	from := func(client string) *net.TCPConn {
		conn := dial(t, g.addr)
		conn.Write(header(t, 2, proxyproto.PROXY, client+":5022", 0))
		return conn
	}
	var held []*net.TCPConn
	for range limits.PendingPerSource {
		held = append(held, from("203.0.113.9"))
	}
	eventually(t, "the attacker's connections", func() bool {
		g.gate.mu.Lock()
		defer g.gate.mu.Unlock()
		own := g.gate.sources[netip.MustParseAddr("203.0.113.9")]
		return own != nil && own.Len() == limits.PendingPerSource
	})
	over := from("203.0.113.9")
	if n, err := io.Copy(io.Discard, over); n > 0 || isTimeout(err) {
		t.Errorf("one too many: %d bytes, %v; want it closed", n, err)
	}
	for i := range 2 * limits.PendingPerSource {
		conn := from(fmt.Sprintf("203.0.113.%d", 100+i))
		if a := newCaller(t, p, server.addr, g).greet(conn); !a.Accepted {
			t.Errorf("another client: %+v", a)
		}
	}
	for _, c := range held {
		c.Close()
	}
	eventually(t, "the attacker's place to be free", func() bool {
		g.gate.mu.Lock()
		defer g.gate.mu.Unlock()
		return len(g.gate.sources) == 0
	})
}

func FuzzProxyHeader(f *testing.F) {
	f.Add(header(f, 2, proxyproto.PROXY, "203.0.113.9:5022", 8))
	f.Add(header(f, 1, proxyproto.PROXY, "[2001:db8::9]:5022", 0))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		go func() { theirs.Write(sent); theirs.Close() }()
		defer ours.Close()
		from, local, err := readProxyHeader(ours, time.Second)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it waits for more than was sent")
		}
		if err == nil && !local && (!from.IsValid() || from.Addr().IsUnspecified() || from.Addr().Zone() != "") {
			t.Errorf("it takes %s for a source", from)
		}
	})
}
