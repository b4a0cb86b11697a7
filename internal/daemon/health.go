package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// checkTimeout bounds one health check; balancers give up after about as long.
const checkTimeout = 2 * time.Second

// Health answers /healthz (the process works at all) and /readyz (send it
// traffic). The zero value is alive and, until Drain, ready.
type Health struct {
	mu       sync.Mutex
	checks   []check
	draining bool
	figures  func() map[string]int64
}

type check struct {
	name  string
	run   func(context.Context) error
	ready bool // counts for /readyz only
}

// Alive adds a check that, when it fails, means a restart would help.
func (h *Health) Alive(name string, run func(context.Context) error) { h.add(check{name, run, false}) }

// Ready adds a check that, when it fails, means traffic should go elsewhere
// for a while.
func (h *Health) Ready(name string, run func(context.Context) error) { h.add(check{name, run, true}) }

func (h *Health) add(c check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, c)
}

// Figures adds numbers to the answer of /readyz, for whoever watches. Anybody may ask, so
// they must tell nothing of anybody.
func (h *Health) Figures(figures func() map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.figures = figures
}

// Drain makes the process not ready for the rest of its life.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Register adds both paths to mux.
func (h *Health) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, false) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, true) })
}

// Failing runs the checks and returns what each one that fails says, by name;
// forReady includes those of Ready and draining.
func (h *Health) Failing(ctx context.Context, forReady bool) map[string]string {
	h.mu.Lock()
	checks, draining := h.checks[:len(h.checks):len(h.checks)], h.draining
	h.mu.Unlock()
	failing := map[string]string{}
	if forReady && draining {
		failing["draining"] = "no new work is taken"
	}
	for _, c := range checks {
		if c.ready && !forReady {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		if err := c.run(ctx); err != nil {
			failing[c.name] = err.Error()
		}
		cancel()
	}
	return failing
}

// answer names the failing checks but not their errors: anybody may ask, and
// an error may hold an address. Whoever adds a check logs its failures.
func (h *Health) answer(w http.ResponseWriter, r *http.Request, forReady bool) {
	failing := h.Failing(r.Context(), forReady)
	names := []string{}
	for name := range failing {
		names = append(names, name)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(names) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	answer := map[string]any{"ok": len(names) == 0, "failing": names}
	h.mu.Lock()
	figures := h.figures
	h.mu.Unlock()
	if forReady && figures != nil {
		answer["figures"] = figures()
	}
	json.NewEncoder(w).Encode(answer)
}
