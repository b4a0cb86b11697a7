package agent_test

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
)

// screen is a desktop that remembers, and answers as it is told.
type screen struct {
	mu    sync.Mutex
	shown []string
	asked []string
	yes   bool
	none  error
}

func (s *screen) Notify(_ context.Context, _, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = append(s.shown, text)
	return nil
}

func (s *screen) Confirm(_ context.Context, question string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, question)
	return s.yes, s.none
}

func (s *screen) CanConfirm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.none
}

// set has it answer otherwise.
func (s *screen) set(yes bool, none error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.yes, s.none = yes, none
}

func (s *screen) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func (s *screen) notifications() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.shown...)
}

// clock is one that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// An editor tries again and again, and shows nobody what ssh says.
func TestWhoSeesNothingGetsANotificationThatASignInIsNeededNowAndThen(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	s, c := &screen{}, &clock{at: time.Now()}
	account := w.Start(func(o *agent.Options) { o.Desktop, o.Now = s, c.now })
	account.Set(nil)
	unseen := &agent.Control{Paths: w.Paths, Unseen: true}
	refused := func(c *agent.Control) {
		t.Helper()
		if _, err := c.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.SignIn {
			t.Fatalf("got %v", err)
		}
	}
	refused(w.Ask) // somebody reads this one at his terminal
	refused(unseen)
	w.Until("it is shown", func() bool { return len(s.notifications()) == 1 })
	if text := s.notifications()[0]; !strings.Contains(text, "web-1") || !strings.HasSuffix(text, "not signed in; type: cardea login") {
		t.Errorf("shown is %q", text)
	}
	c.add(5*time.Minute - 1)
	refused(unseen)
	c.add(1)
	refused(unseen)
	w.Until("it is shown again", func() bool { return len(s.notifications()) >= 2 })
	w.Ask.SignInChanged(t.Context(), false)
	refused(unseen)
	w.Until("after a sign-in it is shown at once", func() bool { return len(s.notifications()) >= 3 })
	time.Sleep(10 * time.Millisecond)
	if n := len(s.notifications()); n != 3 {
		t.Errorf("%d notifications: %q", n, s.notifications())
	}
}

// listed is how many identities the agent shows.
func listed(w *agenttest.World) int {
	w.Helper()
	conn, err := net.Dial("unix", w.Paths.SSHSocket())
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte{0, 0, 0, 1, 11})
	answer := make([]byte, 9)
	if _, err := conn.Read(answer); err != nil {
		w.Fatal(err)
	}
	return int(answer[8])
}

func TestEachUseIsConfirmedIfThePersonWantsThat(t *testing.T) {
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	s := &screen{}
	w.Start(func(o *agent.Options) { o.Desktop, o.Confirm = s, true })
	w.Until("ssh's configuration is there", func() bool { _, err := os.Stat(w.Paths.SSHConfig()); return err == nil })
	server := w.SSHD(web.ID, w.HostSigner(web.ID, nil))
	w.Connect("web-1", 0)
	if n := listed(w); n != 1 || len(s.questions()) != 0 {
		t.Errorf("%d identities, and to look at them was asked about: %q", n, s.questions())
	}
	if r := realSSH(w, server, "web-1"); r.Exit == 0 || len(s.questions()) != 1 {
		t.Errorf("exit %d although nobody said yes; asked was %q", r.Exit, s.questions())
	}
	s.set(true, nil)
	if r := realSSH(w, server, "web-1"); r.Exit != 0 || len(s.questions()) != 2 || !strings.HasSuffix(s.questions()[1], "sign in to web-1 as alice?") {
		t.Errorf("exit %d, asked was %q: %s", r.Exit, s.questions(), r.Stderr)
	}
	if _, err := w.Ask.Lend(t.Context(), "web-1", "", "/nonexistent/x", time.Now().Add(time.Minute)); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "unasked") {
		t.Errorf("files: %v", err)
	}
	s.set(true, os.ErrNotExist)
	calls := len(w.Control.Calls("POST", "/v1/connect"))
	if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "no desktop to ask on") {
		t.Errorf("without a desktop: %v", err)
	}
	if n := len(w.Control.Calls("POST", "/v1/connect")); n != calls {
		t.Error("a certificate was asked for that nobody could use")
	}
}

func TestTheEndOfASessionIsToldBeforeOnce(t *testing.T) {
	w := agenttest.New(t)
	s, c := &screen{}, &clock{at: time.Now()}
	ends := c.at.Add(15*time.Minute + time.Second)
	w.Start(func(o *agent.Options) {
		o.Desktop, o.Now, o.Idle = s, c.now, 24*time.Hour
		o.Tick = 2 * time.Millisecond
		o.Ends = func(context.Context) (time.Time, error) { return ends, nil }
	})
	time.Sleep(20 * time.Millisecond) // ten looks
	if n := len(s.notifications()); n != 0 {
		t.Fatalf("too early: %q", s.notifications())
	}
	c.add(time.Second)
	w.Until("it is told", func() bool { return len(s.notifications()) == 1 })
	if text := s.notifications()[0]; !strings.Contains(text, ends.Local().Format("15:04")) || !strings.HasSuffix(text, "type: cardea login") {
		t.Errorf("told is %q", text)
	}
	time.Sleep(20 * time.Millisecond)
	c.add(16 * time.Minute) // it is over; whoever connects is told that
	time.Sleep(20 * time.Millisecond)
	if n := len(s.notifications()); n != 1 {
		t.Errorf("told %d times", n)
	}
}
