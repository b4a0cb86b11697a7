package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

// fakeConn remembers that it was closed.
type fakeConn struct {
	net.Conn
	closed bool
}

func (c *fakeConn) Close() error { c.closed = true; return nil }

func TestTheGateAtItsLimits(t *testing.T) {
	g := newGate(Limits{Pending: 4, PendingPerSource: 2, Sessions: 2})
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	first := new(fakeConn)
	v1, v2 := g.enter(first, a), g.enter(new(fakeConn), a)
	if v1 == nil || v2 == nil {
		t.Fatal("a source at its limit is refused")
	}
	if g.enter(new(fakeConn), a) != nil || g.enter(new(fakeConn), netip.MustParseAddr("::ffff:192.0.2.1")) != nil {
		t.Error("a source over its limit is admitted")
	}
	for range 2 {
		if g.enter(new(fakeConn), b) == nil {
			t.Error("one source's limit holds another back")
		}
	}
	if first.closed {
		t.Error("the oldest had to go while there was room")
	}
	if g.enter(new(fakeConn), c) == nil || !first.closed {
		t.Error("with all places taken the oldest does not make room for an honest one")
	}
	g.leave(v1) // whose place is gone already
	if g.enter(new(fakeConn), a) == nil {
		t.Error("the place of the one who had to go is not free for its source")
	}
	g.leave(v2)
	g.leave(v2)
	for range 2 {
		if !g.beginSession() {
			t.Error("a session at the limit is refused")
		}
	}
	if g.beginSession() {
		t.Error("a session over the limit is admitted")
	}
	if g.room(t.Context()) == nil {
		t.Error("a full gateway says that it has room")
	}
	g.endSession()
	if g.room(t.Context()) != nil || !g.beginSession() {
		t.Error("an ended session's place stays taken")
	}
}

