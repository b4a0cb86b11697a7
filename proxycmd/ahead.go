package proxycmd

import (
	"context"
	"net"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

// guessTime is how long our own agent may take to guess. It takes a third of a millisecond.
const guessTime = 100 * time.Millisecond

// ahead is a connection that is opened to a gateway while the control plane is still asked
// which it shall be, or while "cardea ssh" prepares it: where it was guessed well, that spares a
// round trip. Not one byte passes before the answer, and what was guessed wrongly is closed.
type ahead struct {
	address string // empty if nothing was guessed
	cancel  context.CancelFunc
	dialled chan dialled
	taken   bool          // by the one attempt at its route, or none
	took    time.Duration // to connect, once it was taken; zero is not known
}

type dialled struct {
	conn net.Conn
	err  error
	took time.Duration
}

// dialAhead begins one. Through a proxy there is none: it would be asked for a way that may
// not be wanted.
func (o Options) dialAhead(ctx context.Context) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{cancel: cancel, dialled: make(chan dialled, 1)}
	short, over := context.WithTimeout(ctx, guessTime)
	defer over()
	address := o.Agent.Likely(short, o.Host)
	if proxy, err := proxyFor(address); address == "" || err != nil || proxy != nil {
		return a
	}
	a.address = address
	go func() {
		began := time.Now()
		conn, err := o.Dial(ctx, address)
		a.dialled <- dialled{conn, err, time.Since(began)}
	}()
	return a
}

// handed is a connection that the agent has opened while this one was prepared.
func handed(c agent.Connected) *ahead {
	a := &ahead{address: c.Dialled, cancel: func() {}, dialled: make(chan dialled, 1)}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetKeepAlivePeriod(keepAlive)
	}
	a.dialled <- dialled{conn: c.Conn} // the agent knows how long it took
	return a
}

// corrected are attempts with the time that it really took to connect.
func (a *ahead) corrected(all []agent.Attempt) []agent.Attempt {
	for i := range all {
		if one := &all[i]; a.taken && one.Address == a.address && !one.TLS {
			one.Dialled = a.took
		}
	}
	return all
}

func (a *ahead) leadsTo(r agent.Route) bool { return r.PlainTo(a.address) }

// or is dial, but for the route that was guessed, which has been dialled. What has ended
// since is dialled anew: nothing was said there.
func (a *ahead) or(dial dialFunc) dialFunc {
	return func(ctx context.Context, r agent.Route) (net.Conn, error) {
		if !a.leadsTo(r) || a.taken {
			return dial(ctx, r)
		}
		select {
		case d := <-a.dialled:
			a.taken, a.took = true, d.took
			if d.err == nil && !silent(d.conn) {
				d.conn.Close()
				return dial(ctx, r)
			}
			return d.conn, d.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close ends what nobody took.
func (a *ahead) close() {
	a.cancel()
	if a.address == "" || a.taken {
		return
	}
	go func() {
		if d := <-a.dialled; d.err == nil {
			d.conn.Close()
		}
	}()
}
