package serveragent

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/daemon"
)

// rest sleeps as a loop that has nothing to do: it says so now and then, so that
// a long rest is not taken for being stuck.
func (a *Agent) rest(ctx context.Context, wait time.Duration) error {
	for end := time.Now().Add(wait); ; {
		a.watchdog.Progress()
		left := time.Until(end)
		if left <= a.opt.tick {
			return sleep(ctx, left)
		}
		if err := sleep(ctx, a.opt.tick); err != nil {
			return err
		}
	}
}

// moves tells the service manager that the loop gets on, before every step of a
// change: making thousands of accounts may take longer than it waits. No single
// step does; each program that the agent runs has a time limit.
func (r *reconciler) moves(stale func() bool) func() bool {
	return func() bool {
		r.watchdog.Progress()
		return stale()
	}
}

// tellManager says in one sentence how things stand, for `systemctl status`.
func tellManager(s Status) {
	text := "waits for a state from the control plane"
	if s.Server == "" {
		text = "waits for its enrolment"
	}
	if !s.Applied.IsZero() {
		text = fmt.Sprintf("state %s is in force, accounts: %d", versionText(s.InForce), len(s.Accounts))
	}
	if n := len(s.Problems); n > 0 {
		text += fmt.Sprintf("; problems: %d, to see them type: cardea-server-agent status", n)
	}
	daemon.NotifyStatus(text)
}
