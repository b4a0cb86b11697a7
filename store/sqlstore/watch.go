package sqlstore

import (
	"context"
	"sync"
)

// hub wakes those who watch topics. Each watch is used once: at the first touch
// its channel is closed and it is forgotten.
type hub struct {
	mu     sync.Mutex
	topics map[string]map[*watch]struct{} // guarded by mu
	closed bool                           // guarded by mu
}

type watch struct {
	ch     chan struct{}
	topics []string
	stop   func() bool // of the context's callback
}

func newHub() *hub { return &hub{topics: make(map[string]map[*watch]struct{})} }

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context, topics ...string) <-chan struct{} {
	return s.hub.watch(ctx, topics)
}

func (h *hub) watch(ctx context.Context, topics []string) <-chan struct{} {
	w := &watch{ch: make(chan struct{}), topics: topics}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(w.ch)
		return w.ch
	}
	for _, t := range topics {
		if h.topics[t] == nil {
			h.topics[t] = make(map[*watch]struct{})
		}
		h.topics[t][w] = struct{}{}
	}
	w.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.forget(w)
	})
	return w.ch
}

// touch wakes all who watch one of the topics.
func (h *hub) touch(topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		for w := range h.topics[t] {
			h.wake(w)
		}
	}
}

// touchAll wakes everybody: something may have been missed.
func (h *hub) touchAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, watches := range h.topics {
		for w := range watches {
			h.wake(w)
		}
	}
}

func (h *hub) closeAll() {
	h.touchAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

// wake and forget are called with mu held.
func (h *hub) wake(w *watch) {
	close(w.ch)
	w.stop()
	h.forget(w)
}

func (h *hub) forget(w *watch) {
	for _, t := range w.topics {
		delete(h.topics[t], w)
		if len(h.topics[t]) == 0 {
			delete(h.topics, t)
		}
	}
}
