package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	// slowVariable is how many sockets stall at the gateway: 5000 by hand, on a quiet machine,
	// where times are judged, too.
	slowVariable = "CARDEA_LORIS"
	// slowLogins is how many people come before and during that, one after the other.
	slowLogins = 150
	// slowByte is how often a stalling socket sends a byte.
	slowByte = 10 * time.Second
	// insiders have tickets and stall behind the hello, in SSH itself.
	insiders = 60
	// mostAdded is what strangers may add to the time of all but one login of a hundred.
	mostAdded = time.Second
	// kexLimit and helloLimit are how long who stalls in the key exchange or before it may
	// stay, with a while for a busy machine.
	kexLimit   = 15*time.Second + slack
	helloLimit = 10*time.Second + slack
	slack      = 5 * time.Second
)

// In what they stall.
const (
	inHello       = "the hello"
	inVersion     = "a version string where a hello should be"
	insideVersion = "an insider's version string"
	insideKex     = "an insider's key exchange"
)

// TestWhoStallsKeepsNobodyWaiting: mallory stalls from thousands of sockets, in the hello, in
// TLS, in a version string and in the key exchange, a byte every ten seconds; some of these
// have a ticket. Each is closed in time, and alice's ssh hardly notices.
func TestWhoStallsKeepsNobodyWaiting(t *testing.T) {
	needs(t)
	count, err := strconv.Atoi(os.Getenv(slowVariable))
	if err != nil {
		t.Skipf("SKIPPED: a minute of logins is for a quiet machine; set %s=5000 to have it", slowVariable)
	}
	w := newWorld(t)
	w.raise(t.Context(), "gateways=1", "web-1")
	m := newMatrix(t, w)
	alice := m.enter(0)
	m.beRecorded()
	before := m.logins(alice)
	crowd := &stalling{longest: map[string]time.Duration{}, closed: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	gateway := w.stage.Gateways[0].Listen
	for i := range count {
		kind, text := inHello, "cardea1"
		if i%2 == 1 {
			kind, text = inVersion, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
		}
		// From eighty addresses, so that a limit for each alone does not do it.
		from := net.IPv4(127, 0, 1, byte(1+i%80))
		crowd.all.Go(func() { crowd.stall(ctx, gateway, from, kind, text, i) })
	}
	for i := range insiders {
		crowd.all.Go(func() { m.stallInside(ctx, crowd, alice, i) })
	}
	time.Sleep(kexLimit) // so that all have come
	during := m.logins(alice)
	stop()
	crowd.all.Wait()
	t.Logf("the slowest, in order: before %v, during %v", before[len(before)-5:], during[len(during)-5:])
	p50, p99 := during[len(during)/2]-before[len(before)/2], during[len(during)*99/100]-before[len(before)*99/100]
	t.Logf("%d logins each, with %d sockets that stall and %d insiders: median %s, was %s; p99 %s, was %s",
		slowLogins, count, insiders, during[len(during)/2], before[len(before)/2], during[len(during)*99/100], before[len(before)*99/100])
	for kind, most := range map[string]time.Duration{inHello: helloLimit, inVersion: helloLimit, insideVersion: kexLimit, insideKex: kexLimit} {
		t.Logf("%d sockets that stalled in %s were closed, the longest after %s", crowd.closed[kind], kind, crowd.longest[kind])
		if crowd.closed[kind] == 0 || crowd.longest[kind] > most {
			t.Errorf("in %s they may stall for %s", kind, most)
		}
	}
	if p50 > mostAdded || p99 > mostAdded {
		t.Errorf("%s are added to the median and %s to the 99th of a hundred", p50, p99)
	}
}

// logins are how long a login and a command take, in order.
func (m *matrix) logins(c column) (took []time.Duration) {
	m.t.Helper()
	for range slowLogins {
		began := time.Now()
		if got := m.shell(c, c.person.Home, `ssh -n $H 'echo in'`); got.Stdout != "in\n" || got.Code != 0 {
			m.t.Fatalf("alice does not come in: %+v", got)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// stalling is mallory's crowd.
type stalling struct {
	all sync.WaitGroup

	mu      sync.Mutex
	longest map[string]time.Duration // until the gateway closed one, by what it stalled in
	closed  map[string]int
}

func (s *stalling) note(kind string, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed[kind]++
	s.longest[kind] = max(s.longest[kind], time.Since(began))
}

// stall comes again whenever it is closed.
func (s *stalling) stall(ctx context.Context, to string, from net.IP, kind, text string, i int) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", to)
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		began := time.Now()
		if drip(ctx, conn, text) == nil {
			s.note(kind, began)
		}
		conn.Close()
		pause(ctx, time.Second+time.Duration(i%1000)*time.Millisecond)
	}
}

// drip sends a byte after the other until the other side closes; it returns an error
// if it was ctx that ended.
func drip(ctx context.Context, conn io.ReadWriter, text string) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		io.Copy(io.Discard, conn)
	}()
	tick := time.NewTicker(slowByte)
	defer tick.Stop()
	for {
		if len(text) > 0 {
			if _, err := io.WriteString(conn, text[:1]); err != nil {
				return nil
			}
			text = text[1:]
		}
		select {
		case <-ctx.Done():
			if c, ok := conn.(io.Closer); ok {
				c.Close()
			}
			return ctx.Err()
		case <-closed:
			return nil
		case <-tick.C:
		}
	}
}

// pipes are the two ends of a ProxyCommand.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// stallInside comes with alice's own ticket and stalls in SSH: in the version string, or behind
// it, where the key exchange begins.
func (m *matrix) stallInside(ctx context.Context, s *stalling, c column, i int) {
	kind, at := insideVersion, ""
	if i%2 == 1 {
		kind, at = insideKex, "SSH-2.0-OpenSSH_9.2p1\r\n"
	}
	// One after the other: what they cost by coming all at once is no stalling.
	pause(ctx, time.Duration(i)*kexLimit/insiders)
	for ctx.Err() == nil {
		if err := m.stallOnce(ctx, s, c, kind, at); err != nil && ctx.Err() == nil { // its end is no error
			m.t.Errorf("an insider: %v", err)
			return
		}
		pause(ctx, time.Second)
	}
}

func (m *matrix) stallOnce(ctx context.Context, s *stalling, c column, kind, at string) error {
	cmd := m.command(ctx, c.person, c.person.Home, "cardea", "proxycommand", "web-1", "22", "alice")
	cmd.Env = append(cmd.Env, m.variables(c)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer in.Close()
	first := make([]byte, 1)
	if _, err := out.Read(first); err != nil { // it is connected when the gateway speaks SSH
		return fmt.Errorf("not let in: %w", err)
	}
	began := time.Now()
	if _, err := io.WriteString(in, at); err != nil {
		return err
	}
	if drip(ctx, pipes{out, in}, "SSH-2.0-x\r\n") == nil {
		s.note(kind, began)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
