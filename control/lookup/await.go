package lookup

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

// pace is the least time between two reads of one waiting call. A watcher may
// wake without reason, and a burst of changes is one change to who waits.
const pace = 50 * time.Millisecond

// Await calls read at once, and again after each commit to the topics that read
// named last, until it returns a value or an error, or until wait is over; then
// it returns nil. Topics are watched before the read that they belong to, so no
// change falls between; those that are known before the first read save a second.
func Await[T any](ctx context.Context, w store.Watcher, wait time.Duration, topics []string, read func(context.Context) (value *T, topics []string, err error)) (*T, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		value, named, wake, release, err := watchThenRead(ctx, w, topics, read)
		if err != nil || value != nil || wait <= 0 {
			release()
			return value, err
		}
		if !slices.Equal(topics, named) {
			// What to watch became known only now: read once more under its watch.
			topics = named
			release()
			continue
		}
		paced := time.NewTimer(pace)
		woken := rest(ctx, over, wake) && rest(ctx, over, paced.C)
		paced.Stop()
		release()
		if !woken {
			return nil, ctx.Err()
		}
	}
}

// rest waits for c, and reports whether it came before the end.
func rest[T any](ctx context.Context, over *time.Timer, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-over.C:
		return false
	case <-ctx.Done():
		return false
	}
}

func watchThenRead[T any](ctx context.Context, w store.Watcher, topics []string, read func(context.Context) (*T, []string, error)) (value *T, next []string, wake <-chan struct{}, release func(), err error) {
	watch, cancel := context.WithCancel(ctx)
	if len(topics) > 0 {
		wake = w.Watch(watch, topics...)
	}
	value, next, err = read(ctx)
	return value, next, wake, cancel, err
}

// Wait is how long a poll is held that asked for so many seconds: never longer
// than api.LongPoll, and up to a tenth less by chance, so that callers which
// came together do not come together for ever.
func Wait(seconds int) time.Duration {
	d := min(time.Duration(max(seconds, 0))*time.Second, api.LongPoll)
	return d - time.Duration(rand.Float64()*float64(d)/10)
}
