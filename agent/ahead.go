package agent

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// NextAfter is how long an address may take to connect before the next one is tried
	// beside it (RFC 8305, section 5, recommends 250 ms).
	NextAfter = 250 * time.Millisecond
	// aheadTime is how long a connection that was dialled ahead waits for its ssh once that
	// may start, which takes 30 ms. An ssh that finds a master of its own (ControlPath) never
	// comes, and a gateway has few places for who says nothing.
	aheadTime = time.Second
)

// ahead is a connection to a gateway that is dialled for an ssh which has yet to start. Nothing
// is said there: the hello, by which a session begins, is its helper's, who may never come. A
// nil one leads nowhere.
type ahead struct {
	address string
	began   time.Time
	until   time.Time // so long is waited for it
	cancel  context.CancelFunc
	tell    func(Attempt)
	failed  atomic.Bool
	dialled chan net.Conn // has the connection until somebody takes it; closed when there is no more to come
}

// dialAhead begins one that may take as long as patience; tell is told how it went.
func dialAhead(address string, patience time.Duration, tell func(Attempt)) *ahead {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	began := time.Now()
	h := &ahead{address: address, began: began, until: began.Add(patience), cancel: cancel, tell: tell, dialled: make(chan net.Conn, 1)}
	go func() {
		defer close(h.dialled)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		switch {
		case err == nil:
			tell(Attempt{Address: address, Dialled: time.Since(h.began)})
			h.dialled <- conn
		case ctx.Err() == nil:
			tell(Attempt{Address: address, Failed: FailedUnreachable})
			h.failed.Store(true)
		}
	}()
	return h
}

// dialAhead begins one, if there is an address.
func (a *Agent) dialAhead(address string) *ahead {
	if address == "" {
		return nil
	}
	at := a.here()
	usual := a.measures.from(at, a.now())(Route{Address: address}).Dialled
	return dialAhead(address, max(NextAfter, 2*usual), func(one Attempt) { a.measures.note([]Attempt{one}, at, a.now()) })
}

// towards returns the connection that goes with routes, the first of which it leads along: it
// stays where it was guessed well and may yet come about, and else there is another one to the
// first of them, while ssh starts.
func (h *ahead) towards(routes []Route, dial func(string) *ahead) (*ahead, []Route) {
	if h != nil && !h.failed.Load() && slices.ContainsFunc(routes, func(r Route) bool { return r.PlainTo(h.address) }) && !routes[0].TLS {
		return h, First(routes, h.address)
	}
	h.drop()
	if r := routes[0]; r.PlainTo(r.Address) {
		return dial(r.Address), routes
	}
	return nil, routes
}

// expire gives it up after a while.
func (h *ahead) expire() {
	if h != nil {
		time.AfterFunc(aheadTime, h.drop)
	}
}

// take gives it to whoever came for it, once; nil if it was not there in time.
func (h *ahead) take() net.Conn {
	if h == nil {
		return nil
	}
	late := time.NewTimer(time.Until(h.until))
	defer late.Stop()
	select {
	case conn := <-h.dialled:
		return conn
	default:
	}
	select {
	case conn := <-h.dialled:
		return conn
	case <-late.C:
		h.tell(Attempt{Address: h.address, Failed: FailedSilent})
		h.drop()
		return nil
	}
}

// drop closes what nobody has taken.
func (h *ahead) drop() {
	if h == nil {
		return
	}
	h.cancel()
	if conn := <-h.dialled; conn != nil {
		conn.Close()
	}
}

// PlainTo reports whether the route leads to a gateway at address, not inside TLS.
func (r Route) PlainTo(address string) bool {
	return address != "" && r.Address == address && !r.Direct() && !r.TLS
}

// First puts the plain way to a gateway at address before the others, if it is among them and
// none inside TLS is to come first: the control plane has put them in order by chance.
func First(routes []Route, address string) []Route {
	i := slices.IndexFunc(routes, func(r Route) bool { return r.PlainTo(address) })
	if i <= 0 || routes[0].TLS {
		return routes
	}
	return slices.Concat(routes[i:i+1], routes[:i], routes[i+1:])
}
