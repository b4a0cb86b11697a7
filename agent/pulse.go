package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// connectTime is how long the control plane may be silent. It answers within 2 s where all is
// well (it may wait for the server's agent), and a person who is told nothing for 5 s presses
// Ctrl-C.
const connectTime = 4500 * time.Millisecond

// slowTime bounds one answer while others come: hundreds of connections that begin at once on
// a small machine wait their turn, and are no sign that the control plane is gone.
const slowTime = 20 * time.Second

// errSilent is the cause of a context that pulse has ended.
var errSilent = errors.New("no answer from the control plane")

// pulse knows when the control plane last answered any call. The zero value has never heard
// of it.
type pulse struct {
	mu   sync.Mutex
	last time.Time // by the monotonic clock; guarded by mu
}

// call runs do, whose context ends when nobody was answered for connectTime, and after
// slowTime in any case. What do returns then is the control plane's absence.
func (p *pulse) call(ctx context.Context, url string, do func(context.Context) error) error {
	begun := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if p.silent(ctx, begun) {
			cancel(errSilent)
		}
	})
	err := do(ctx)
	var told *api.Error
	if err == nil || errors.As(err, &told) && told.Kind != api.Unavailable {
		p.beat()
	} else if errors.Is(context.Cause(ctx), errSilent) {
		err = api.Errorf(api.Unavailable, "the control plane at %s does not answer", url).WithHint("check the network, then try again").WithCause(err)
	}
	cancel(nil)
	watching.Wait()
	return err
}

// silent returns true when a call that began then has waited for too long, and false when
// it is over.
func (p *pulse) silent(ctx context.Context, begun time.Time) bool {
	for {
		wait := time.Until(p.patience(begun))
		if wait <= 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// patience is how long a call that began then may wait, as far as is known now.
func (p *pulse) patience(begun time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := begun
	if p.last.After(begun) {
		heard = p.last
	}
	if last := begun.Add(slowTime); heard.Add(connectTime).After(last) {
		return last
	}
	return heard.Add(connectTime)
}

// beat notes an answer, also one that refuses.
func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
}
