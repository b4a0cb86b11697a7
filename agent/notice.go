package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// warnBefore is how long before its end a person hears of his session's: long enough to
	// finish a thought, and to be at the machine still.
	warnBefore = 15 * time.Minute
	// noticeEvery is how often is shown, at the most, that a program needs a sign-in: an
	// editor tries again every few seconds.
	noticeEvery = 5 * time.Minute
	// confirmTime is how long a person may take to allow a use. A gateway waits half a minute
	// for who signs in.
	confirmTime = 25 * time.Second
)

// Desktop is the person's screen.
type Desktop interface {
	Notify(ctx context.Context, title, text string) error
	// Confirm asks; it is no when ctx ends.
	Confirm(ctx context.Context, question string) (bool, error)
	// CanConfirm says why it could not ask; nil if it could.
	CanConfirm() error
}

// noDesktop is where there is none.
type noDesktop struct{}

var errNoDesktop = errors.New("no desktop")

func (noDesktop) Notify(context.Context, string, string) error  { return errNoDesktop }
func (noDesktop) Confirm(context.Context, string) (bool, error) { return false, errNoDesktop }
func (noDesktop) CanConfirm() error                             { return errNoDesktop }

// notices are what a person was told. The zero value has told nothing.
type notices struct {
	mu     sync.Mutex
	signIn time.Time // when it was last shown that one is needed
	ends   time.Time // of the session whose end was shown
}

// signInDue reports whether to show now that a sign-in is needed.
func (n *notices) signInDue(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.signIn.IsZero() && now.Sub(n.signIn) < noticeEvery {
		return false
	}
	n.signIn = now
	return true
}

// endDue reports whether to show now that a session ends then; once for each.
func (n *notices) endDue(ends, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := ends.Sub(now)
	if left <= 0 || left > warnBefore || ends.Equal(n.ends) {
		return false
	}
	n.ends = ends
	return true
}

// forget has the next sign-in that is needed be shown at once.
func (n *notices) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signIn = time.Time{}
}

// show shows a notification. Where that cannot be, the log has it.
func (a *Agent) show(ctx context.Context, text string) {
	a.log.Info("notification", "text", text)
	if err := a.desktop.Notify(ctx, "Cardea", text); err != nil {
		a.log.Info("the notification is not shown", "error", err)
	}
}

// tellUnseen shows why a connection was refused that needs a sign-in, where nobody reads what
// its helper says: an editor or a job started it. No browser opens.
func (a *Agent) tellUnseen(ctx context.Context, req request, out answer) {
	if !req.Unseen || out.Error == nil || out.Error.Kind != api.SignIn || !a.notices.signInDue(a.now()) {
		return
	}
	a.show(ctx, fmt.Sprintf("A program wants to reach %.100s: %s", ident.Text(req.Host), ident.Text(out.Error.Error())))
}

// remind tells of the end of the session before it comes.
func (a *Agent) remind(ctx context.Context) {
	if a.ends == nil {
		return
	}
	ends, err := a.ends(ctx)
	if err != nil || ends.IsZero() || !a.notices.endDue(ends, a.now()) {
		return
	}
	a.show(ctx, fmt.Sprintf("Your session ends at %s. To go on, and keep what is open, type: cardea login", ends.Local().Format("15:04")))
}

// mayUse asks the person whether an identity may be used, if he wants to be asked each time.
// One question is on the screen at a time.
func (a *Agent) mayUse(ctx context.Context, id *identity, pid int) bool {
	if !a.confirm {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return false
	}
	yes, err := a.desktop.Confirm(ctx, fmt.Sprintf("Let process %d sign in to %s as %s?", pid, id.serverName, id.login))
	if err != nil {
		a.log.Warn("ask whether a key may be used", "error", err)
	}
	return yes && err == nil
}

// canConfirm refuses, before anything is asked of the control plane, what could not be
// confirmed later.
func (a *Agent) canConfirm(req request) error {
	switch {
	case !a.confirm:
		return nil
	case req.Files != "":
		return api.Errorf(api.Denied, "each use of a key is to be confirmed (confirm-use), and files are used unasked").WithHint("use the agent in place of files")
	case a.desktop.CanConfirm() != nil:
		return api.Errorf(api.Denied, "each use of a key is to be confirmed (confirm-use), and there is no desktop to ask on").
			WithHint("in a window of your desktop type: cardea agent stop && cardea agent start")
	}
	return nil
}
