package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// rosterLife is how old the list of gateways may be when one is chosen. Each
// connection asks for it, and gateways change every few minutes. What it may
// get wrong for so long is where a client dials first; whether a gateway may
// carry the connection is read anew when it claims the hello.
const rosterLife = time.Second

// roster keeps the list of gateways for a moment. What this instance changes it
// forgets at once; other instances follow within rosterLife. The zero value is
// empty.
type roster struct {
	mu       sync.Mutex
	gateways []store.Gateway // guarded by mu, and never changed
	read     time.Time       // guarded by mu
	changes  uint64          // guarded by mu
}

// forget is called after a change of gateways, whether it succeeded or not.
func (r *roster) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = time.Time{}
	r.changes++
}

// list returns the gateways; nobody may change what it returns.
func (r *roster) list(ctx context.Context, from store.Fleet) ([]store.Gateway, error) {
	now := time.Now() // how long ago, and not what time it is
	r.mu.Lock()
	known, fresh, before := r.gateways, now.Sub(r.read) < rosterLife, r.changes
	r.mu.Unlock()
	if fresh {
		return known, nil
	}
	var rows []store.Gateway
	err := lookup.All(ctx, from.Gateways, func(g store.Gateway) bool {
		rows = append(rows, g)
		return true
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes == before { // else something changed while we read
		r.gateways, r.read = rows, now
	}
	return rows, nil
}