// A crowd that comes again and again pushes out its own, each source at its share, and nobody
// who came alone; and who has more than his share is pushed out by his own alone.
func TestACrowdPushesOutItsOwn(t *testing.T) {
	const places, crowd = 40, 4
	g := newGate(Limits{Pending: places, PendingPerSource: places / 2, Sessions: 1})
	alice, bob := new(fakeConn), new(fakeConn)
	g.enter(alice, netip.MustParseAddr("198.51.100.1"))
	for i := range 1000 {
		if g.enter(new(fakeConn), netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i%crowd)})) == nil {
			t.Fatalf("number %d of the crowd is refused", i)
		}
		if i == places {
			g.enter(bob, netip.MustParseAddr("198.51.100.2"))
		}
	}
	if alice.closed || bob.closed {
		t.Error("somebody was pushed out by others, one from each of whose addresses came more")
	}
	if g.pending.Len() != places || len(g.sources) != crowd+2 {
		t.Errorf("%d places are taken by %d sources", g.pending.Len(), len(g.sources))
	}
	// As many addresses as places: then it is the oldest.
	for i := range places {
		g.enter(new(fakeConn), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	if !alice.closed || !bob.closed {
		t.Error("the oldest kept their places")
	}
	// One that comes through a balancer counts for nobody until its header has told.
	g = newGate(Limits{Pending: 1, PendingPerSource: 1, Sessions: 1})
	first := new(fakeConn)
	g.enter(first, netip.Addr{})
	if v := g.enter(new(fakeConn), netip.Addr{}); v == nil || !first.closed || !g.came(v, netip.MustParseAddr("198.51.100.1")) {
		t.Error("the second of a balancer does not get the first one's place")
	}
}

func TestRepeatedHellosAreCountedWithinBounds(t *testing.T) {
	var r replays
	now := time.Unix(1000, 0)
	until := now.Add(time.Minute)
	nonce := func(i int) (n [32]byte) { binary.BigEndian.PutUint64(n[:], uint64(i)); return n }
	for i := range maxReplays {
		if !r.take(nonce(i), until, now) {
			t.Fatalf("number %d is refused", i)
		}
	}
	for range 2 * maxUses {
		if !r.take(nonce(maxReplays), until, now) {
			t.Error("one that found no room is refused")
		}
	}
	for i := range maxUses {
		if got, want := r.take(nonce(0), until, now), i+1 < maxUses; got != want {
			t.Errorf("use %d: %v, want %v", i+2, got, want)
		}
	}
	if len(r.of) != maxReplays {
		t.Errorf("%d are remembered, want %d", len(r.of), maxReplays)
	}
	if !r.take(nonce(maxReplays), until.Add(time.Minute), until) || len(r.of) != 1 {
		t.Errorf("%d are remembered after their tickets", len(r.of))
	}
}

func TestAnIPv6HostIsOneSource(t *testing.T) {
	one, two, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2:3"), netip.MustParseAddr("2001:db8:0:1::1")
	if sourceOf(one) != sourceOf(two) || sourceOf(one) == sourceOf(other) {
		t.Errorf("sources are %s, %s and %s", sourceOf(one), sourceOf(two), sourceOf(other))
	}
}

func TestTargets(t *testing.T) {
	plain := newTarget(nil, DefaultPeerTimeout)
	for _, a := range []string{
		"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "0.1.2.3",
		"169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255", "240.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:0001::1", "2002:a9fe:a9fe::", "::127.0.0.1", "64:ff9b:1::a9fe:a9fe",
		// 169.254.169.254 and 127.0.0.1 behind local NAT64 prefixes of 48, 56 and 64 bits.
		"64:ff9b:1:a9fe:a9:fe00:1:0", "64:ff9b:1:aba9:fe:a9fe:1:0", "64:ff9b:1:abcd:a9:fea9:fe01:0", "64:ff9b:1:7f00:0:100:a00:1",
	} {
		if _, err := plain.resolve(t.Context(), net.JoinHostPort(a, "22")); !errors.Is(err, errForbidden) {
			t.Errorf("%s may be dialled (%v)", a, err)
		}
	}
	for _, a := range []string{"10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "192.0.2.1", "2001:db8::1", "fd12:3456::1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "64:ff9b:1:abcd::10.0.0.1"} {
		if _, err := plain.resolve(t.Context(), net.JoinHostPort(a, "22")); err != nil {
			t.Errorf("%s may not be dialled (%v)", a, err)
		}
	}
	listed := newTarget([]netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, DefaultPeerTimeout)
	if _, err := listed.resolve(t.Context(), "[::ffff:127.0.0.2]:22"); err != nil {
		t.Errorf("a listed address may not be dialled: %v", err)
	}
	if _, err := listed.resolve(t.Context(), "127.0.0.1:22"); err == nil {
		t.Error("an address beside the listed one may be dialled")
	}
}

// TestANameIsResolvedOnce: a name that means something else the second time
// must not lead past the check.
func TestANameIsResolvedOnce(t *testing.T) {
	server := newSSHD(t)
	_, port, _ := net.SplitHostPort(server.addr)
	asked := 0
	tg := newTarget([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, DefaultPeerTimeout)
	tg.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		if asked++; asked > 1 || host != "rebind.example.com" {
			t.Errorf("asked %d times, for %s", asked, host)
		}
		return []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	conn, err := tg.dial(t.Context(), "rebind.example.com:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != server.addr {
		t.Errorf("dialled %s", got)
	}
}

func TestTheNextAddressOfANameIsTried(t *testing.T) {
	server := newSSHD(t)
	_, port, _ := net.SplitHostPort(server.addr)
	tg := newTarget(loopback, DefaultPeerTimeout)
	tg.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	conn, err := tg.dial(t.Context(), "two.example.com:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// sshd that takes a new configuration listens nowhere for a moment.
func TestAServerThatRefusesForAMomentIsDialledAgain(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "a port that is taken, at which nobody listens")
	defer file.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	tg := newTarget(loopback, DefaultPeerTimeout)
	if _, err := tg.dial(t.Context(), address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody comes to listen: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { syscall.Listen(fd, 1) })
	conn, err := tg.dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestTheLifeOfSealingKeys(t *testing.T) {
	s, opener := new(sealing), new(hello.Opener)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	step := func(after time.Duration, ack bool, want int, what string) (newest hello.KeyID) {
		t.Helper()
		now = now.Add(after)
		if ack {
			var ids [][]byte
			for _, k := range s.public() {
				ids = append(ids, k.ID)
			}
			s.acknowledge(ids, now)
		}
		if err := s.renew(now, opener); err != nil {
			t.Fatal(err)
		}
		if got := len(s.keys); got != want {
			t.Errorf("%s: %d keys, want %d", what, got, want)
		}
		return s.keys[0].key.ID()
	}
	first := step(0, false, 1, "at the start")
	if !s.wants() {
		t.Error("a new key is not worth a report")
	}
	step(48*time.Hour, false, 1, "a key that nobody acknowledged has no successor")
	if step(0, true, 2, "an old key, acknowledged late, has one at once") == first {
		t.Error("the newest is not the first")
	}
	step(time.Hour, false, 2, "the new one waits to be acknowledged")
	step(30*time.Hour, false, 2, "and the old one stays until it is")
	step(0, true, 3, "it was old when it was acknowledged, so there is a third")
	step(sealingKeep-time.Nanosecond, false, 3, "the first stays for its hours after that")
	step(time.Nanosecond, false, 2, "and no longer")
	s.acknowledge([][]byte{[]byte("stranger"), nil}, now)
	if !s.wants() {
		t.Error("a stranger's acknowledgement counts")
	}
}

func TestTicketsAreJudgedByTheControlPlanesClock(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	c := newClock(func() time.Time { return now })
	for name, off := range map[string]time.Duration{"equal": 0, "an hour behind": time.Hour, "an hour ahead": -time.Hour} {
		c.learn(now.Add(off))
		if d := c.Now().Sub(now.Add(off)).Abs(); d > time.Second {
			t.Errorf("a clock that is %s: %s off", name, d)
		}
	}
	c.learn(now.Add(time.Second))
	if !c.Now().Equal(now) {
		t.Error("the whole seconds of a Date field move a good clock")
	}
}

func TestAGatewayWithAWrongClockWorks(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(-3 * time.Hour) } })
	newCaller(t, p, server.addr, g).mustCall(g)
}

// TestRunningOutOfDescriptors: accept fails, the report says so, and what runs
// is left alone.
func TestRunningOutOfDescriptorsIsReported(t *testing.T) {
	h := newHealth(t.TempDir(), &memoryGroup{})
	if h.look(t.Context()); h.why() != "" {
		t.Fatalf("unhealthy at first: %s", h.why())
	}
	full := errors.New("accept: too many open files")
	if !h.acceptFailed(full) || h.acceptFailed(full) {
		t.Error("the first failure, and no other, is worth a report")
	}
	if !strings.Contains(h.why(), "too many open files") || len(h.checks.Failing(t.Context(), true)) != 1 {
		t.Errorf("the reason is %q", h.why())
	}
	if !h.accepted() || h.accepted() || h.why() != "" {
		t.Error("the first success, and no other, is worth a report")
	}
}

func TestHealthSeesAFullDiskAndAMissingFolder(t *testing.T) {
	h := newHealth(t.TempDir()+"/gone", &memoryGroup{})
	if !h.look(t.Context()) || !strings.HasPrefix(h.why(), "disk: ") {
		t.Errorf("the reason is %q", h.why())
	}
	if h.look(t.Context()) {
		t.Error("the same again is a change")
	}
}

func TestAReportThatCannotBeMadeIsTriedAgain(t *testing.T) {
	p := newPlane(t)
	p.acks = false
	g := runGateway(t, p, nil)
	if !g.sealing.wants() {
		t.Fatal("acknowledged by nobody")
	}
	p.set(func(p *plane) { p.acks = true })
	g.wakeReport()
	eventually(t, "the acknowledgement", func() bool { return !g.sealing.wants() })
	p.ForgetNonces()
	g.wakeReport()
	p.set(func(p *plane) { p.reports = nil })
	g.wakeReport()
	eventually(t, "a report with a new nonce", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.reports) > 0 })
	if w := askHealth(g, "/readyz"); w.Code != http.StatusOK {
		t.Errorf("readyz says %d", w.Code)
	}
}

