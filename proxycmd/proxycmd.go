// Package proxycmd is the thin helper between ssh and a server: it has the local agent make
// a connection's identity, dials the gateways that the control plane named, and then either
// copies bytes or hands the connected descriptor to ssh and is gone.
//
// It is what ssh_config(5) calls a ProxyCommand, so stdout is the wire: not one byte of
// ours goes there. Nothing is asked of a person here; what goes wrong is one error, and
// whoever started us says it on stderr.
package proxycmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// tellTime is how long the agent may take to hear of an impostor: ssh waits for it.
const tellTime = time.Second

// Agent gives connections; agent.Control does.
type Agent interface {
	Connect(ctx context.Context, host, login string, parent int) (agent.Connected, error)
	// Impostor is told what answered at a gateway's address, or what a server showed; it must
	// return at once.
	Impostor(ctx context.Context, met api.Impostor) error
	// Likely is the address of a gateway to which host is probably led, or empty.
	Likely(ctx context.Context, host string) string
	// Worked is told of an address where the hello inside TLS was what led somewhere.
	Worked(ctx context.Context, address string) error
	// Went is told how attempts at gateways went; it must return at once.
	Went(ctx context.Context, all []agent.Attempt) error
}

// Options are one run. Host and Agent are needed.
type Options struct {
	Agent Agent
	// Host is what ssh calls %h: a server's name, name.project or id.
	Host string
	// Login is what ssh calls %r; empty for the user's own.
	Login string
	// Parent is the process that will ask the agent for a signature; zero means our own.
	Parent int
	// Stdin and Stdout are ssh's ends; nil means the process's own.
	Stdin, Stdout *os.File
	// Stderr gets the control plane's notice for the user, if there is one; nil for nothing.
	Stderr io.Writer
	// Fdpass hands the descriptor to ssh over Stdout (ProxyUseFdpass) in place of copying.
	Fdpass bool
	// Via is a server through which the direct way is taken, whatever the control plane says
	// of a bastion; empty follows it.
	Via string
	// Through opens a connection to address from the server called bastion; nil refuses
	// whatever needs one.
	Through func(ctx context.Context, bastion, address string) (net.Conn, error)
	// Carrier is the command, with its first arguments, that runs Carry: a connection inside
	// TLS is no descriptor that ssh could take, so a process has to stay beside it. Needed
	// with Fdpass where there is TLS.
	Carrier []string
	// Dial opens TCP connections; nil dials directly, or through the proxy that HTTPS_PROXY
	// and NO_PROXY say.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Trace is told of each step between the agent's answer and ssh's first byte; nil to be
	// told nothing. agent.Control has one of its own. Several goroutines call it.
	Trace func(agent.Step)

	opening *opening // what ssh says first, where it is copied
}

// noteFunc is told what has happened since a time.
type noteFunc func(since time.Time, format string, args ...any)

// note is a noteFunc. It costs nothing where nobody wants to know.
func (o Options) note(since time.Time, format string, args ...any) {
	if o.Trace != nil {
		o.Trace(agent.Step{What: fmt.Sprintf(format, args...), Took: time.Since(since)})
	}
}

// Run connects and then copies until the connection ends, or passes the descriptor and
// returns. Errors are of a kind of package api where that is known: SignIn and Denied
// among them.
func Run(ctx context.Context, o Options) error {
	o = o.filled()
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if !o.Fdpass {
		o.opening = hear(o.Stdin)
	}
	conn, server, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer conn.Close()
	if o.Fdpass {
		if o.Trace != nil {
			o.awaitFirst(ctx, conn.Conn)
		}
		if err := passDescriptor(o.Stdout, conn.Conn); err != nil {
			return fmt.Errorf("pass the connection to ssh: %w", err)
		}
		return nil
	}
	var down io.Reader = conn
	if conn.route.Direct() {
		down = &lookout{from: conn, tell: func(met api.Impostor) {
			met.Server, met.Address = server, conn.route.Address
			o.tell(ctx, met)
		}}
	}
	if o.Trace != nil {
		down = &firstRead{Reader: down, began: time.Now(), note: o.note}
	}
	return copyBoth(ctx, o.opening.after(conn.said), o.Stdout, conn.Conn, down)
}

// filled has the defaults of what both Run and Probe need.
func (o Options) filled() Options {
	if o.Parent == 0 {
		o.Parent = os.Getppid()
	}
	if o.Dial == nil {
		o.Dial = dialTCP
	}
	return o
}

