package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

const (
	// failedTime is how long a gateway that failed comes after those that did not: as long as
	// a restart takes, or a report of it to reach the control plane.
	failedTime = time.Minute
	// measureTime is how long what was measured counts. Where another gateway is nearer
	// nobody goes to the farther one, so it has to be forgotten to be tried again.
	measureTime = 10 * time.Minute
	// maxMeasures bounds what is remembered: a team has a few addresses, and a laptop a few
	// networks in so short a time.
	maxMeasures = 64
	// maxAttempts bounds what one helper may tell: four gateways, each with two ways.
	maxAttempts = 16
	// nearer is how much farther than the nearest an address must be to come after it, as a
	// ratio and as a difference. The control plane puts its gateways in order by chance, so
	// that people spread over them; only who would wait noticeably longer changes that.
	nearerRatio, nearerBy = 1.5, 10 * time.Millisecond
	// farAway is from which time on, for an answer to a hello, "cardea ssh" has its helper stay
	// and copy: that spares so much at each start (ADR 13). Where all is near it takes 8 ms; on
	// a way this long nobody sends as fast as a helper copies.
	farAway = 30 * time.Millisecond
)

// Why a gateway is of no use at the moment; a refusal's kind is another reason.
const (
	FailedUnreachable = "unreachable"
	FailedSilent      = "silent" // for so long that another way overtook it
	FailedClosed      = "closed"
	FailedImpostor    = "impostor"
)

// Attempt is how it went along one way to a gateway.
type Attempt struct {
	Address string `json:"address"`
	TLS     bool   `json:"tls,omitempty"`
	// Dialled is how long it took to connect, and Answered how long until the hello was
	// accepted then; zero is not known.
	Dialled  time.Duration `json:"dialled,omitempty"`
	Answered time.Duration `json:"answered,omitempty"`
	// Failed is why the gateway was of no use; empty if that cannot be said.
	Failed string `json:"failed,omitempty"`
}

// Measure is what is known of the way to a gateway from this network.
type Measure struct {
	Attempt
	// Quickest is the least that Answered was: a busy gateway is not far.
	Quickest time.Duration `json:"quickest,omitempty"`
	At       time.Time     `json:"at"` // the last attempt
	FailedAt time.Time     `json:"failed_at,omitzero"`
	workedAt time.Time
}

// failed reports whether it is to come later now.
func (m Measure) failed(now time.Time) bool {
	return m.Failed != "" && now.Sub(m.FailedAt) < failedTime
}

// spot is where something is measured: what is near from one network is far from another.
type spot struct {
	network network
	address string
	tls     bool
}

// measures remembers for a while how attempts went, in memory alone. It is safe for
// concurrent use; the zero value remembers nothing.
type measures struct {
	mu sync.Mutex
	of map[spot]Measure
}

// note adds attempts. Times are smoothed, and a success ends a failure.
func (m *measures) note(all []Attempt, at network, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[spot]Measure{}
	}
	for s, old := range m.of {
		if now.Sub(old.At) >= measureTime {
			delete(m.of, s)
		}
	}
	for _, a := range all[:min(len(all), maxAttempts)] {
		if a.Dialled <= 0 && a.Answered <= 0 && a.Failed == "" {
			continue // it was given up, as another one was faster
		}
		where := spot{at, a.Address, a.TLS}
		old, known := m.of[where]
		if !known && len(m.of) >= maxMeasures {
			m.forgetOldest()
		}
		m.of[where] = old.with(a, now)
	}
}

func (m Measure) with(a Attempt, now time.Time) Measure {
	m.Address, m.TLS, m.At = a.Address, a.TLS, now
	m.Dialled, m.Answered = smooth(m.Dialled, a.Dialled), smooth(m.Answered, a.Answered)
	if a.Answered > 0 && (m.Quickest == 0 || a.Answered < m.Quickest) {
		m.Quickest = a.Answered
	}
	switch {
	case a.Failed != "":
		m.Failed, m.FailedAt = a.Failed, now
	case a.Answered > 0:
		m.Failed, m.FailedAt, m.workedAt = "", time.Time{}, now
	}
	return m
}

// smooth moves a time a quarter towards a new one.
func smooth(old, now time.Duration) time.Duration {
	switch {
	case now <= 0:
		return old
	case old == 0:
		return now
	}
	return old + (now-old)/4
}

func (m *measures) forgetOldest() {
	var oldest spot
	first := true
	for s, one := range m.of {
		if first || one.At.Before(m.of[oldest].At) {
			oldest, first = s, false
		}
	}
	delete(m.of, oldest)
}