func TestEndsWaitForTheControlPlaneInOrderAndWithinBounds(t *testing.T) {
	e := newEnds()
	for i := range maxEnds + 1 {
		e.add(ended{session: string(rune('a' + i%26))})
	}
	if first, _ := e.first(); len(e.queue) != maxEnds || e.lost != 1 || first.session != "b" {
		t.Errorf("%d wait, %d were lost, the first is %q", len(e.queue), e.lost, first.session)
	}
}

// A hostile server can show a long key in each of many sessions, while the
// control plane is away.
func TestHostKeysAmongTheEndsAreBounded(t *testing.T) {
	e := newEnds()
	key := strings.Repeat("k", 16<<10)
	fit := maxEndKeys / len(key)
	for i := range fit + 1 {
		e.add(ended{fmt.Sprint(i), api.SessionEnd{Cause: causeClient, HostKey: key, Up: 1}})
	}
	if last := e.queue[fit]; e.keys != maxEndKeys || last.end.HostKey != "" || last.end.Up != 1 || e.queue[fit-1].end.HostKey != key {
		t.Errorf("%d bytes of keys, the last with %d", e.keys, len(last.end.HostKey))
	}
	// A server that offers much and shows nothing takes the same room.
	e.add(ended{"offer", api.SessionEnd{Cause: causeServer, HostKeyAlgorithms: "ssh-ed25519", Up: 1}})
	if last := e.queue[fit+1]; e.keys != maxEndKeys || last.end.HostKeyAlgorithms != "" || last.end.Up != 1 {
		t.Errorf("%d bytes with an offer", e.keys)
	}
	e.queue = e.queue[:fit+1]
	first, _ := e.first()
	e.done(ended{session: "another"})
	e.done(first)
	e.done(first) // is gone
	if e.keys != maxEndKeys-len(key) || len(e.queue) != fit {
		t.Errorf("%d bytes of keys in %d ends", e.keys, len(e.queue))
	}
	for {
		x, ok := e.first()
		if !ok {
			break
		}
		e.done(x)
	}
	if e.keys != 0 {
		t.Errorf("%d bytes of keys in nothing", e.keys)
	}
}
