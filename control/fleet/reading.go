package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
)

// loadTime bounds one reading of a project. It is not the caller's time: others
// wait for the same reading.
const loadTime = 10 * time.Second

// states keeps the newest view of each project, so that its thousand agents,
// which all wake at once, cost one or two readings and not a thousand. The zero
// value is empty.
type states struct {
	mu    sync.Mutex
	views map[string]*cached // by project; guarded by mu
}

// cached is one project's view, and the readings of it that are on their way.
type cached struct {
	mu   sync.Mutex
	last *reading // the newest that there is; guarded by mu
	next *reading // the one that has not begun, if any; guarded by mu
}

// reading is one look at the store. Who wants a view joins a reading that has
// not begun yet: one that is under way may have missed what he waits for.
type reading struct {
	done chan struct{}
	view *view // when done
	err  error // when done
}

// view returns the newest view of a project: everything that was committed
// before the call is in it.
func (c *states) view(ctx context.Context, s *Service, project string) (*view, error) {
	c.mu.Lock()
	if c.views == nil {
		c.views = map[string]*cached{}
	}
	entry := c.views[project]
	if entry == nil {
		entry = &cached{}
		c.views[project] = entry
	}
	c.mu.Unlock()
	return entry.get(ctx, func(ctx context.Context, old *view) (*view, error) { return s.load(ctx, project, old) })
}

func (c *cached) get(ctx context.Context, load func(context.Context, *view) (*view, error)) (*view, error) {
	c.mu.Lock()
	r, lead, before := c.next, c.next == nil, c.last
	if lead {
		r = &reading{done: make(chan struct{})}
		c.next, c.last = r, r
	}
	c.mu.Unlock()
	if lead {
		c.lead(ctx, r, before, load)
	}
	select {
	case <-r.done:
		return r.view, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lead reads when the reading before is done. It does not end with its caller,
// who reads for the others too.
func (c *cached) lead(ctx context.Context, r, before *reading, load func(context.Context, *view) (*view, error)) {
	defer close(r.done)
	var old *view
	if before != nil {
		<-before.done
		old = before.view
	}
	c.mu.Lock()
	c.next = nil // from here on nobody joins
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTime)
	defer cancel()
	r.view, r.err = load(ctx, old)
}

// load reads the version of a project, and the rest only if it is another than
// that of the old view.
func (s *Service) load(ctx context.Context, project string, old *view) (*view, error) {
	team, err := s.Store.Team(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.Store.Project(ctx, project)
	if err != nil {
		return nil, caller.Explain(err, "project "+project)
	}
	if old != nil && old.version == (api.StateVersion{Epoch: team.Epoch, Counter: p.Revision}) {
		return old, nil
	}
	facts, err := s.Store.ProjectFacts(ctx, project)
	if err != nil {
		return nil, caller.Explain(err, "project "+project)
	}
	return newView(facts, s.now())
}
