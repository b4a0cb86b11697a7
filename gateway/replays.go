package gateway

import (
	"sync"
	"time"
)

const (
	// maxReplays bounds the nonces that are remembered: those of the tickets of a
	// minute, at a thousand connections a second, of 100 bytes each.
	maxReplays = 1 << 16
	// maxUses is how often one hello is brought before the control plane: once as
	// it should be, and once more, so that a replay is audited there.
	maxUses = 2
	// sweepEvery is how often nonces are forgotten whose ticket is over.
	sweepEvery = 10 * time.Second
)

// replays counts the uses of each hello here while its ticket is good. The
// control plane is who takes a hello once. This is a shield for it: whoever
// recorded a hello on the wire could else have it asked, a refusal audited
// durably and the server dialled, each time that he sends those bytes again.
// Where there is no room nothing is counted, and the control plane decides
// alone. The zero value is empty.
type replays struct {
	mu    sync.Mutex
	of    map[[32]byte]use // guarded by mu, as below
	swept time.Time
}

type use struct {
	times int
	until time.Time
}

// take counts a use and reports whether it may go on.
func (r *replays) take(nonce [32]byte, until, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[[32]byte]use{}
	}
	if age := now.Sub(r.swept); age >= sweepEvery || age < 0 {
		r.swept = now
		for n, u := range r.of {
			if !now.Before(u.until) {
				delete(r.of, n)
			}
		}
	}
	u, again := r.of[nonce]
	if again && u.times >= maxUses {
		return false
	}
	if again || len(r.of) < maxReplays {
		r.of[nonce] = use{u.times + 1, until}
	}
	return true
}
