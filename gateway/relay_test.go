package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

func TestBytesFlowAndEachHalfClosesByItself(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	say(t, client, "SSH-2.0-client\r\n")
	hear(t, remote, "SSH-2.0-client\r\n")
	client.CloseWrite()
	hearEnd(t, remote)
	say(t, remote, "the server goes on") // after the client's half is closed
	hear(t, client, "the server goes on")
	remote.Close()
	hearEnd(t, client)
	if got := p.end("gse_1"); got != (api.SessionEnd{Cause: "client", Up: 16, Down: 18}) {
		t.Errorf("reported %+v", got)
	}
	eventually(t, "the end of the session here", func() bool {
		g.gate.mu.Lock()
		defer g.gate.mu.Unlock()
		return g.sessions.count() == 0 && g.gate.running == 0 && g.gate.begin == 0
	})
}

func TestTheServerMayCloseFirst(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	say(t, remote, "bye")
	remote.CloseWrite()
	hear(t, client, "bye")
	hearEnd(t, client)
	say(t, client, "still")
	client.Close()
	hear(t, remote, "still")
	hearEnd(t, remote)
	if got := p.end("gse_1"); got != (api.SessionEnd{Cause: "server", Up: 5, Down: 3}) {
		t.Errorf("reported %+v", got)
	}
}

// What the server showed is told with the end. A client that refuses it says so
// to nobody but his user.
func TestTheServersHostKeyIsToldWithTheEnd(t *testing.T) {
	word := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	packet := func(s string) string { return word("\x04" + s + "pad.") }
	begin := "SSH-2.0-x\r\n" + packet("\x14"+strings.Repeat("c", 16)+word("kex")+word("ssh-test,other")+strings.Repeat(word(""), 8)+"\x00\x00\x00\x00\x00")
	key := word("ssh-test") + word("key")
	reply := packet("\x1f" + word(key) + word("q") + word("signature"))
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	for i, c := range []struct {
		name, sent string
		want       api.SessionEnd
	}{
		{"a key", begin + reply, api.SessionEnd{HostKey: "ssh-test " + base64.StdEncoding.EncodeToString([]byte(key))}},
		{"a key, and much behind it", begin + reply + strings.Repeat("x", 1<<20), api.SessionEnd{HostKey: "ssh-test " + base64.StdEncoding.EncodeToString([]byte(key))}},
		{"an offer that the client did not take", begin, api.SessionEnd{HostKeyAlgorithms: "ssh-test,other"}},
		{"no SSH", strings.Repeat("x", 1<<20), api.SessionEnd{HostKeyHidden: true}},
		{"nothing", "", api.SessionEnd{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newCaller(t, p, server.addr, g).mustCall(g)
			remote := server.next(t)
			go func() {
				for rest := c.sent; rest != ""; { // in pieces that fit nothing
					n := min(1000, len(rest))
					if _, err := io.WriteString(remote, rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				remote.CloseWrite()
			}()
			got, err := io.ReadAll(client)
			if string(got) != c.sent || err != nil {
				t.Errorf("%d of %d bytes arrived, %v", len(got), len(c.sent), err)
			}
			say(t, client, "up") // the other half lives
			client.CloseWrite()
			hear(t, remote, "up")
			hearEnd(t, remote)
			c.want.Cause, c.want.Up, c.want.Down = "server", 2, int64(len(c.sent))
			if got := p.end(fmt.Sprintf("gse_%d", i+1)); got != c.want {
				t.Errorf("told %+v", got)
			}
		})
	}
}

func TestAResetOfOneSideEndsTheOther(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	for name, reset := range map[string]func(client, remote *net.TCPConn) (left net.Conn){
		"client": func(client, remote *net.TCPConn) net.Conn { client.SetLinger(0); client.Close(); return remote },
		"server": func(client, remote *net.TCPConn) net.Conn { remote.SetLinger(0); remote.Close(); return client },
	} {
		client := newCaller(t, p, server.addr, g).mustCall(g)
		left := reset(client, server.next(t))
		if _, err := left.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("the %s is gone and the other side lives: %v", name, err)
		}
		eventually(t, "the end", func() bool { return g.sessions.count() == 0 })
	}
}

func TestMuchArrivesWhole(t *testing.T) {
	const size = 128 << 20
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	client.SetDeadline(time.Time{})
	remote.SetDeadline(time.Time{})
	block := make([]byte, 1<<20)
	rand.Read(block)
	want, got := sha256.New(), sha256.New()
	var wg sync.WaitGroup
	wg.Go(func() {
		for sent := 0; sent < size; sent += len(block) {
			want.Write(block)
			if _, err := client.Write(block); err != nil {
				t.Error(err)
				return
			}
		}
		client.CloseWrite()
	})
	n, err := io.Copy(got, remote)
	wg.Wait()
	if n != size || err != nil || !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d of %d bytes, %v", n, size, err)
	}
}

