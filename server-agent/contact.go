package serveragent

import (
	"os"
	"sync"
	"time"
)

// What sshd accepts of Cardea's people ends some days after the control plane
// was heard last, also if the agent runs all the time: a host that is cut off
// must not stay open to those who were disabled meanwhile.

const (
	// keepContact is how often the time is written: a restart forgets as much.
	keepContact = 15 * time.Minute
	// longSilence is after how much of it the principals are looked at as soon as
	// the control plane is back. Less is caught up with reconcileEvery.
	longSilence = time.Hour
)

// contact is when the control plane was heard last. The zero value knows what
// is on disk.
type contact struct {
	mu   sync.Mutex
	at   time.Time // guarded by mu
	kept time.Time // that of the file; guarded by mu
}

// contactKept is the file.
type contactKept struct {
	At time.Time `json:"at"`
}

// heard is called whenever the control plane has answered as it should.
func (a *Agent) heard() {
	a.contact.mu.Lock()
	defer a.contact.mu.Unlock()
	now := a.now().UTC()
	a.contact.at = now
	if age := now.Sub(a.contact.kept); age > 0 && age < keepContact {
		return
	}
	if err := writeJSON(a.path(contactFile), contactKept{now}); err != nil {
		a.log.Warn("when the control plane was heard could not be kept", "err", err)
		return
	}
	a.contact.kept = now
}

// lastHeard is never in the future. Where nothing is known of it, it is when the
// state was kept, which came from the control plane.
func (a *Agent) lastHeard() time.Time {
	a.contact.mu.Lock()
	defer a.contact.mu.Unlock()
	if a.contact.at.IsZero() {
		var kept contactKept
		if raw, err := readSmall(a.path(contactFile), maxSmallFile); err == nil && decodeOne(raw, &kept) == nil {
			a.contact.at = kept.At
		} else if info, err := os.Stat(a.path(stateFile)); err == nil {
			a.contact.at = info.ModTime().UTC()
		}
	}
	now := a.now().UTC()
	if a.contact.at.IsZero() || a.contact.at.After(now) {
		return now
	}
	return a.contact.at
}
