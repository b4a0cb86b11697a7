package bridge

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// intruder is a connection into whose stream somebody writes something of his own.
type intruder struct {
	net.Conn
	writes atomic.Int32
	after  int32 // as many writes
	what   []byte
}

func (i *intruder) Write(p []byte) (int, error) {
	n, err := i.Conn.Write(p)
	if i.writes.Add(1) == i.after {
		i.Conn.Write(i.what)
	}
	return n, err
}

// connect logs in through c.
func (s *stage) connect(t *testing.T, wrap func(net.Conn) net.Conn) (ssh.Conn, net.Conn, error) {
	t.Helper()
	raw, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(patience))
	c, chans, reqs, err := ssh.NewClientConn(wrap(raw), "", s.goConfig())
	if err == nil {
		go ssh.DiscardRequests(reqs)
		go func() {
			for nc := range chans {
				nc.Reject(ssh.Prohibited, "")
			}
		}()
	}
	return c, raw, err
}

// TestPacketsThatAreNoneEndTheSession, within the encryption too: their length is in clear there.
func TestPacketsThatAreNoneEndTheSession(t *testing.T) {
	junk := make([]byte, 64<<10)
	rand.Read(junk)
	length := func(n uint32, rest []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), rest...) }
	s := newFake(t, func(o *Options) { o.kexTime, o.authTime = 2*time.Second, 3*time.Second }, nil)
	before := runtime.NumGoroutine()
	for name, what := range map[string][]byte{
		"of no length":               length(0, junk[:100]),
		"shorter than their padding": length(1, junk[:100]),
		"of no whole block":          length(17, junk[:100]),
		"of zeros":                   make([]byte, 4096),
		"of 4 GiB":                   length(1<<32-1, junk),
		"of 255 MiB":                 length(255<<20, junk),
		"of 256 KiB and a byte":      length(256<<10+1, junk),
		"that nobody has encrypted":  length(1024, junk[:2048]),
	} {
		c, raw, err := s.connect(t, func(c net.Conn) net.Conn { return c })
		if err != nil {
			t.Fatal(err)
		}
		raw.Write(what)
		c.Wait()
		if e := s.end(); e.Cause != CauseClient {
			t.Errorf("after the login, packets %s: ended with %+v", name, e.Result)
		}
		raw, err = net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		raw.Write(append([]byte("SSH-2.0-x\r\n"), what...))
		if e := s.end(); e.Cause != CauseError || strings.Contains(e.Sentence, "internal error") {
			t.Errorf("before the login, packets %s: ended with %+v", name, e.Result)
		}
		raw.Close()
	}
	noMoreGoroutines(t, before)
}

// TestNobodySlipsAPacketInBeforeTheKeys, by which the first encrypted one could be cut off
// unseen (CVE-2023-48795).
func TestNobodySlipsAPacketInBeforeTheKeys(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, nil)
	ignore := []byte{0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // SSH_MSG_IGNORE with nothing in it
	for after := int32(2); after <= 3; after++ {                      // after the version: the offer, and the exchange
		if _, _, err := s.connect(t, func(c net.Conn) net.Conn { return &intruder{Conn: c, after: after, what: ignore} }); err == nil {
			t.Errorf("a packet more after %d was taken", after)
		}
		if e := s.end(); e.Cause != CauseError || len(e.rec.events) != 0 {
			t.Errorf("ended with %+v", e.Result)
		}
	}
	if _, _, err := s.connect(t, func(c net.Conn) net.Conn { return &intruder{Conn: c, after: -1} }); err != nil {
		t.Errorf("nothing was slipped in: %v", err)
	}
}

// TestAnswersToNoQuestionCostNothing and keep nobody: of the connection, and of a channel.
func TestAnswersToNoQuestionCostNothing(t *testing.T) {
	const count = 20_000
	s := newFake(t, nil, func(p *peer) {
		p.conn.SendRequest("keepalive@openssh.com", false, nil)
		for nc := range p.chans {
			if ch, reqs, err := nc.Accept(); err == nil {
				go func() {
					for req := range reqs {
						req.Reply(true, nil)
						ch.SendRequest("keepalive@openssh.com", false, nil)
						io.WriteString(ch, "still here")
					}
				}()
			}
		}
	})
	before := runtime.NumGoroutine()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c, _, reqs, err := ssh.NewClientConn(conn, "", s.goConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flood := func(req *ssh.Request) {
		req.WantReply = true // it did not say so
		for i := range count {
			req.Reply(i%2 == 0, nil)
		}
	}
	flood(<-reqs)
	ch, chReqs, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ch.SendRequest("exec", true, ssh.Marshal(text{"x"}))
	flood(<-chReqs)
	got := make([]byte, 10)
	if _, err := io.ReadFull(ch, got); err != nil || string(got) != "still here" {
		t.Errorf("read %q: %v", got, err)
	}
	if n := runtime.NumGoroutine(); n > before+60 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	c.Close()
	s.end()
	noMoreGoroutines(t, before)
}

// logLines collects a log.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// TestUsersWhoComeAtOnceAreNotTakenForEachOther, though each offers another's key before his own.
func TestUsersWhoComeAtOnceAreNotTakenForEachOther(t *testing.T) {
	t.Parallel()
	const users = 12
	keyID := regexp.MustCompile(`key_id=\S+`)
	var all sync.WaitGroup
	for range users {
		var log logLines
		s := newFake(t, func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}, nil)
		stranger := newTeam(t, "alice")
		all.Go(func() {
			mine := s.user(s.gatewayCA, s.fresh.PublicKey(), nil)
			config := s.goConfig()
			config.Auth = []ssh.AuthMethod{ssh.PublicKeys(
				certSigner(t, stranger.user(s.gatewayCA, stranger.fresh.PublicKey(), nil), stranger.fresh), certSigner(t, mine, s.fresh))}
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			c, _, _, err := ssh.NewClientConn(conn, "", config)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
			<-s.ends
			log.mu.Lock()
			defer log.mu.Unlock()
			if got := keyID.FindAllString(log.text.String(), -1); len(got) != 1 || strings.Trim(strings.TrimPrefix(got[0], "key_id="), `"`) != mine.KeyId {
				t.Errorf("%s came in as %q", mine.KeyId, got)
			}
		})
	}
	all.Wait()
}

// nothing is a recorder that keeps nothing.
type nothing struct{}

func (nothing) Record(recording.Event) error { return nil }

// TestMuchPassesThroughOneChannel: more than its counters hold with BRIDGE_BYTES=5000000000.
func TestMuchPassesThroughOneChannel(t *testing.T) {
	t.Parallel()
	count := int64(8 << 20)
	if v := os.Getenv("BRIDGE_BYTES"); v != "" {
		count, _ = strconv.ParseInt(v, 10, 64)
	}
	s := newFake(t, func(o *Options) { o.Recorder = nothing{} }, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			if ch, reqs, err := nc.Accept(); err == nil {
				go ssh.DiscardRequests(reqs)
				go func() { io.Copy(ch, ch); ch.CloseWrite() }()
			}
		}
	})
	user := s.goClient(t)
	ch, reqs, err := user.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{"localhost", 80, "localhost", 1}))
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		block := make([]byte, 1<<20)
		for left := count; left > 0; left -= int64(len(block)) {
			if _, err := ch.Write(block[:min(left, int64(len(block)))]); err != nil {
				return
			}
		}
		ch.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, ch); n != count || err != nil {
		t.Errorf("%d of %d bytes came back: %v", n, count, err)
	}
	user.Close()
	s.end()
}
