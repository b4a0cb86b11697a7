package daemon

import (
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxQueued bounds what waits to be written, in bytes: some thousand lines.
	maxQueued = 1 << 20
	// lastLines is how long a program that ends waits for its last lines to be taken.
	lastLines = 2 * time.Second
)

// Queued is Logger for a program that must not stop where its log does: a pipe that nobody
// reads, or a collector that hangs, would hold up whoever has something to say. What finds
// no room is counted, and that is logged when there is some again. The returned function writes
// what is left, and is called when the program ends.
func (o LogOptions) Queued(w io.Writer) (*slog.Logger, func(), error) {
	q := &logQueue{to: w, some: make(chan struct{}, 1), done: make(chan struct{})}
	log, err := o.Logger(q)
	if err != nil {
		return nil, nil, err
	}
	go q.run(func(lost int) { log.Warn("lines of this log were lost, since nobody took them", "lines", lost) })
	return log, q.close, nil
}

// logQueue is a writer that never waits.
type logQueue struct {
	to   io.Writer
	some chan struct{} // holds one: there is something to do
	done chan struct{} // closed when run has ended

	mu      sync.Mutex
	waiting []byte // guarded by mu, as all below
	lost    int    // lines since the last that was told
	closed  bool
}

// Write takes a line; slog writes one at a time.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting)+len(line) > maxQueued {
		q.lost++
		return len(line), nil
	}
	q.waiting = append(q.waiting, line...)
	q.wake()
	return len(line), nil
}

func (q *logQueue) wake() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// run writes until the queue is closed and empty. An error, as of a full disk, costs what was
// to be written and nothing else.
func (q *logQueue) run(tell func(lost int)) {
	defer close(q.done)
	var spare []byte
	for range q.some {
		q.mu.Lock()
		text, lost, closed := q.waiting, q.lost, q.closed
		q.waiting, q.lost = spare[:0], 0
		q.mu.Unlock()
		if len(text) > 0 {
			q.to.Write(text)
		}
		if lost > 0 && !closed {
			tell(lost)
		}
		if closed {
			return
		}
		spare = text
	}
}

func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(lastLines):
	}
}
