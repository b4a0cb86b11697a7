package agent

import (
	"context"
	"crypto/sha256"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// wayTime is how long a way inside TLS comes first once it was the one that led
	// somewhere: connections of a while need not wait for the plain one each, and
	// the plain one, which is faster, is soon tried again.
	wayTime = 5 * time.Minute
	// maxWays bounds what is remembered. A team has a few addresses.
	maxWays = 64
)

// ways remembers at which addresses the hello inside TLS has worked on the network
// that this machine is in. The zero value remembers nothing.
type ways struct {
	mu sync.Mutex
	of map[string]way // by address
}

type way struct {
	network network
	until   time.Time
}

// network tells one network from another by the addresses that this machine has in
// it. Where they change for another reason something is forgotten, nothing else.
type network [sha256.Size]byte

func (a *Agent) here() network {
	addresses, err := a.addresses()
	if err != nil {
		return network{}
	}
	var names []string
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			names = append(names, ip.String())
		}
	}
	slices.Sort(names)
	h := sha256.New()
	for _, n := range names {
		h.Write([]byte(n + "\n"))
	}
	return network(h.Sum(nil))
}

// worked notes a way. One that is known already is not prolonged.
func (w *ways) worked(address string, at network, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string]way{}
	}
	for a, old := range w.of {
		if !now.Before(old.until) {
			delete(w.of, a)
		}
	}
	old, known := w.of[address]
	if known && old.network == at || !known && len(w.of) >= maxWays {
		return
	}
	w.of[address] = way{at, now.Add(wayTime)}
}

// first reports whether the way inside TLS at address should be tried first.
func (w *ways) first(address string, at network, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.of[address]
	return ok && known.network == at && now.Before(known.until)
}

// Worked tells the agent that a connection inside TLS to address was the one that led
// somewhere. An older agent does not know what to do with it, and takes no harm.
func (c *Control) Worked(ctx context.Context, address string) error {
	_, err := c.runningOnly().ask(ctx, request{Verb: verbWorked, Address: address})
	return err
}