// tell has the agent hear of what was met. Where it is gone the person reads of it in our own
// error, or in ssh's.
func (o Options) tell(ctx context.Context, met api.Impostor) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	o.Agent.Impostor(ctx, met)
}

// pause is how long, at least, a gateway that has no room or no control plane is left alone;
// as much again is random, so that those who were refused together do not come back together.
const pause = 250 * time.Millisecond

// maxTries is how often all is done anew where gateways close connections unanswered. Behind
// a balancer it takes one or two seconds until it knows that one is gone.
const maxTries = 5

// connect asks for a connection and dials it. It does both a second time, once, where the
// reason of the failure passes: a ticket lives for a minute and is over when the machine slept
// in between; a control plane is restarted within a second; a gateway that stops is no
// candidate the next time. Where it just hung up, it does both up to maxTries times.
func connect(ctx context.Context, o Options) (conn open, server string, err error) {
	early := o.dialAhead(ctx)
	defer func() { early.close() }()
	for try := 1; ; try++ {
		c, err := o.Agent.Connect(ctx, o.Host, o.Login, o.Parent)
		if err != nil {
			return open{}, "", err
		}
		if c.Conn != nil {
			early.close()
			early = handed(c)
		}
		routes, dial, err := o.through(c)
		if err != nil {
			return open{}, "", err
		}
		if !early.taken {
			routes, dial = agent.First(routes, early.address), early.or(dial)
		}
		met := func(met *impostor) { o.tell(ctx, api.Impostor{Address: met.address, Gateways: met.expected}) }
		var went journal
		conn, err := race{dial, o.opening, met, o.note, &went}.run(ctx, routes)
		o.went(ctx, early.corrected(went.attempts()))
		if errors.Is(err, errTicket) && try == 1 {
			continue
		}
		passes := errors.Is(err, errPassing) && try == 1 || errors.Is(err, errDropped) && try < maxTries
		if passes && wait(ctx, pause+rand.N(pause)) {
			continue
		}
		if err != nil {
			return open{}, "", err
		}
		if c.Notice != "" && o.Stderr != nil {
			fmt.Fprintf(o.Stderr, "cardea: %s\n", ident.Text(c.Notice))
		}
		if conn.route.TLS && !routes[0].TLS {
			o.worked(ctx, conn.route.Address)
		}
		return conn, c.ServerID, nil
	}
}

// went has the agent hear how it went at gateways. Without it the next connection may try a dead one first.
func (o Options) went(ctx context.Context, all []agent.Attempt) {
	if len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	o.Agent.Went(ctx, all)
}

// worked has the agent begin with this way for a while. ssh waits for it, so not for long.
func (o Options) worked(ctx context.Context, address string) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	o.Agent.Worked(ctx, address) // without it the next connection is some milliseconds later
}

// through tells how the routes of a connection are dialled. Where one leads through a
// bastion it is the only one, and nothing is dialled from here.
func (o Options) through(c agent.Connected) ([]agent.Route, dialFunc, error) {
	i := slices.IndexFunc(c.Routes, func(r agent.Route) bool { return r.Direct() && (r.Bastion != "" || o.Via != "") })
	switch {
	case i < 0 && o.Via != "":
		return nil, nil, api.Errorf(api.NoGateway, "%s is reached through gateways alone", c.ServerName).WithHint("leave --via out")
	case i < 0:
		return c.Routes, o.dial, nil
	case o.Through == nil:
		return nil, nil, errors.New("servers behind a bastion cannot be reached from here")
	}
	bastion := cmp.Or(o.Via, c.Routes[i].Bastion)
	return c.Routes[i : i+1], func(ctx context.Context, r agent.Route) (net.Conn, error) { return o.Through(ctx, bastion, r.Address) }, nil
}

// wait reports whether ctx lasted as long.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// unreachable is the error when no route is left. It names what was tried, since the person
// or his administrator has to look there.
func unreachable(tried []error) error {
	reasons := make([]string, len(tried))
	for i, err := range tried {
		reasons[i] = err.Error()
	}
	e := api.Errorf(api.NoGateway, "no way leads to the server: %s", strings.Join(reasons, ", "))
	for _, passing := range []error{errPassing, errDropped} {
		if errors.Is(errors.Join(tried...), passing) {
			e = e.WithCause(passing)
		}
	}
	return e.WithHint("try again, and if it stays so ask your administrator")
}
