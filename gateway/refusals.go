package gateway

import (
	"context"
	"sync"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway/bridge"
)

const (
	// maxTold is how many refusals one call tells, as api.SessionRefusals has it.
	maxTold = 64
	// maxSessionRefusals is how many of a session wait to be told; the rest is counted. Each
	// is in the recording too.
	maxSessionRefusals = 1000
	// maxRefusals bounds what waits of all sessions while the control plane is away, some
	// 300 bytes each.
	maxRefusals = 100000
)

// refusals are those within sessions that the control plane has not heard of yet.
type refusals struct {
	mu    sync.Mutex
	queue []*sessionRefusals // with something to tell, the first first
	count int                // in all of them
	wake  chan struct{}
}

// sessionRefusals are those of one session, guarded by the mutex of all.
type sessionRefusals struct {
	all     *refusals
	session string
	waiting []api.SessionRefusal
	unsaid  int
	queued  bool
}

func newRefusals() *refusals { return &refusals{wake: make(chan struct{}, 1)} }

func (r *refusals) of(session string) *sessionRefusals {
	return &sessionRefusals{all: r, session: session}
}

// add is what the bridge calls.
func (x *sessionRefusals) add(no bridge.Refusal) {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if len(x.waiting) >= maxSessionRefusals || x.all.count >= maxRefusals {
		x.unsaid++
	} else {
		x.waiting = append(x.waiting, api.SessionRefusal{Time: no.Time, Type: no.Type, Sentence: no.Sentence})
		x.all.count++
	}
	x.enqueue()
}

// end counts those that were not even told to us.
func (x *sessionRefusals) end(unsaid int) {
	if unsaid == 0 {
		return
	}
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	x.unsaid += unsaid
	x.enqueue()
}

// enqueue has x told of; the mutex is held.
func (x *sessionRefusals) enqueue() {
	if x.queued {
		return
	}
	x.queued = true
	x.all.queue = append(x.all.queue, x)
	wakeUp(x.all.wake)
}

// next is what to tell next. It stays until it was settled.
func (r *refusals) next() (x *sessionRefusals, in api.SessionRefusals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil, in
	}
	x = r.queue[0]
	in.Refusals = append([]api.SessionRefusal{}, x.waiting[:min(len(x.waiting), maxTold)]...)
	if len(in.Refusals) == len(x.waiting) {
		in.Unsaid = x.unsaid
	}
	return x, in
}

// settled forgets what was told.
func (r *refusals) settled(x *sessionRefusals, in api.SessionRefusals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.waiting = x.waiting[len(in.Refusals):]
	r.count -= len(in.Refusals)
	x.unsaid -= in.Unsaid
	r.queue = r.queue[1:]
	x.queued = false
	if len(x.waiting) > 0 || x.unsaid > 0 {
		x.enqueue()
	}
}

// tellRefusals tells those that wait first.
func (g *Gateway) tellRefusals(ctx context.Context) outcome {
	x, in := g.refusals.next()
	if x == nil {
		return nothingWaits
	}
	switch err := post(ctx, g.opt.Client, x.session, "refusals", in); {
	case forGood(err):
		g.log.Error("the control plane does not take the refusals of a session", "session", x.session, "count", len(in.Refusals)+in.Unsaid, "error", err)
	case err != nil:
		return away
	}
	g.refusals.settled(x, in)
	return settled
}