// from tells what is known from one network.
func (m *measures) from(at network, now time.Time) func(Route) Measure {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := map[spot]Measure{}
	for s, one := range m.of {
		if s.network == at && now.Sub(one.At) < measureTime {
			known[s] = one
		}
	}
	return func(r Route) Measure { return known[spot{at, r.Address, r.TLS}] }
}

// list is what is known from one network, by address.
func (m *measures) list(at network, now time.Time) (all []Measure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s, one := range m.of {
		if s.network == at && now.Sub(one.At) < measureTime {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b Measure) int { return cmp.Or(cmp.Compare(a.Address, b.Address), btoi(a.TLS)-btoi(b.TLS)) })
	return all
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// choice is one gateway among those that the control plane named, with all ways to it.
type choice struct {
	ways    []Route
	failed  bool
	dialled time.Duration // zero if it is not known
	band    int           // of those that are about as near as each other; the nearest is 0
}

// ordered are routes in the order in which to try them, which are equally good by what the
// control plane knows. A gateway that failed in the last minute comes after those that did not,
// and among these one that is clearly farther than others after them; what is not known
// counts as near, so that it is tried. All else stays in the order of the control plane, the
// two ways to a gateway together, and what leads past the gateways last. None is left out.
func ordered(routes []Route, known func(Route) Measure, now time.Time) []Route {
	var choices []choice
	rest := routes
	for len(rest) > 0 && !rest[0].Direct() {
		n := 1
		for n < len(rest) && rest[n].gateway == rest[0].gateway && !rest[n].Direct() {
			n++
		}
		choices = append(choices, choiceOf(rest[:n], known, now))
		rest = rest[n:]
	}
	inBands(choices)
	slices.SortStableFunc(choices, func(a, b choice) int {
		return cmp.Or(btoi(a.failed)-btoi(b.failed), cmp.Compare(a.band, b.band))
	})
	out := make([]Route, 0, len(routes))
	for _, c := range choices {
		out = append(out, c.ways...)
	}
	return append(out, rest...)
}

// choiceOf judges a gateway by the way that is tried first, unless another way there has
// worked since that failed.
func choiceOf(ways []Route, known func(Route) Measure, now time.Time) choice {
	first := known(ways[0])
	c := choice{ways: ways, failed: first.failed(now), dialled: first.Dialled}
	for _, other := range ways[1:] {
		if known(other).workedAt.After(first.FailedAt) {
			c.failed = false
		}
	}
	return c
}

// inBands puts those that did not fail into bands: a band ends where one is clearly farther
// than its nearest.
func inBands(choices []choice) {
	var by []*choice
	for i := range choices {
		if c := &choices[i]; !c.failed && c.dialled > 0 {
			by = append(by, c)
		}
	}
	slices.SortFunc(by, func(a, b *choice) int { return cmp.Compare(a.dialled, b.dialled) })
	band, nearest := 0, time.Duration(0)
	for i, c := range by {
		if i == 0 {
			nearest = c.dialled
		} else if farther(c.dialled, nearest) {
			band, nearest = band+1, c.dialled
		}
		c.band = band
	}
}

func farther(d, nearest time.Duration) bool {
	return float64(d) > nearerRatio*float64(nearest) && d-nearest > nearerBy
}

// far reports whether a route leads to a gateway that is far from here, as far as is known.
func (a *Agent) far(r Route) bool {
	return !r.Direct() && a.measures.from(a.here(), a.now())(r).Quickest >= farAway
}

// inOrder has the routes of a connection in the order in which to try them here.
func (a *Agent) inOrder(routes []Route, at network, s *steps) []Route {
	now := a.now()
	known := a.measures.from(at, now)
	for _, r := range routes {
		if m := known(r); m.failed(now) {
			s.done("%s failed %s ago: %s", r.Address, now.Sub(m.FailedAt).Round(time.Second), m.Failed)
		}
	}
	return ordered(routes, known, now)
}

// Went tells the agent how attempts at gateways went. ssh waits for who tells, so he waits for
// no answer; an older agent does not know what to do with it, and takes no harm.
func (c *Control) Went(ctx context.Context, all []Attempt) error {
	line, err := json.Marshal(request{Verb: verbWent, Attempts: all})
	if err != nil {
		return err
	}
	conn, err := c.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, err = conn.Write(append(line, '\n'))
	return err
}
