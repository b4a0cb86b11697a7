package bridge

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// TestASessionThatRunsNothingIsRecordedToo: a server that works together with the user may send
// before, or without, any program.
func TestASessionThatRunsNothingIsRecordedToo(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			io.WriteString(ch, "out of nothing")
			io.WriteString(ch.Stderr(), "and beside")
			ch.Close()
		}
	})
	c := s.goClient(t)
	ch := openSession(t, c)
	got, _ := io.ReadAll(ch)
	c.Close()
	end := s.end()
	if out := end.rec.bytes(recording.Output); !strings.HasPrefix(out, string(got)) {
		t.Errorf("the user saw %q, recorded was %q", got, out)
	}
}

// TestNothingRidesOnWhatIsNotRecorded: whatever passes to the user besides data either is
// recorded or has no room for anything.
func TestNothingRidesOnWhatIsNotRecorded(t *testing.T) {
	t.Parallel()
	const secret = "a secret that no recording shows"
	s := newFake(t, nil, func(p *peer) {
		go func() {
			for req := range p.reqs {
				req.Reply(true, []byte(secret))
			}
		}()
		p.conn.SendRequest("keepalive@openssh.com", true, []byte(secret))
		for nc := range p.chans {
			if nc.ChannelType() != "session" {
				nc.Reject(ssh.ConnectionFailed, secret)
				continue
			}
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go func() {
				for req := range reqs {
					req.Reply(true, nil)
					if req.Type == "exec" {
						ch.SendRequest("keepalive@openssh.com", false, []byte(secret))
						ch.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{"TERM", false, secret, secret}))
						ch.Close()
					}
				}
			}()
		}
	})
	var seen strings.Builder
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	sc, chans, globals, err := ssh.NewClientConn(conn, "", s.goConfig())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for nc := range chans {
			nc.Reject(ssh.Prohibited, "")
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for req := range globals {
			seen.WriteString("global " + string(req.Payload) + "\n")
			req.Reply(true, nil)
		}
	}()
	var told strings.Builder
	for _, r := range []struct {
		name    string
		payload []byte
	}{
		{"keepalive@openssh.com", nil},
		{"tcpip-forward", ssh.Marshal(listenTCP{"localhost", 4000})},
		{"cancel-tcpip-forward", ssh.Marshal(listenTCP{"localhost", 4000})},
		{"streamlocal-forward@openssh.com", ssh.Marshal(listenUnix{"/tmp/x"})},
	} {
		_, answer, err := sc.SendRequest(r.name, true, r.payload)
		if err != nil {
			t.Fatal(err)
		}
		told.WriteString(r.name + " " + string(answer) + "\n")
	}
	_, _, err = sc.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{"localhost", 80, "localhost", 1}))
	shown := err.Error()
	ch, reqs, err := sc.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	ch.SendRequest("exec", true, ssh.Marshal(text{"true"}))
	for req := range reqs {
		told.WriteString(req.Type + " " + string(req.Payload) + "\n")
	}
	sc.Close()
	<-done
	rec := s.end().rec
	if all := told.String() + seen.String(); strings.Contains(all, secret) {
		t.Errorf("the user was told, and nothing records it:\n%s", all)
	}
	if strings.Contains(shown, secret) && !strings.Contains(rec.bytes(recording.Refusal), secret) {
		t.Errorf("the user was told why a channel did not open, and nothing records it: %s", shown)
	}
	if _, err := readForwardedUnix(ssh.Marshal(forwardedUnix{"/tmp/x", secret})); err == nil {
		t.Error("a reserved field passes with something in it")
	}
	for name, passes := range map[string]bool{
		"KILL": true, strings.Repeat("S", maxName): true, strings.Repeat("S", maxName+1): false,
		"\x01\x02" + secret: false, strings.Repeat("\xff", maxName): false, secret + `"`: false,
	} {
		if _, err := readExitSignal(ssh.Marshal(exitSignal{Signal: name})); (err == nil) != passes {
			t.Errorf("a signal %q: %v", name, err)
		}
	}
}

// TestAQuestionEachWayDoesNotKeepASession: both ends may wait for each other's answers, with
// more behind than anybody holds.
func TestAQuestionEachWayDoesNotKeepASession(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(c ssh.Conn, ch ssh.Channel, answer bool){
		"of the connection": func(c ssh.Conn, _ ssh.Channel, answer bool) { c.SendRequest("keepalive@openssh.com", answer, nil) },
		"of a channel":      func(_ ssh.Conn, ch ssh.Channel, answer bool) { ch.SendRequest("keepalive@openssh.com", answer, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flood := func(c ssh.Conn, ch ssh.Channel) {
				go ask(c, ch, true)
				time.Sleep(100 * time.Millisecond) // it goes first
				for range 100 {
					go ask(c, ch, false)
				}
			}
			s := newFake(t, nil, func(p *peer) {
				for nc := range p.chans {
					if ch, _, err := nc.Accept(); err == nil {
						flood(p.conn, ch)
					}
				}
			})
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c, _, _, err := ssh.NewClientConn(conn, "", s.goConfig())
			if err != nil {
				t.Fatal(err)
			}
			ch, _, err := c.OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			flood(c, ch)
			time.Sleep(300 * time.Millisecond) // to let both be stuck; sooner, less is tested
			conn.Close()
			s.end()
		})
	}
}

func TestRequestsBehindOneWithoutAnAnswerAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		behind int
		ends   bool
	}{{maxWaiting, false}, {maxWaiting + 1, true}} {
		s := newFake(t, nil, func(p *peer) {
			go empty(p.reqs) // without an answer
			p.conn.Wait()
		})
		c := s.goClient(t)
		go c.SendRequest("keepalive@openssh.com", true, nil)
		time.Sleep(100 * time.Millisecond) // it goes first
		for range tc.behind {
			c.SendRequest("keepalive@openssh.com", false, nil)
		}
		if tc.ends {
			if e := s.end(); e.Cause != CauseError {
				t.Errorf("%d requests behind one: ended with %q", tc.behind, e.Cause)
			}
			continue
		}
		select {
		case e := <-s.ends:
			t.Errorf("%d requests behind one: ended with %v", tc.behind, e.Result)
		case <-time.After(300 * time.Millisecond):
		}
		c.Close()
		s.end()
	}
}

// TestWhatWaitsForAReaderIsKnown: the gateway ends the session with the most of it where memory
// is short.
func TestWhatWaitsForAReaderIsKnown(t *testing.T) {
	t.Parallel()
	const channels = 5
	held := new(Held)
	s := newFake(t, func(o *Options) { o.Held = held }, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			go func() {
				ch.Write(make([]byte, 8<<20)) // two windows, what is on its way, and more
				io.Copy(ch, ch)
			}()
		}
	})
	c := s.goClient(t)
	defer c.Close()
	var all []ssh.Channel
	for range channels {
		ch, reqs, err := c.OpenChannel("direct-tcpip", ssh.Marshal(addressPair{"localhost", 80, "localhost", 1}))
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(reqs)
		all = append(all, ch)
	}
	wait := func(what string, ok func(int64) bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(held.Bytes()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d bytes wait", what, held.Bytes())
			}
		}
	}
	const all5 = channels * windowSize
	wait("while nobody reads", func(n int64) bool { return n > all5*9/10 && n <= all5 })
	for _, ch := range all {
		go io.Copy(io.Discard, ch)
	}
	wait("when all was read", func(n int64) bool { return n == 0 })
	// What passes and is read leaves nothing, however much it is.
	for range 20 {
		if _, err := all[0].Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	wait("after more has passed", func(n int64) bool { return n == 0 })
}
