//go:build unix

package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's socket; heard returns what came within wait.
func manager(t *testing.T) (heard func(wait time.Duration) string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(wait time.Duration) string {
		buf := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(wait))
		n, _ := conn.Read(buf)
		return string(buf[:n])
	}
}

const (
	soon = 30 * time.Second // for what comes; it does not wait as long
	now  = time.Millisecond // for what has come already or does not come
)

func TestAWatchdogIsForTheProcessThatItNames(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		name, usec, pid string
		want            time.Duration
	}{
		{"asked for", "3000000", self, 3 * time.Second},
		{"asked for without a process", "3000000", "", 3 * time.Second},
		{"asked of the parent", "3000000", strconv.Itoa(os.Getppid()), 0},
		{"not asked for", "", "", 0},
		{"switched off", "0", self, 0},
		{"no number", "soon", self, 0},
		{"the longest time", "9223372036854775", self, 9223372036854775 * time.Microsecond},
		{"longer than the longest", "9223372036854776", self, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", tc.usec)
			t.Setenv("WATCHDOG_PID", tc.pid)
			w := NewWatchdog()
			if got := w.Limit(); got != tc.want {
				t.Errorf("Limit = %v, want %v", got, tc.want)
			}
			w.Progress() // must not panic, whatever it is
		})
	}
}

func TestProgressIsToldAndNotTooOften(t *testing.T) {
	heard := manager(t)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(time.Hour.Microseconds(), 10))
	w := NewWatchdog()
	if got := heard(now); got != "" {
		t.Errorf("before any progress: %q", got)
	}
	for range 1000 {
		w.Progress()
	}
	if got := heard(soon); got != "WATCHDOG=1" {
		t.Errorf("the manager heard %q", got)
	}
	if got := heard(now); got != "" {
		t.Errorf("the manager heard more: %q", got)
	}
	w.last = w.last.Add(-time.Hour/pingsPerLimit - time.Second)
	w.Progress()
	if got := heard(soon); got != "WATCHDOG=1" {
		t.Errorf("a quarter of the time later the manager heard %q", got)
	}
}

func TestAPingThatWasLostIsToldAgain(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	w := &Watchdog{limit: time.Hour}
	w.Progress()
	heard := manager(t)
	w.Progress()
	if got := heard(soon); got != "WATCHDOG=1" {
		t.Errorf("the manager heard %q", got)
	}
}

func TestAManagerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	manager(t)
	began := time.Now()
	for range 4096 { // more than any socket's queue
		if err := Notify("STATUS=" + strings.Repeat("x", 1000)); err != nil {
			if took := time.Since(began); took < notifyTimeout {
				t.Fatalf("it failed after %v: %v", took, err)
			}
			return
		}
	}
	t.Error("the socket took everything")
}

func TestAStatusIsOneLine(t *testing.T) {
	heard := manager(t)
	if err := NotifyStatus("3 people\nREADY=1\x1b[2J \xff ök"); err != nil {
		t.Fatal(err)
	}
	if got, want := heard(soon), "STATUS=3 people READY=1 [2J   ök"; got != want {
		t.Errorf("the manager heard %q, want %q", got, want)
	}
}
