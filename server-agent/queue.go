package serveragent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/server-agent/logins"
)

// queue keeps events on disk until the control plane has them. The file is a
// header and one event to a line; events are appended and synced, and the file
// is written anew when some of them have arrived.
type queue struct {
	path  string
	ready chan struct{} // has one value while something may be to send

	mu      sync.Mutex
	header  queueHeader      // guarded by mu
	events  []api.AgentEvent // guarded by mu
	dropped int              // since the last alarm about it; guarded by mu
	refused int64            // refusals that were not kept, for the next that is; guarded by mu
	file    *os.File         // for appending; guarded by mu
}

// queueHeader is the first line.
type queueHeader struct {
	// Synced is false until the control plane has said which number is next: an
	// agent whose folder was lost would begin with numbers that are taken.
	Synced bool `json:"synced"`
	// First is the number of the first event in the file.
	First int64 `json:"first"`
}

// maxQueueFile bounds the file, in bytes: maxQueue events of a KiB.
const maxQueueFile = 16 << 20

func openQueue(path string) (*queue, error) {
	q := &queue{path: path, ready: make(chan struct{}, 1)}
	raw, err := readSmall(path, maxQueueFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the queue of events: %w", err)
	}
	first := true
	for line := range bytes.Lines(raw) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // torn by a crash; it was never acknowledged to anybody
		}
		if first {
			if err := json.Unmarshal(line, &q.header); err != nil {
				break
			}
			first = false
			continue
		}
		var e api.AgentEvent
		if json.Unmarshal(line, &e) == nil {
			q.events = append(q.events, e)
		}
	}
	if err := q.rewrite(); err != nil {
		return nil, fmt.Errorf("open the queue of events: %w", err)
	}
	q.wake()
	return q, nil
}

// rewrite makes the file say what is in memory. q.mu is held, or q is new.
func (q *queue) rewrite() error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(q.header); err != nil {
		return err
	}
	for _, e := range q.events {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	if q.file != nil {
		q.file.Close()
		q.file = nil
	}
	if _, err := atomicfile.Write(q.path, b.Bytes(), atomicfile.Options{Mode: 0o600}); err != nil {
		return err
	}
	f, err := os.OpenFile(q.path, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	q.file = f
	return err
}

// add keeps events, with one write and one sync for all of them: five thousand
// accounts that are made at once are as many events. When the queue is full,
// events are counted instead, and refusals when half of it is: that half is for
// what strangers cannot cause.
func (q *queue) add(events ...api.AgentEvent) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.wake()
	had := len(q.events)
	for _, e := range events {
		q.take(e)
	}
	return q.keep(q.events[had:])
}

// take puts an event into memory, or counts it. q.mu is held.
func (q *queue) take(e api.AgentEvent) {
	if e.Kind == logins.Refused {
		e.More += q.refused
		q.refused = 0
		if len(q.events) >= maxRefusals {
			if q.refused = e.More; e.Key != "" {
				q.refused++
			}
			return
		}
	}
	if q.dropped > 0 && len(q.events) < maxQueue-1 {
		q.events = append(q.events, api.AgentEvent{At: time.Now().UTC(), Kind: "alarm", Detail: fmt.Sprintf("%d events were dropped because the queue was full", q.dropped)})
		q.dropped = 0
	}
	if len(q.events) >= maxQueue {
		q.dropped++
		return
	}
	q.events = append(q.events, e)
}

// keep writes what was taken behind the rest. q.mu is held.
func (q *queue) keep(events []api.AgentEvent) error {
	if len(events) == 0 {
		return nil
	}
	if q.file == nil {
		return q.rewrite()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	if _, err := q.file.Write(b.Bytes()); err != nil {
		// Perhaps half a line: the file is written anew with the next try.
		q.file.Close()
		q.file = nil
		return err
	}
	return q.file.Sync()
}

// batch is what to send next; ok is false if there is nothing to do.
func (q *queue) batch() (in api.AgentEvents, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	in = api.AgentEvents{First: q.header.First, Events: []api.AgentEvent{}}
	if !q.header.Synced {
		return in, true // ask for the number first
	}
	in.Events = append(in.Events, q.events[:min(len(q.events), maxPost)]...)
	return in, len(in.Events) > 0
}

// arrived takes the number that the control plane wants next. One that is
// below ours means that it was restored, one above all we have that we were:
// both times what is here gets the numbers it asks for.
func (q *queue) arrived(sent int, next int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	done := next - q.header.First
	if q.header.Synced && done > 0 && done <= int64(sent) {
		q.events = append(q.events[:0:0], q.events[done:]...)
	}
	q.header = queueHeader{Synced: true, First: next}
	if len(q.events) > 0 {
		q.wake()
	}
	return q.rewrite()
}

// skip drops the first event, which the control plane will not take.
func (q *queue) skip() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) > 0 {
		q.events = append(q.events[:0:0], q.events[1:]...)
	}
	return q.rewrite()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