// TestNotOneBytePassesBeforeTheClaim: mallory's client sends its bytes at once,
// and the control plane refuses him in the end.
func TestNotOneBytePassesBeforeTheClaim(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	hold := make(chan struct{})
	p.set(func(p *plane) {
		p.hold, p.refuse = hold, api.Errorf(api.Denied, "the user is disabled")
	})
	c := newCaller(t, p, server.addr, g)
	message, keys := c.seal()
	conn := dial(t, g.addr)
	say(t, conn, string(message)+"early bytes")
	remote := server.next(t) // dialled already, while the claim is open
	remote.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := remote.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Fatalf("the server heard %d bytes, %v", n, err)
	}
	close(hold)
	a, err := hello.ReadAnswer(conn, keys)
	if err != nil || a.Accepted || a.Kind != kindClaim || a.Sentence != "the user is disabled" {
		t.Fatalf("answer %+v, %v", a, err)
	}
	remote.SetReadDeadline(time.Now().Add(patience))
	hearEnd(t, remote)
}

// hasty is a client that sends ssh's version with the hello.
type hasty struct {
	client
	ahead io.Reader
}

func (*hasty) SetDeadline(time.Time) error  { return nil }
func (*hasty) Write(p []byte) (int, error)  { return len(p), nil }
func (*hasty) CloseWrite() error            { return nil }
func (h *hasty) Read(p []byte) (int, error) { return h.ahead.Read(p) }

// Closing with unread bytes would send a reset, which could overtake the refusal.
func TestWhatWasSentAheadIsReadBeforeARefusedClientIsLeft(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	message, _ := newCaller(t, p, server.addr, g).seal()
	opened, err := g.opener.Open(message)
	if err != nil {
		t.Fatal(err)
	}
	version := strings.NewReader("SSH-2.0-" + strings.Repeat("x", 245) + "\r\n")
	g.refuse(&hasty{ahead: version}, opened, &refusal{kind: kindBusy})
	if version.Len() > 0 {
		t.Errorf("%d bytes were left unread", version.Len())
	}
	flood := strings.NewReader(strings.Repeat("x", 2*maxUnread))
	if g.refuse(&hasty{ahead: flood}, opened, &refusal{kind: kindBusy}); flood.Len() != maxUnread {
		t.Errorf("of a flood all but %d bytes were read", flood.Len())
	}
}

func TestRefusals(t *testing.T) {
	closed := newSSHD(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, tc := range []struct {
		name   string
		spoil  func(*caller, *plane)
		kind   string
		says   string
		dialed bool
	}{
		{"a ticket that is over", func(c *caller, _ *plane) {
			c.ticket.IssuedAt = c.ticket.IssuedAt.Add(-hello.TicketLife)
			c.ticket.Expires = c.ticket.Expires.Add(-hello.TicketLife - time.Second)
		}, kindTicket, "over", false},
		{"a ticket for another gateway", func(c *caller, _ *plane) { c.ticket.Gateways = []string{"gw_b"} }, kindTicket, "other gateways", false},
		{"alice's ticket with mallory's key", func(c *caller, _ *plane) {
			_, c.fresh, _ = ed25519.GenerateKey(rand.Reader)
		}, kindTicket, "not good", false},
		{"a ticket that a stranger signed", func(c *caller, p *plane) {
			_, other, _ := ed25519.GenerateKey(rand.Reader)
			c.plane = &plane{keys: other}
		}, kindTicket, "not good", false},
		{"a ticket that demands a recording", func(c *caller, _ *plane) { c.ticket.Mode = hello.Record }, kindMode, "record", false},
		{"a server that does not listen", func(c *caller, _ *plane) { c.ticket.Address = nobody }, kindServer, nobody, false},
		{"the address of the cloud's metadata", func(c *caller, _ *plane) { c.ticket.Address = "169.254.169.254:80" }, kindAddress, "may not dial", false},
		{"a user who was disabled", func(_ *caller, p *plane) {
			p.set(func(p *plane) { p.refuse = api.Errorf(api.Denied, "the user is disabled") })
		}, kindClaim, "the user is disabled", true},
		{"a control plane in trouble", func(_ *caller, p *plane) {
			p.set(func(p *plane) { p.refuse = api.Errorf(api.Unavailable, "secret detail") })
		}, kindControl, "does not answer", true},
		{"a control plane with too much to do", func(_ *caller, p *plane) {
			p.set(func(p *plane) { p.refuse = api.Errorf(api.Limited, "slow down") })
		}, kindBusy, "too much", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlane(t)
			g := runGateway(t, p, nil)
			c := newCaller(t, p, closed.addr, g)
			tc.spoil(c, p)
			conn, a := c.call(g)
			if a.Accepted || a.Kind != tc.kind || !strings.Contains(a.Sentence, tc.says) {
				t.Errorf("answer %+v, want %s and %q", a, tc.kind, tc.says)
			}
			hearEnd(t, conn)
			select {
			case c := <-closed.conns:
				if !tc.dialed {
					t.Error("the gateway dialled before it knew")
				}
				hearEnd(t, c)
			case <-time.After(20 * time.Millisecond):
			}
			if tc.kind == kindServer || tc.kind == kindAddress {
				if end := p.end("gse_1"); end.Cause != "error" {
					t.Errorf("the claimed session ends with %+v", end)
				}
			}
		})
	}
}

