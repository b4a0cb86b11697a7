package serveragent

import (
	"cmp"
	"context"
	"maps"
	"sync"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/server-agent/labels"
)

// said is what the host says of itself besides its state. The zero value says nothing.
type said struct {
	mu      sync.Mutex
	labels  map[string]string // nil until they were gathered; never changed, only replaced; guarded by mu
	changes int               // guarded by mu
}

// setLabels takes what was gathered, and reports whether it is something new.
func (s *said) setLabels(labels map[string]string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.labels != nil && maps.Equal(s.labels, labels) {
		return false
	}
	s.labels = labels
	s.changes++
	return true
}

// hostLabels are for a report: nil while nobody knows them.
func (s *said) hostLabels() *map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.labels == nil {
		return nil
	}
	labels := s.labels
	return &labels
}

// propose adds to a report what the host says of itself.
func (a *Agent) propose(in *api.AgentReport) {
	in.HostLabels = a.said.hostLabels()
	in.AltNames, in.Bastion = a.opt.AltNames, a.opt.Bastion
	if a.opt.Hostname != "" {
		in.Hostname = a.hostname()
	}
}

// count tells what is said now from what was said before.
func (s *said) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// gatherLabels keeps them fresh until ctx ends. Its programs may be slow, and nothing
// else waits for them.
func (a *Agent) gatherLabels(ctx context.Context) error {
	interval := cmp.Or(a.opt.LabelInterval, labels.DefaultInterval)
	for {
		found, problems := a.labels.Gather(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if a.board.set("labels", problems...) {
			for _, p := range problems {
				a.log.Warn(p, "part", "labels")
			}
		}
		if a.said.setLabels(found) {
			a.log.Info("this host says of itself", "labels", found)
			a.board.update(func(s *Status) { s.Labels = found }) // never changed, only replaced
		}
		// Apart from those of others, which were started with it.
		if err := sleep(ctx, interval+jitter(interval/10)); err != nil {
			return err
		}
	}
}
