package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Bounds of the writer.
const (
	// maxQueue commands wait at most; at a thousand commits a second that is a
	// second of waiting, after which a caller is better told to come again.
	maxQueue = 1024
	// maxTries of a command that races with other instances. Who disables a user in the
	// midst of a storm of his connections meets many of them.
	maxTries = 12
)

// command is one atomic change on its way through the writer.
type command struct {
	ctx  context.Context
	meta store.Meta
	// run may be called again after a race; it must not keep state.
	run func(*tx) error
	// directory: it may raise the team's revision.
	directory bool
	err       error // its outcome, the writer's alone until done
	done      chan error
}

// kept marks the error of a command whose changes stay, with these audit rows in place
// of its own.
type kept struct {
	error
	audit [][]byte
}

func (k kept) Unwrap() error { return k.error }

// again says that a whole transaction came to nothing and may be tried again.
type again struct {
	error
	lost bool // with the connection
}

// writer is the one goroutine that changes the database for this instance.
type writer struct {
	eng    *engine
	hub    *hub
	log    *slog.Logger
	conn   *conn
	sender string // distinguishes this process's notifications

	instance string
	epoch    int64
	head     head // the goroutine's alone
	known    bool // head is what the database has
	fenced   bool
	careful  int           // batches that still are to go behind savepoints
	last     int           // commands in the last commit
	took     time.Duration // of the last commit

	mu     sync.RWMutex
	closed bool // guarded by mu
	queue  chan *command
	done   chan struct{}
}

func newWriter(ctx context.Context, e *engine, h *hub, o Options) (*writer, error) {
	w := &writer{
		eng: e, hub: h, log: o.Logger, conn: &conn{eng: e}, sender: rand.Text(), instance: o.Instance,
		queue: make(chan *command, maxQueue), done: make(chan struct{}),
	}
	if err := w.conn.open(ctx); err != nil {
		return nil, err
	}
	if err := w.takeEpoch(ctx); err != nil {
		w.conn.close()
		return nil, err
	}
	return w, nil
}

// submit hands a command over and waits for its outcome.
func (w *writer) submit(c *command) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	c.done = make(chan error, 1)
	if err := w.enqueue(c); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return err
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (w *writer) enqueue(c *command) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- c:
		return nil
	default:
		return ErrBusy
	}
}

// close lets what waits finish.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	defer w.conn.close()
	for c := range w.queue {
		w.serve(w.gather(c))
	}
}

// serve commits a batch and tells each command's caller.
func (w *writer) serve(batch []*command) {
	live := batch[:0]
	for _, c := range batch {
		if err := c.ctx.Err(); err != nil {
			c.done <- err
			continue
		}
		live = append(live, c)
	}
	if len(live) == 0 {
		return
	}
	w.tell(live, w.persist(live))
}

// persist tries a batch until it neither races nor loses its connection: after
// a race each command goes alone, so that one that races again holds up no
// other; a connection is replaced once.
func (w *writer) persist(batch []*command) error {
	err := w.attempt(batch)
	var retry again
	for try, lost := 1, false; try < maxTries && errors.As(err, &retry) && !lost; try++ {
		time.Sleep(jitter(try))
		if !retry.lost && len(batch) > 1 {
			for _, c := range batch {
				one := []*command{c}
				if err := w.persist(one); err != nil {
					c.err = err
				}
			}
			return nil
		}
		lost = retry.lost
		err = w.attempt(batch)
	}
	return err
}

// jitter is up to 5 ms for each try: racing instances must not stay in step.
func jitter(try int) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(try)*int64(5*time.Millisecond)))
	if err != nil {
		return time.Millisecond
	}
	return time.Duration(n.Int64())
}

func (w *writer) tell(batch []*command, err error) {
	for _, c := range batch {
		if err != nil {
			c.err = err
		}
		c.done <- c.err
	}
}
