package caller

import (
	"strconv"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/audit"
)

// Ration bounds the audit rows that refusals can cause: a stranger, or a
// machine gone wrong, must not be able to fill the disk. What it holds back is
// counted, so that the log says how many rows are missing. The zero value
// gives nothing; make one with NewRation.
type Ration struct {
	every time.Duration // one more row
	burst int

	mu   sync.Mutex
	left int       // guarded by mu, as all below
	at   time.Time // up to when left was filled
	held int
}

// NewRation gives burst rows at once and one more after each interval.
func NewRation(burst int, every time.Duration) *Ration {
	return &Ration{every: every, burst: burst, left: burst}
}

// Take asks for one row at now. If there is one, held is how many were held
// back since the last.
func (r *Ration) Take(now time.Time) (held int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || now.Before(r.at) { // the first call, or a clock set back
		r.at = now
	}
	if r.every > 0 {
		n := int(min(now.Sub(r.at)/r.every, time.Duration(r.burst)))
		if r.left = min(r.burst, r.left+n); r.left == r.burst {
			r.at = now
		} else {
			r.at = r.at.Add(time.Duration(n) * r.every)
		}
	}
	if r.left == 0 {
		r.held++
		return 0, false
	}
	r.left--
	held, r.held = r.held, 0
	return held, true
}

// NoteHeld writes into e how many events like it were held back before.
func NoteHeld(e *audit.Event, held int) {
	if held == 0 {
		return
	}
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	e.Detail["not_recorded"] = strconv.Itoa(held)
}