func TestAHelloThatIsReplayedIsRefused(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	one := runGateway(t, p, nil)
	other := runGateway(t, p, nil) // another member of the pool
	c := newCaller(t, p, server.addr, one, other)
	message, keys := c.seal()
	if _, a := c.send(one, message, keys); !a.Accepted {
		t.Fatalf("the first time: %+v", a)
	}
	for name, g := range map[string]*running{"the same gateway": one, "another member": other} {
		if _, a := c.send(g, message, keys); a.Accepted || a.Kind != kindClaim || a.Sentence != "the hello was used before" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// Whoever recorded a hello sends it again and again. The control plane hears of
// it once more, and the server not at all beyond that.
func TestAHelloThatIsReplayedOftenCostsTheControlPlaneNothing(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	c := newCaller(t, p, server.addr, g)
	message, keys := c.seal()
	for i := range 10 {
		if _, a := c.send(g, message, keys); a.Accepted != (i == 0) || i > 0 && (a.Kind != kindClaim || !strings.HasSuffix(a.Sentence, "hello was used before")) {
			t.Fatalf("time %d: %+v", i+1, a)
		}
	}
	if n := len(p.Calls("POST", "/v1/gateway/sessions")); n != maxUses {
		t.Errorf("the control plane was asked %d times, want %d", n, maxUses)
	}
	message, keys = c.seal() // the same ticket, another try
	if _, a := c.send(g, message, keys); !a.Accepted {
		t.Errorf("a fresh hello: %+v", a)
	}
}

// TestJunkDoesNotHideThatATicketWasStolen: mallory has sent so much that no gateway can open that
// nothing more of it is logged, and then sends alice's ticket with a key of her own.
func TestJunkDoesNotHideThatATicketWasStolen(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	g.complaints.SetLimit(0) // as if she went on
	for g.unsaid.Load() == 0 {
		g.complain("cannot open a hello")
	}
	stolen, other := newCaller(t, p, server.addr, g), newCaller(t, p, server.addr, g)
	_, stolen.fresh, _ = ed25519.GenerateKey(rand.Reader)
	other.ticket.Gateways = []string{"gw_b"} // or the gateway that she has taken over sends one on
	for n, c := range []*caller{stolen, other} {
		if _, a := c.call(g); a.Kind != kindTicket {
			t.Fatalf("answer %+v", a)
		}
		eventually(t, "word of the stolen ticket", func() bool { return len(p.Calls("POST", "/v1/gateway/sessions")) > n })
		var in api.Claim
		if p.Calls("POST", "/v1/gateway/sessions")[n].Into(t, &in); in.Refused == "" {
			t.Errorf("it is told as a claim: %+v", in)
		}
	}
}

// TestAStrangerHearsNothing: whatever is sent, no byte comes back.
func TestAStrangerHearsNothing(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	older := newCaller(t, p, server.addr, g)
	key, err := hello.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	older.recipients[0].PublicKey = key.Public()
	unopened, _ := older.seal()
	message, _ := newCaller(t, p, server.addr, g).seal()
	flipped := bytes.Clone(message)
	flipped[len(flipped)-1] ^= 1
	for name, input := range map[string][]byte{
		"an SSH client":                      []byte("SSH-2.0-OpenSSH_9.2\r\n"),
		"a web browser":                      []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"4 GiB announced":                    append([]byte("cardea\x00\x01"), 0xff, 0xff, 0xff, 0xff),
		"a hello for an older key":           unopened,
		"a hello with one bit changed":       flipped,
		"a hello cut short, and then EOF":    message[:100],
		"the magic of an answer":             []byte("cardea\x00\x81aaaa"),
		"nothing at all":                     nil,
		"a message of the right length only": append([]byte("cardea\x00\x01\x00\x00\x01\x00"), make([]byte, 256)...),
	} {
		conn := dial(t, g.addr)
		conn.Write(input)
		conn.CloseWrite()
		if got, err := io.ReadAll(conn); len(got) != 0 || isTimeout(err) {
			t.Errorf("%s: heard %q, %v", name, got, err)
		}
	}
	if len(server.conns) != 0 {
		t.Error("the gateway dialled for a stranger")
	}
}

func TestASlowHelloIsCutOff(t *testing.T) {
	p := newPlane(t)
	g := runGateway(t, p, func(o *Options) { o.helloTimeout = 200 * time.Millisecond })
	conn := dial(t, g.addr)
	sent := 0
	for i := range 100 {
		if _, err := conn.Write([]byte("cardea\x00\x01\x00\x00\x01\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[i : i+1])); err != nil {
			break
		}
		sent++
		time.Sleep(20 * time.Millisecond)
	}
	if sent == 100 {
		t.Error("one byte after another was read for ten times as long as a hello may take")
	}
	eventually(t, "an empty waiting room", func() bool { g.gate.mu.Lock(); defer g.gate.mu.Unlock(); return g.gate.pending.Len() == 0 })
}

func TestTheControlPlaneEndsASession(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	other := newCaller(t, p, server.addr, g).mustCall(g)
	otherRemote := server.next(t)
	p.order("gse_1")
	for _, c := range []net.Conn{client, remote} {
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("the session lives on: %v", err)
		}
	}
	if got := p.end("gse_1"); got.Cause != "revoked" {
		t.Errorf("reported %+v", got)
	}
	say(t, other, "alive")
	hear(t, otherRemote, "alive")
	// An order can overtake the answer to the claim.
	p.order("gse_3")
	eventually(t, "the order", func() bool { g.sessions.mu.Lock(); defer g.sessions.mu.Unlock(); return len(g.sessions.ordered) > 0 })
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Accepted {
		t.Error("a session that was ended before it began has begun")
	}
	if got := p.end("gse_3"); got.Cause != "revoked" {
		t.Errorf("reported %+v", got)
	}
}

func TestASessionEndsWhenItsTimeIsOver(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	p.set(func(p *plane) { p.endsAt = time.Now().Add(300 * time.Millisecond) })
	client := newCaller(t, p, server.addr, g).mustCall(g)
	if _, err := client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the session lives on: %v", err)
	}
	if got := p.end("gse_1"); got.Cause != "revoked" {
		t.Errorf("reported %+v", got)
	}
}

func TestOpenSessionsOutliveTheControlPlane(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	c := newCaller(t, p, server.addr, g)
	p.Stop()
	if _, a := c.call(g); a.Accepted || a.Kind != kindControl {
		t.Errorf("a new one: %+v", a)
	}
	say(t, client, "alive")
	hear(t, remote, "alive")
	if w := askHealth(g, "/readyz"); w.Code != http.StatusOK {
		t.Errorf("readyz says %d: a balancer would cut off who is to be told the reason", w.Code)
	}
}

// TestAGatewayThatWasDisabledLetsGo: it can hear no order any more.
func TestAGatewayThatWasDisabledLetsGo(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	p.RevokeAll()
	if _, err := client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the session lives on: %v", err)
	}
}

