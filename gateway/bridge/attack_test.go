package bridge

import (
	"io"
	"net"
	"strings"
	"testing"

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
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
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
}
