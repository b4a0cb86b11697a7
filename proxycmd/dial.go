package proxycmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/redial"
)

const (
	nextAfter = agent.NextAfter
	// answerAfter is how long a gateway that connected may take to answer before the next one
	// is tried beside it. A good one needs two round trips to the control plane and server.
	answerAfter = 3 * time.Second
	// attemptTime bounds one attempt as a whole; a gateway takes up to 10 s for a dead server.
	attemptTime = 12 * time.Second
)

// errTicket is a gateway's word that the ticket is not good (any more).
var errTicket = errors.New("the ticket is not good")

// errPassing is a gateway's word that it cannot serve anybody just now.
var errPassing = errors.New("the gateway takes no connections now")

// refusal is a gateway's authenticated no.
type refusal struct{ address, kind, sentence string }

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s", r.address, r.sentence) }

func (r *refusal) Is(target error) bool {
	switch r.kind {
	case "ticket":
		return target == errTicket
	case "control", "busy", "draining":
		return target == errPassing
	}
	return false
}

// dropped is a connection that was closed before the gateway answered: it is being stopped,
// or was started a moment ago and has other keys, and the balancer before it does not know yet.
type dropped struct{ error }

func (d dropped) Is(target error) bool { return target == errDropped }

// errDropped is errPassing for longer: the next one of a pool may be no better.
var errDropped = errors.New("the gateway closed the connection")

// final reports whether another gateway would say the same: it was the control plane's no.
func (r *refusal) final() bool { return r.kind == "claim" || r.kind == "ticket" }

// impostor is something that answers at a gateway's address and has none of its keys.
type impostor struct {
	address  string
	expected []string // ids of gateways
}

func (i *impostor) Error() string {
	return fmt.Sprintf("%s: something else than the expected gateways (%s) answers there", i.address, strings.Join(i.expected, ", "))
}

type dialFunc func(ctx context.Context, route agent.Route) (net.Conn, error)

// open is a connection on which ssh may begin.
type open struct {
	net.Conn
	route agent.Route
	said  int // so many bytes of ssh's went ahead on it
}

// event is what an attempt tells: first that it is connected, then how it ended.
type event struct {
	of        int // which route
	connected bool
	took      time.Duration // to connect, or until the hello was accepted
	open      open
	err       error
}

// race tries routes, and is told by fields what it needs for that.
type race struct {
	dial    dialFunc
	opening *opening        // what ssh says first; nil where nobody listens to it
	met     func(*impostor) // is told of each on the way
	note    noteFunc        // is told of each step
	journal *journal        // how it went
}

// run tries the routes in order, the next one as soon as the last one fails or is slow, and
// returns the first connection on which ssh may begin. The others are closed.
func (r race) run(ctx context.Context, routes []agent.Route) (open, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan event, 2*len(routes))
	started, running := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tried []error
	var winner open
	var last error
	for {
		select {
		case <-timer.C:
			if started < len(routes) {
				r.journal.begin(routes[started])
				go r.attempt(ctx, started, routes[started], events)
				started, running = started+1, running+1
				timer.Reset(nextAfter)
			}
		case e := <-events:
			r.journal.note(e, ctx.Err() != nil)
			if e.connected {
				timer.Reset(answerAfter)
				continue
			}
			running--
			var no *refusal
			var other *impostor
			if errors.As(e.err, &other) {
				r.met(other)
			}
			switch {
			case e.err == nil && winner.Conn == nil && last == nil:
				winner = e.open
				r.journal.decide()
				cancel()
			case e.err == nil:
				e.open.Close()
			case errors.As(e.err, &no) && no.final() && winner.Conn == nil && last == nil:
				last = deny(no)
				cancel()
			default:
				tried = append(tried, e.err)
				timer.Reset(0)
			}
		}
		if over := winner.Conn != nil || last != nil || started == len(routes); over && running == 0 {
			break
		}
		if winner.Conn != nil || last != nil {
			started = len(routes) // start no more
		}
	}
	switch {
	case winner.Conn != nil:
		return winner, nil
	case last != nil:
		return open{}, last
	case ctx.Err() != nil:
		return open{}, context.Cause(ctx)
	}
	return open{}, unreachable(tried)
}

