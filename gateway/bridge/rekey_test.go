package bridge

import (
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// maxQueued is what a key exchange that is never finished may cost.
const maxQueued = 256 << 10

// staller is a connection that lets one long packet pass once it is armed, and swallows all
// that follows. In between it reads nothing.
type staller struct {
	net.Conn
	armed, full atomic.Bool
	deaf        chan struct{} // closed when it reads again
}

func (s *staller) Read(p []byte) (int, error) {
	if s.armed.Load() {
		<-s.deaf
	}
	return s.Conn.Read(p)
}

func (s *staller) Write(p []byte) (int, error) {
	if s.full.Load() {
		return len(p), nil
	}
	n, err := s.Conn.Write(p)
	if s.armed.Load() && len(p) > 500 && s.full.CompareAndSwap(false, true) {
		close(s.deaf)
	}
	return n, err
}

// queued is what the library keeps of a connection until a key exchange is over.
func queued(c ssh.Conn) (packets, size int) {
	v := reflect.ValueOf(c).Elem()
	if inner := v.FieldByName("Conn"); inner.IsValid() {
		v = inner.Elem().Elem() // of a ServerConn
	}
	t := v.FieldByName("transport").Elem().Elem()
	mu := (*sync.Mutex)(unsafe.Pointer(t.FieldByName("mu").UnsafeAddr()))
	mu.Lock()
	defer mu.Unlock()
	all := t.FieldByName("pendingPackets")
	for i := range all.Len() {
		size += all.Index(i).Len()
	}
	return all.Len(), size
}

// stalled ends with a session whose key exchange is never finished, and returns the most that
// was queued meanwhile for one side of it.
func stalled(t *testing.T, s *stage, l func() *leg, sentence string) (size int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if l := l(); l != nil && l.rekey.armed.Load() {
			_, n := queued(l.conn)
			size = max(size, n)
		}
		select {
		case e := <-s.ends:
			if e.Cause != CauseError || !strings.Contains(e.Sentence, sentence) {
				t.Errorf("ended with %+v", e.Result)
			}
			return size
		default:
		}
	}
	t.Fatal("the session did not end")
	return size
}

// TestAKeyExchangeThatAUserNeverFinishesEndsTheSession: he has many channels that wait for him,
// and begins when all of them are about to write.
func TestAKeyExchangeThatAUserNeverFinishesEndsTheSession(t *testing.T) {
	const channels = 80
	var user atomic.Pointer[leg]
	start := make(chan struct{})
	s := newFake(t, func(o *Options) {
		o.kexTime = 2 * time.Second
		o.User.(*net.TCPConn).SetWriteBuffer(16 << 10)
		o.began = func(b *bridge) { user.Store(b.user) }
	}, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			go io.Copy(io.Discard, ch)
			go func() {
				<-start
				ch.Write(make([]byte, 8*chunk))
			}()
		}
	})
	before := runtime.NumGoroutine()
	raw, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	raw.(*net.TCPConn).SetReadBuffer(16 << 10)
	conn := &staller{Conn: raw, deaf: make(chan struct{})}
	config := s.goConfig()
	config.RekeyThreshold = 64 << 10
	config.KeyExchanges = []string{ssh.KeyExchangeCurve25519}
	c, chans, reqs, err := ssh.NewClientConn(conn, "", config)
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, chans, reqs)
	var one ssh.Channel
	for range channels {
		ch, chReqs, err := client.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{"localhost", 80, "localhost", 1}))
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(chReqs)
		go io.Copy(io.Discard, ch)
		one = ch
	}
	conn.armed.Store(true)
	close(start)
	go func() {
		for !conn.full.Load() {
			if _, err := one.Write([]byte("a")); err != nil {
				break
			}
		}
	}()
	if n := stalled(t, s, user.Load, "a key exchange took too long"); n == 0 || n > maxQueued {
		t.Errorf("%d bytes were queued", n)
	} else {
		t.Logf("%d bytes were queued", n)
	}
	client.Close()
	raw.Close()
	noMoreGoroutines(t, before)
}

// TestAKeyExchangeThatAServerNeverFinishesEndsTheSession does so on the other side.
func TestAKeyExchangeThatAServerNeverFinishesEndsTheSession(t *testing.T) {
	const channels = 80
	var server atomic.Pointer[leg]
	m := newTeam(t, "alice")
	key := sshtest.Key(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(certSigner(t, m.host(m.hostCA, key.PublicKey()), key))
	config.RekeyThreshold = 64 << 10
	config.KeyExchanges = []string{ssh.KeyExchangeCurve25519}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opened := make(chan ssh.Channel, channels)
	var conn *staller
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		raw.(*net.TCPConn).SetReadBuffer(16 << 10)
		conn = &staller{Conn: raw, deaf: make(chan struct{})}
		c, chans, reqs, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		for nc := range chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			go io.Copy(io.Discard, ch)
			opened <- ch
		}
		c.Wait()
	}()
	s := serveStage(t, m, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, func(o *Options) {
		o.kexTime = 2 * time.Second
		o.Server.(*net.TCPConn).SetWriteBuffer(16 << 10)
		o.began = func(b *bridge) { server.Store(b.server) }
	})
	before := runtime.NumGoroutine()
	client := s.goClient(t)
	var far ssh.Channel
	var mine []ssh.Channel
	for range channels {
		ch, chReqs, err := client.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{"localhost", 80, "localhost", 1}))
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(chReqs)
		go io.Copy(io.Discard, ch)
		far, mine = <-opened, append(mine, ch)
	}
	conn.armed.Store(true)
	for _, ch := range mine {
		go ch.Write(make([]byte, 8*chunk))
	}
	go func() {
		for !conn.full.Load() {
			if _, err := far.Write([]byte("a")); err != nil {
				break
			}
		}
	}()
	if n := stalled(t, s, server.Load, "the server began a key exchange and did not end it"); n == 0 || n > maxQueued {
		t.Errorf("%d bytes were queued", n)
	} else {
		t.Logf("%d bytes were queued", n)
	}
	client.Close()
	l.Close()
	noMoreGoroutines(t, before)
}