func TestTwoHundredAtOnce(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range 200 {
		c := newCaller(t, p, server.addr, g)
		message, keys := c.seal()
		all.Go(func() {
			<-begin
			conn, a := c.send(g, message, keys)
			if !a.Accepted {
				t.Errorf("refused: %+v", a)
				return
			}
			say(t, conn, "x")
			conn.CloseWrite()
			(<-server.conns).Close()
			conn.Close()
		})
	}
	close(begin)
	all.Wait()
	eventually(t, "all ends", func() bool { _, more := g.ends.first(); return g.sessions.count() == 0 && !more })
}

// TestSilentConnectionsKeepNobodyOut: mallory has many addresses and opens from
// each as many connections as she may. Alice gets in at once.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, func(o *Options) {
		o.limits, o.helloTimeout = Limits{Pending: 40, PendingPerSource: 8, Sessions: 10}, time.Minute
	})
	for host := range 20 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, byte(host+1))}}
		for range 10 {
			c, err := d.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write([]byte("car"))
		}
	}
	began := time.Now()
	for range 10 {
		newCaller(t, p, server.addr, g).mustCall(g)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("ten sessions took %s", took)
	}
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Kind != kindBusy {
		t.Errorf("one session too many: %+v", a)
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	var text strings.Builder
	p := newPlane(t)
	g := runGateway(t, p, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&text, nil)) })
	g.stop()
	<-g.done
	before := strings.Count(text.String(), "\n")
	for range 10 * complaintsBurst {
		g.complain("x")
	}
	if lines := strings.Count(text.String(), "\n") - before; lines < complaintsBurst || lines > 2*complaintsBurst {
		t.Errorf("%d lines", lines)
	}
	g.done <- nil
}
