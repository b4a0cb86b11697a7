package bridge

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// frozen is a recorder that does not return from output any more.
type frozen struct {
	memory
	thawed chan struct{}
}

func (f *frozen) Record(e recording.Event) error {
	if e.Kind == recording.Output && strings.Contains(string(e.Data), "withheld") {
		<-f.thawed
	}
	return f.memory.Record(e)
}

// TestARecorderThatNeverReturnsEndsItsSession, tells the user why, lets nothing pass, and holds
// nobody.
func TestARecorderThatNeverReturnsEndsItsSession(t *testing.T) {
	for _, required := range []bool{true, false} {
		f := &frozen{thawed: make(chan struct{})}
		thaw := sync.OnceFunc(func() { close(f.thawed) })
		t.Cleanup(thaw)
		s := newFake(t, func(o *Options) {
			o.Recorder, o.Required, o.recordTime = f, required, 300*time.Millisecond
		}, onSession(func(p *peer, ch ssh.Channel) {
			io.WriteString(ch, "shown")
			io.ReadFull(ch, make([]byte, 1))
			io.WriteString(ch, "withheld")
			for range 100 { // more than anybody takes
				ch.SendRequest("keepalive@openssh.com", false, nil)
			}
		}))
		before := runtime.NumGoroutine()
		user := s.goClient(t)
		session, err := user.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := session.StdoutPipe()
		errput, _ := session.StderrPipe()
		in, _ := session.StdinPipe()
		if err := session.Start("x"); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(out, make([]byte, 5))
		io.WriteString(in, "x")
		told, _ := io.ReadAll(errput)
		rest, _ := io.ReadAll(out)
		e := s.end()
		if len(rest) > 0 || !strings.Contains(string(told), "does not answer") || e.Cause != CauseError || e.Unrecorded == nil {
			t.Errorf("required %v: %q passed, %q was told, ended with %+v", required, rest, told, e.Result)
		}
		thaw()
		user.Close()
		noMoreGoroutines(t, before)
	}
}
