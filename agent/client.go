package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Control asks the agent of this user. The zero Start means that none is started.
type Control struct {
	Paths Paths
	// Start starts an agent in the background, see Background; nil asks a running one only.
	Start func() (ended <-chan struct{}, err error)
	// Unseen says that nobody reads what this process says: an editor or a job started it. If
	// a connection needs a sign-in the person gets a notification.
	Unseen bool
	// Trace is told of each step of a connection; nil to be told nothing.
	Trace func(Step)
	// Ahead has the agent dial the gateway of what it prepares, for the ssh that is started
	// next. The agent dials directly: leave it off where a proxy leads there.
	Ahead bool
}

// runningOnly asks an agent that runs already: it starts none, and tells nobody of steps.
func (c *Control) runningOnly() *Control { return &Control{Paths: c.Paths} }

// ErrNotRunning means that no agent answers and none was to be started.
var ErrNotRunning = errors.New("the local agent does not run")

// Connect asks for a connection to host (a name, project/name or id) with a login (empty
// for the user's own). parent is the process that will ask the agent's other socket for a
// signature: ssh, the parent of its ProxyCommand.
func (c *Control) Connect(ctx context.Context, host, login string, parent int) (Connected, error) {
	return c.connected(ctx, request{Verb: verbConnect, Host: host, Login: login, Parent: parent, Descriptor: canPass})
}

// Prepare does what Connect will do and keeps the result for it, for a few seconds: so that
// whoever starts ssh learns about a refusal before, with its reason.
func (c *Control) Prepare(ctx context.Context, host, login string) (Connected, error) {
	return c.connected(ctx, request{Verb: verbPrepare, Host: host, Login: login, Ahead: c.Ahead && canPass})
}

// Lend has the agent write key and certificate for host into files below the folder dir, and
// keep them good until then.
func (c *Control) Lend(ctx context.Context, host, login, dir string, until time.Time) (Lent, error) {
	out, err := c.ask(ctx, request{Verb: verbFiles, Host: host, Login: login, Files: dir, Until: until})
	if err == nil && out.Lent == nil {
		err = errors.New("the agent wrote no files")
	}
	if err != nil {
		return Lent{}, err
	}
	return *out.Lent, nil
}

// ConnectLent is Connect for a program that uses the files below dir.
func (c *Control) ConnectLent(ctx context.Context, host, login, dir string) (Connected, error) {
	return c.connected(ctx, request{Verb: verbConnect, Host: host, Login: login, Files: dir})
}

func (c *Control) connected(ctx context.Context, req request) (Connected, error) {
	began := time.Now()
	req.Trace, req.Unseen = c.Trace != nil, c.Unseen
	out, err := c.ask(ctx, req)
	if err == nil && out.Connected == nil {
		err = errors.New("the agent gave no connection")
	}
	if err != nil {
		return Connected{}, err
	}
	ended := time.Now() // of the last one: what went before the first, as starting the agent, has been told
	for _, s := range out.Connected.Steps {
		ended = ended.Add(-s.Took)
	}
	for _, s := range out.Connected.Steps {
		ended = ended.Add(s.Took)
		c.Trace(Step{"agent: " + s.What, s.Took, ended})
	}
	c.note(began, "the agent has answered in all")
	return *out.Connected, nil
}

// note tells what was done since began, if anybody wants to know.
func (c *Control) note(began time.Time, what string) {
	if c.Trace != nil {
		c.Trace(Step{What: what, Took: time.Since(began)})
	}
}

// Impostor has the agent tell the control plane that something else answers at the address
// of a gateway; or, if it names a server, that it showed anything but its host certificate.
// It does not wait for that.
func (c *Control) Impostor(ctx context.Context, met api.Impostor) error {
	verb := verbImpostor
	if met.Server != "" {
		verb = verbHostKey
	}
	_, err := c.runningOnly().ask(ctx, request{Verb: verb, Impostor: &met})
	return err
}

// Status asks how it is.
func (c *Control) Status(ctx context.Context) (Status, error) {
	out, err := c.ask(ctx, request{Verb: verbStatus})
	if err != nil {
		return Status{}, err
	}
	if out.Status == nil {
		return Status{}, errors.New("the agent gave no status")
	}
	return *out.Status, nil
}

// Running reports whether an agent answers, and its process id. It starts none.
func (c *Control) Running(ctx context.Context) (pid int, ok bool) {
	s, err := c.runningOnly().Status(ctx)
	return s.PID, err == nil
}

// Catalog is the one that the agent keeps, and how long ago it was known to be current.
func (c *Control) Catalog(ctx context.Context) (api.Catalog, time.Duration, error) {
	out, err := c.ask(ctx, request{Verb: verbCatalog, Columns: true})
	if err == nil && out.Catalog == nil {
		err = errors.New("the agent gave no catalog")
	}
	if err != nil {
		return api.Catalog{}, 0, err
	}
	return *out.Catalog, out.Age, nil
}

// Refresh has the agent fetch the catalog and write ssh's files now; it returns after that.
func (c *Control) Refresh(ctx context.Context) error {
	_, err := c.ask(ctx, request{Verb: verbRefresh})
	return err
}

// SignInChanged has a running agent read the session again. It starts none. Where the user is
// the same as before his keys and files stay: what begins at this moment goes on.
func (c *Control) SignInChanged(ctx context.Context, same bool) {
	c.runningOnly().ask(ctx, request{Verb: verbSignInChanged, Same: same}) // without an agent there is nothing to tell
}

// Stop ends a running agent; ErrNotRunning if there is none.
func (c *Control) Stop(ctx context.Context) error {
	_, err := c.runningOnly().ask(ctx, request{Verb: verbStop})
	return err
}

// ask sends one request. An agent that ends in the very moment is asked once more, which
// starts a new one where that is wanted.
func (c *Control) ask(ctx context.Context, req request) (answer, error) {
	out, err := c.askOnce(ctx, req)
	if errors.Is(err, errNoAnswer) && ctx.Err() == nil {
		out, err = c.askOnce(ctx, req)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{}, ctx.Err()
	case err != nil:
		return answer{}, err
	case out.Error != nil:
		return answer{}, out.Error
	}
	return out, nil
}

// readAnswer reads an answer, with what was handed over beside it.
func readAnswer(conn net.Conn) (answer, error) {
	text, handed, err := readWith(conn)
	if err != nil {
		return answer{}, err
	}
	out, err := decodeAnswer(text)
	switch {
	case handed == nil:
	case err != nil || out.Connected == nil:
		handed.Close()
	default:
		out.Connected.Conn = handed
	}
	return out, err
}

var errNoAnswer = errors.New("the local agent gave no answer")

func (c *Control) askOnce(ctx context.Context, req request) (answer, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(answerTime + requestTime)); err != nil {
		return answer{}, err
	}
	line, err := json.Marshal(req)
	if err != nil {
		return answer{}, err
	}
	var out answer
	if _, err = conn.Write(append(line, '\n')); err == nil {
		out, err = readAnswer(conn)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w; type: cardea agent status", errNoAnswer, err)
	}
	return out, nil
}
