package agent

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/cardea-ssh/cardea/internal/atomicfile"
)

// Gateway is an address to which connections were led.
type Gateway struct {
	Address string `json:"address"`
	TLS     bool   `json:"tls,omitempty"` // the way there is inside TLS
}

// maxGateways bounds what is remembered. A control plane names four at a time.
const maxGateways = 8

// maxGatewaysFile bounds what is read back, bytes.
const maxGatewaysFile = 16 << 10

// gateways remembers where connections were led, over the end of the agent too: for who asks
// how the ways there are, before there is a connection. Nothing else is decided by it.
type gateways struct {
	mu   sync.Mutex // guards what follows
	file string     // "" keeps nothing
	last []Gateway  // newest first
}

// load takes those of the last run. Without them a connection brings them anew.
func (g *gateways) load(file string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.file = file
	text, err := readUpTo(file, maxGatewaysFile)
	if err != nil {
		return
	}
	var last []Gateway
	if json.Unmarshal(text, &last) == nil && len(last) <= maxGateways {
		g.last = last
	}
}

// note puts the gateways of a connection first. It writes only what is new.
func (g *gateways) note(routes []Route) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := slices.Clone(g.last)
	var now []Gateway
	for _, r := range routes {
		if !r.Direct() {
			now = append(now, Gateway{r.Address, r.TLS})
		}
	}
	for _, old := range g.last {
		if !slices.Contains(now, old) {
			now = append(now, old)
		}
	}
	g.last = now[:min(len(now), maxGateways)]
	if g.file == "" || sameSet(before, g.last) {
		return nil
	}
	text, err := json.Marshal(g.last)
	if err == nil {
		_, err = atomicfile.Write(g.file, text, atomicfile.Options{Mode: 0o600})
	}
	return err
}

// sameSet: the order changes with every connection, and is not worth a write.
func sameSet(a, b []Gateway) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g Gateway) bool { return !slices.Contains(b, g) })
}

func (g *gateways) list() []Gateway {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.last)
}
