package fleet

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardea-ssh/cardea/store"
)

const (
	// relabelEvery and relabelBurst bound how often one host may change its labels.
	// Each change has everybody's catalog of the project made and sent anew, so that
	// one host which was taken over could keep all others and all people busy. An
	// honest one changes them every minute at most (labels.MinInterval).
	relabelEvery, relabelBurst = time.Minute, 10
	// maxRelabels is how many hosts are told apart; 100 bytes each.
	maxRelabels = 20_000
)

// relabels counts changes of labels by host. The zero value works.
type relabels struct {
	mu sync.Mutex
	of map[string]*rate.Limiter // guarded by mu
}

// keep leaves the labels of a report out if they are new and come too soon: the
// next report brings them again.
func (l *relabels) keep(r *store.ServerReport, v store.Server, now time.Time) {
	if r.HostLabels != nil && !maps.Equal(*r.HostLabels, v.HostLabels) && !l.take(v.ID, now) {
		r.HostLabels = nil
	}
}

func (l *relabels) take(server string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil || len(l.of) >= maxRelabels {
		l.of = map[string]*rate.Limiter{}
	}
	if l.of[server] == nil {
		l.of[server] = rate.NewLimiter(rate.Every(relabelEvery), relabelBurst)
	}
	return l.of[server].AllowN(now, 1)
}
