package bridge

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/recording"
)

// insideTLS is a user inside TLS, as the gateway has it: only what is below it is closed.
type insideTLS struct {
	*tls.Conn
	raw net.Conn
}

func (c insideTLS) Close() error { return c.raw.Close() }

// deafened is a connection that from some moment on reads nothing.
type deafened struct {
	net.Conn
	now  atomic.Bool
	over context.Context
}

func (d *deafened) Read(p []byte) (int, error) {
	if d.now.Load() {
		<-d.over.Done()
	}
	return d.Conn.Read(p)
}

// TestWhoReadsNothingInsideTLSIsSentAwayToo: ending our direction of TLS means to write, and
// waits there for whoever writes already, without a limit.
func TestWhoReadsNothingInsideTLSIsSentAwayToo(t *testing.T) {
	t.Parallel()
	config := hello.ServerTLS()
	var session atomic.Pointer[bridge]
	s := newFake(t, func(o *Options) {
		raw := o.User
		raw.(*net.TCPConn).SetWriteBuffer(64 << 10)
		o.User = insideTLS{tls.Server(raw, config), raw}
		o.began = session.Store
	}, onSession(func(_ *peer, ch ssh.Channel) {
		for block := make([]byte, chunk); ; {
			if _, err := ch.Write(block); err != nil {
				return
			}
		}
	}))
	raw, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.(*net.TCPConn).SetReadBuffer(32 << 10)
	deaf := &deafened{Conn: tls.Client(raw, hello.ClientTLS("gateway.test")), over: t.Context()}
	c, chans, reqs, err := ssh.NewClientConn(deaf, "", s.goConfig())
	if err != nil {
		t.Fatal(err)
	}
	go empty(chans)
	go ssh.DiscardRequests(reqs)
	ch := openSession(t, c)
	if _, err := ch.SendRequest("exec", true, ssh.Marshal(text{"yes"})); err != nil {
		t.Fatal(err)
	}
	deaf.now.Store(true)
	// What is written arrives nowhere any more: somebody waits in the middle of a packet.
	for last, same := int64(-1), 0; same < 5; time.Sleep(100 * time.Millisecond) {
		if n := session.Load().user.written.Load(); n == last {
			same++
		} else {
			last, same = n, 0
		}
	}
	session.Load().end(End{"revoked", "it is over"})
	if e := s.end(); e.Cause != "revoked" {
		t.Errorf("ended with %+v", e.Result)
	}
}

// TestRequestsThatWaitAreKnown: they wait in memory as data do, for a server that takes none.
func TestRequestsThatWaitAreKnown(t *testing.T) {
	t.Parallel()
	const channels, each = 8, 900 << 10
	for name, answer := range map[string]bool{"behind one without an answer": true, "of which none wants one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held, deaf := new(Held), make(chan struct{})
			s := newFake(t, func(o *Options) {
				o.Held = held
				o.Server.(*net.TCPConn).SetWriteBuffer(32 << 10)
			}, func(p *peer) {
				go ssh.DiscardRequests(p.reqs)
				for nc := range p.chans {
					if _, reqs, err := nc.Accept(); err == nil {
						go func() { <-deaf; empty(reqs) }()
					}
				}
			})
			c := s.goClient(t)
			defer c.Close()
			var all []ssh.Channel
			for range channels {
				ch := openSession(t, c)
				all = append(all, ch)
			}
			for _, ch := range all {
				for i := range each / (180 << 10) {
					go ch.SendRequest("env", answer && i == 0, ssh.Marshal(variable{"A", string(make([]byte, 180<<10))}))
				}
			}
			for end := time.Now().Add(patience); held.Bytes() < channels*each/2; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d bytes wait", held.Bytes())
				}
			}
			close(deaf)
			c.Close()
			s.end()
		})
	}
}

// TestWhatComesBeforeAProgramIsKnown: it waits until there is one, which may be never.
func TestWhatComesBeforeAProgramIsKnown(t *testing.T) {
	t.Parallel()
	const channels, each = 4, 1 << 20
	held := new(Held)
	s := newFake(t, func(o *Options) { o.Held = held }, nil)
	c := s.goClient(t)
	defer c.Close()
	for range channels {
		ch := openSession(t, c)
		if _, err := ch.Write(make([]byte, each)); err != nil {
			t.Fatal(err)
		}
	}
	known := func() {
		t.Helper()
		for end := time.Now().Add(patience); held.Bytes() < channels*each; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d bytes wait", held.Bytes())
			}
		}
	}
	known()
	time.Sleep(restTime + 50*time.Millisecond)
	if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Fatal(err)
	}
	known() // a question between makes it no less
	c.Close()
	s.end()
}

// TestWhatNobodyReadsIsNotKept: a user has no stderr, and a forward has none at all.
func TestWhatNobodyReadsIsNotKept(t *testing.T) {
	t.Parallel()
	const much = 2*windowSize + 1
	wrote := make(chan error, 2)
	write := func(ch ssh.Channel) {
		_, err := ch.Stderr().Write(make([]byte, much))
		wrote <- err
	}
	s := newFake(t, nil, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			if ch, reqs, err := nc.Accept(); err == nil {
				go ssh.DiscardRequests(reqs)
				if nc.ChannelType() != "session" {
					go write(ch)
				}
			}
		}
	})
	c := s.goClient(t)
	defer c.Close()
	for _, kind := range []string{"session", "direct-tcpip"} {
		var extra []byte
		if kind != "session" {
			extra = ssh.Marshal(addressPair{"localhost", 80, "localhost", 1})
		}
		ch, reqs, err := c.OpenChannel(kind, extra)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		if kind == "session" {
			go write(ch)
		}
		select {
		case err := <-wrote:
			if err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		case <-time.After(patience):
			t.Errorf("%s: nobody takes it", kind)
		}
	}
	c.Close()
	if e := s.end(); e.rec.bytes(recording.Errput) != "" {
		t.Error("something was recorded that nobody saw")
	}
}

func TestTheOpeningOfAChannelIsBounded(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	c := s.goClient(t)
	defer c.Close()
	least := len(ssh.Marshal(addressPair{}))
	for size, opens := range map[int]bool{maxOpening: true, maxOpening + 1: false} {
		_, _, err := c.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{strings.Repeat("h", size-least), 80, "", 1}))
		if (err == nil) != opens {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	c.Close()
	s.end()
}
