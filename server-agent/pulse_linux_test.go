package serveragent

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/vhost"
)

// serviceManager is the socket of one, and what came to it.
type serviceManager struct {
	t    *testing.T
	dir  string
	conn *net.UnixConn
}

func newServiceManager(t *testing.T) *serviceManager {
	m := &serviceManager{t: t, dir: t.TempDir()}
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(m.dir, "s"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close() })
	return m
}

// next is the next message, "" if none comes in time.
func (m *serviceManager) next(wait time.Duration) string {
	buf := make([]byte, 4096)
	m.conn.SetReadDeadline(time.Now().Add(wait))
	n, _ := m.conn.Read(buf)
	return string(buf[:n])
}

// await reads until a message has text in it.
func (m *serviceManager) await(text string) {
	m.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if strings.Contains(m.next(time.Second), text) {
			return
		}
	}
	m.t.Fatalf("the service manager never heard %q", text)
}

func TestALoopThatIsStuckStopsTellingThatItMoves(t *testing.T) {
	t.Parallel()
	const inside = "/opt/cardea-notify"
	m := newServiceManager(t)
	r := newRig(t, vhost.Bind{From: m.dir, To: inside, Writable: true})
	r.sshd()
	// A watchdog of a microsecond wants to hear of every step.
	env := []string{"NOTIFY_SOCKET=" + inside + "/s", "WATCHDOG_USEC=1", "CARDEA_TEST_TICK=20ms"}

	r.start(env...)
	m.await("STATUS=waits for an enrolment token")
	m.await("READY=1")
	m.await("is in force, accounts: 0")
	for range 5 { // at rest
		m.await("WATCHDOG=1")
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.agent.Stop(patience) }()
	m.await("STOPPING=1")
	<-stopped

	r.start(append(env, "CARDEA_TEST_STICK=useradd")...)
	m.await("WATCHDOG=1")
	r.p.set(func(d *api.DesiredState) {
		d.Accounts = []api.Account{carol()}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.agent.WaitLog(ctx, "stuck before:"); err != nil {
		t.Fatal(err)
	}
	for m.next(time.Millisecond) != "" { // what it told before
	}
	if got := m.next(2 * time.Second); got != "" { // a hundred ticks
		t.Errorf("the loop is stuck and told %q", got)
	}
	r.agent.Stop(time.Millisecond) // it cannot end by itself
	r.agent = nil
}

func TestALongRestIsNotTakenForBeingStuck(t *testing.T) {
	m := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", filepath.Join(m.dir, "s"))
	t.Setenv("WATCHDOG_USEC", "1")
	t.Setenv("WATCHDOG_PID", "")
	ctx, stop := context.WithCancel(t.Context())
	a, err := New(Options{StateDir: filepath.Join(t.TempDir(), "state"), tick: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	a.watchdog = daemon.NewWatchdog()
	done := make(chan error, 1)
	go func() { done <- a.rest(ctx, time.Hour) }()
	for range 3 {
		m.await("WATCHDOG=1")
	}
	stop()
	if err := <-done; err == nil {
		t.Error("a rest that was ended early ended well")
	}
	if err := a.rest(t.Context(), 2*time.Millisecond); err != nil {
		t.Error(err)
	}
}
