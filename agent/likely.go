package agent

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
)

// maxLikely bounds of how many projects gateways are remembered.
const maxLikely = 64

// likely remembers to which gateways connections of a project were led last, on the network
// that this machine is in: whoever starts one may dial there while the control plane is still
// asked. It is a guess, for TCP alone: nothing is said there before a ticket names the
// gateway. The zero value remembers nothing.
type likely struct {
	mu sync.Mutex
	of map[string]led // by project
}

type led struct {
	network network
	to      []string // addresses, in no order
}

// note takes the routes of a connection. Where the way inside TLS comes first nothing else
// has worked here, so that nothing is guessed.
func (l *likely) note(project string, routes []Route, at network) {
	var to []string
	for _, r := range routes {
		if !r.Direct() && !r.TLS {
			to = append(to, r.Address)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if project == "" || len(to) == 0 || routes[0].TLS {
		delete(l.of, project)
		return
	}
	if _, known := l.of[project]; !known && len(l.of) >= maxLikely {
		return
	}
	if l.of == nil {
		l.of = map[string]led{}
	}
	l.of[project] = led{at, to}
}

// guess is all of them in an order of chance: the control plane spreads people over its
// gateways so, and so does this. There is none where nothing is known.
func (l *likely) guess(project string, at network) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.of[project]
	if known.network != at {
		return nil
	}
	to := slices.Clone(known.to)
	rand.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	return to
}

// likely answers who is about to ask for a connection to host; it is empty also where that
// has been prepared and will be there at once, or all is locked.
func (a *Agent) likely(host string) string {
	server, err := a.serverOf(request{Host: host})
	if err != nil || a.prepared.waits(server) {
		return ""
	}
	return a.guess(server)
}

// guess is the address of a gateway to which a connection to the server will probably be led.
func (a *Agent) guess(server string) string {
	if a.whileUnlocked() != nil {
		return ""
	}
	at := a.here()
	var routes []Route
	for i, address := range a.guesses.guess(a.catalog.projectOf(server), at) {
		routes = append(routes, Route{Address: address, Hello: []byte{0}, gateway: i + 1})
	}
	if len(routes) == 0 {
		return ""
	}
	return a.inOrder(routes, at, nil)[0].Address
}

// Likely is the address of a gateway to which a connection to host will probably be led;
// empty if there is none to dial ahead. An older agent knows of none.
func (c *Control) Likely(ctx context.Context, host string) string {
	out, err := c.runningOnly().ask(ctx, request{Verb: verbLikely, Host: host})
	if err != nil {
		return ""
	}
	return out.Likely
}
