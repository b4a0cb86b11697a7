package password

import (
	"context"
	"errors"
)

// What one instance spends on passwords at a time. Two hashes are 38 MiB and,
// on a small machine, all of its cores; 32 more may wait, which is about half a
// second. Whoever comes then is sent away rather than made to wait longer.
const (
	Working = 2
	Waiting = 32
)

// ErrBusy means that too many passwords are being checked; try again later.
var ErrBusy = errors.New("too many passwords are being checked at once")

// Queue hashes and checks passwords, a few at a time. Make it with NewQueue;
// one serves a whole process.
type Queue struct {
	places  chan struct{} // those working and those waiting
	working chan struct{}
}

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	return &Queue{places: make(chan struct{}, Working+Waiting), working: make(chan struct{}, Working)}
}

// Hash is the function Hash when its turn comes. ErrBusy if the queue is full.
func (q *Queue) Hash(ctx context.Context, password string) (string, error) {
	leave, err := q.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return Hash(password)
}

// Verify is the function Verify when its turn comes. ErrBusy if the queue is full.
func (q *Queue) Verify(ctx context.Context, hash, password string) (bool, error) {
	leave, err := q.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	return Verify(hash, password)
}

// enter takes a place and waits for the turn.
func (q *Queue) enter(ctx context.Context) (leave func(), err error) {
	select {
	case q.places <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case q.working <- struct{}{}:
		return func() { <-q.working; <-q.places }, nil
	case <-ctx.Done():
		<-q.places
		return nil, ctx.Err()
	}
}