// deny makes the final refusal an error for the person; a bad ticket stays what it is.
func deny(no *refusal) error {
	e := api.Errorf(api.Denied, "the gateway refused: %s", no.sentence)
	if no.kind == "ticket" {
		return e.WithCause(errTicket)
	}
	return e.WithHint("type: cardea status")
}

// attempt dials one route and, if it leads through a gateway, says hello.
func (r race) attempt(ctx context.Context, of int, route agent.Route, events chan<- event) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := r.reach(ctx, route)
	if err != nil {
		r.note(began, "not connected to %v", plain(route.Address, err))
		events <- event{of: of, err: plain(route.Address, err)}
		return
	}
	r.note(began, "connected to %s, %s", route.Address, kindOf(route))
	if route.Direct() {
		events <- event{of: of, open: open{Conn: conn, route: route}}
		return
	}
	events <- event{of: of, connected: true, took: time.Since(began)}
	began = time.Now()
	ahead := r.opening.version()
	if err := greet(ctx, conn, route, ahead); err != nil {
		r.note(began, "hello not accepted by %v", err)
		conn.Close()
		events <- event{of: of, err: err}
		return
	}
	r.note(began, "hello accepted by %s", route.Address)
	events <- event{of: of, took: time.Since(began), open: open{conn, route, len(ahead)}}
}

// reach dials one route. A gateway is there or another one is; a server may be back at once.
func (r race) reach(ctx context.Context, route agent.Route) (net.Conn, error) {
	if !route.Direct() {
		return r.dial(ctx, route)
	}
	return redial.Refused(ctx, func() (net.Conn, error) { return r.dial(ctx, route) })
}

// kindOf is what stands at the end of a route, for who reads a trace.
func kindOf(route agent.Route) string {
	switch {
	case route.Direct() && route.Bastion != "":
		return "the server itself, behind a bastion"
	case route.Direct():
		return "the server itself"
	case route.TLS:
		return "a gateway, inside TLS"
	}
	return "a gateway"
}

// greet sends the hello, with what goes ahead of ssh's behind it, and reads exactly its
// answer. The deadline, and the end of ctx, cut both short; after a good answer neither is left
// on the connection.
func greet(ctx context.Context, conn net.Conn, route agent.Route, ahead []byte) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return plain(route.Address, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(slices.Concat(route.Hello, ahead)); err != nil {
		return maybeDropped(route.Address, err)
	}
	answer, err := hello.ReadAnswer(conn, route.Keys)
	switch {
	case errors.Is(err, hello.ErrImpostor):
		return &impostor{route.Address, expected(route)}
	case err != nil:
		return maybeDropped(route.Address, err)
	case !answer.Accepted:
		return &refusal{route.Address, answer.Kind, answer.Sentence}
	}
	if !stop() {
		return plain(route.Address, ctx.Err())
	}
	return conn.SetDeadline(time.Time{})
}

// maybeDropped tells a connection that was closed from others. With ssh's version unread in it
// that is a reset.
func maybeDropped(address string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return dropped{fmt.Errorf("%s: %w without an answer", address, errDropped)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return dropped{plain(address, err)}
	}
	return plain(address, err)
}

func expected(route agent.Route) []string {
	var names []string
	for _, k := range route.Keys.Keys {
		names = append(names, k.Gateway)
	}
	return names
}

var errNoAnswer = errors.New("no answer")

// plain says what a person needs of a network error: the address he knows and the reason.
func plain(address string, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return fmt.Errorf("%s: %w", address, errNoAnswer)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", address, op.Err)
	}
	return fmt.Errorf("%s: %w", address, err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
