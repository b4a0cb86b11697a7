package bridge

import (
	"bytes"
	"encoding/binary"
	"io"
	"reflect"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/recording"
)

// packetWriter has the methods that connections of the library have, so that a test can send a
// packet which the library itself never sends.
type packetWriter interface {
	Close() error
	readPacket() ([]byte, error)
	writePacket([]byte) error
}

// widen adds to the window that ch offers to the other side (RFC 4254, section 5.2).
func widen(t *testing.T, c ssh.Conn, ch ssh.Channel, by uint32) error {
	t.Helper()
	below := reflect.ValueOf(c).Elem().FieldByName("mux").Elem().FieldByName("conn")
	id := reflect.ValueOf(ch).Elem().FieldByName("remoteId").Uint()
	const windowAdjust = 93
	packet := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{windowAdjust}, uint32(id)), by)
	return (*(*packetWriter)(unsafe.Pointer(below.UnsafeAddr()))).writePacket(packet)
}

// TestTheWidestWindowIsServedAndAWiderOneEndsTheSession: no sum may wrap around.
func TestTheWidestWindowIsServedAndAWiderOneEndsTheSession(t *testing.T) {
	t.Parallel()
	s := newFake(t, nil, onSession(func(_ *peer, ch ssh.Channel) { io.Copy(ch, ch) }))
	c := s.goClient(t)
	defer c.Close()
	ch := openSession(t, c)
	if _, err := ch.SendRequest("exec", true, ssh.Marshal(text{"cat"})); err != nil {
		t.Fatal(err)
	}
	if err := widen(t, c.Conn, ch, 1<<32-1-windowSize); err != nil {
		t.Fatal(err)
	}
	const word = "still here"
	if _, err := io.WriteString(ch, word); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(ch, got); err != nil || string(got) != word {
		t.Fatalf("with the widest window: %q, %v", got, err)
	}
	if err := widen(t, c.Conn, ch, uint32(len(word))+1); err != nil {
		t.Fatal(err)
	}
	if e := s.end(); e.Cause != CauseClient || e.rec.bytes(recording.Output) != word {
		t.Errorf("ended with %+v", e.Result)
	}
}

// TestSignalsAndBreaksInFloodsPassAndAreRecorded, each once, and the session lives on.
func TestSignalsAndBreaksInFloodsPassAndAreRecorded(t *testing.T) {
	t.Parallel()
	const count = 5000
	var came atomic.Int32
	s := newFake(t, nil, func(p *peer) {
		go ssh.DiscardRequests(p.reqs)
		for nc := range p.chans {
			if _, reqs, err := nc.Accept(); err == nil {
				go func() {
					for req := range reqs {
						if req.Type == "signal" || req.Type == "break" {
							came.Add(1)
						}
						req.Reply(true, nil)
					}
				}()
			}
		}
	})
	c := s.goClient(t)
	defer c.Close()
	ch := openSession(t, c)
	if _, err := ch.SendRequest("shell", true, nil); err != nil {
		t.Fatal(err)
	}
	for range count {
		ch.SendRequest("signal", false, ssh.Marshal(text{"INT"}))
		ch.SendRequest("break", false, ssh.Marshal(number{1<<32 - 1}))
	}
	// The answer to this one comes after all of them.
	if ok, err := ch.SendRequest("keepalive@openssh.com", true, nil); err != nil || !ok {
		t.Errorf("after the flood: %v, %v", ok, err)
	}
	if n := came.Load(); n != 2*count {
		t.Errorf("%d of %d have come", n, 2*count)
	}
	c.Close()
	e := s.end()
	if n := len(all[recording.Requested](t, e.rec, recording.Request)); n != 2*count+1 {
		t.Errorf("%d requests are recorded", n)
	}
}

// TestAnAgentThatAnswersWronglyHarmsItsUserAlone: the gateway reads no answer of a forwarded
// agent. Libraries that did have panicked at a success without what was asked for
// (CVE-2025-47913), and at truncated lists and constraints (CVE-2025-47914).
func TestAnAgentThatAnswersWronglyHarmsItsUserAlone(t *testing.T) {
	t.Parallel()
	key := sshtest.Key(t).PublicKey()
	for name, answer := range map[string][]byte{
		"success where keys or a signature are due": {0, 0, 0, 1, 6},
		"nothing at all":           {0, 0, 0, 0},
		"4 GiB":                    {0xff, 0xff, 0xff, 0xff, 12},
		"keys without any":         {0, 0, 0, 5, 12, 0xff, 0xff, 0xff, 0xff},
		"a signature cut short":    {0, 0, 0, 5, 14, 0, 0, 1, 0},
		"a type that nobody knows": {0, 0, 0, 1, 255},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan error, 2)
			s := newFake(t, nil, onSession(func(p *peer, ch ssh.Channel) {
				for _, ask := range []func(sshagent.ExtendedAgent) error{
					func(a sshagent.ExtendedAgent) error { _, err := a.List(); return err },
					func(a sshagent.ExtendedAgent) error { _, err := a.Sign(key, []byte("x")); return err },
				} {
					ac, reqs, err := p.conn.OpenChannel("auth-agent@openssh.com", nil)
					if err == nil {
						go ssh.DiscardRequests(reqs)
						err = ask(sshagent.NewClient(ac))
						ac.Close()
					}
					asked <- err
				}
				io.WriteString(ch, "still here")
				ch.Close()
			}))
			c := s.goClient(t)
			defer c.Close()
			agents := c.HandleChannelOpen("auth-agent@openssh.com")
			go func() {
				for nc := range agents {
					if ch, reqs, err := nc.Accept(); err == nil {
						go ssh.DiscardRequests(reqs)
						io.ReadFull(ch, make([]byte, 5)) // a question has come
						ch.Write(answer)
						ch.CloseWrite()
						go io.Copy(io.Discard, ch)
					}
				}
			}()
			session, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			session.Stdout = &out
			if err := sshagent.RequestAgentForwarding(session); err != nil {
				t.Fatal(err)
			}
			session.Start("x")
			for range 2 {
				select {
				case err := <-asked:
					if err == nil {
						t.Error("the server takes it for an answer")
					}
				case <-time.After(patience):
					t.Fatal("the server waits for ever")
				}
			}
			session.Wait()
			if out.String() != "still here" {
				t.Errorf("afterwards the user sees %q", out.String())
			}
			c.Close()
			if e := s.end(); e.Cause != CauseClient || e.err != nil {
				t.Errorf("ended with %+v, %v", e.Result, e.err)
			}
		})
	}
}
