package daemon

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// pingsPerLimit is how often a loop that moves is told of within the time that
// systemd waits: often enough for a few late ones, and seldom enough to say
// Progress before every small step.
const pingsPerLimit = 4

// Watchdog tells systemd that a loop makes progress (WatchdogSec= of the unit,
// sd_watchdog_enabled(3)). It has no timer and no goroutine of its own: such a
// one would go on telling while the loop is stuck, which is what systemd is to
// find out. A loop that may rest for longer than Limit wakes up to say so.
//
// Nil is a watchdog that nobody asked for.
type Watchdog struct {
	limit time.Duration

	mu   sync.Mutex
	last time.Time
}

// NewWatchdog reads what systemd asks of this process; nil if nothing.
func NewWatchdog() *Watchdog {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return nil
	}
	// The variable is inherited; it is meant for the process that it names.
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	return &Watchdog{limit: time.Duration(usec) * time.Microsecond}
}

// Limit is how long systemd waits for progress; zero means for ever.
func (w *Watchdog) Limit() time.Duration {
	if w == nil {
		return 0
	}
	return w.limit
}

// Progress is called by the loop itself, whenever it has got on.
func (w *Watchdog) Progress() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.last.IsZero() || now.Sub(w.last) >= w.limit/pingsPerLimit {
		if Notify("WATCHDOG=1") == nil {
			w.last = now
		}
	}
}
