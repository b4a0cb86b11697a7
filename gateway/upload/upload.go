package upload

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/cardea-ssh/cardea/internal/bucket"
)

const (
	// inFlight bounds the bytes of objects that are being sent or read back at once.
	inFlight = 48 << 20
	// leastWeight is what an object counts at least, so that small ones are not sent by
	// the thousand: 24 at once.
	leastWeight = 2 << 20
	// Back-off after an error, with full jitter: any time up to a bound that doubles
	// from retryMin to retryMax.
	retryMin = time.Second
	retryMax = 3 * time.Minute
	// awayAfter errors in a row mean that it is the store and not the object: then one
	// object alone is tried, until one succeeds.
	awayAfter = 4
	// maxRead bounds what is read at once of a file whose rate is limited, in bytes.
	maxRead = 64 << 10
	// reopenAfter is how long an opened bucket is kept after an error: credentials may
	// have been changed meanwhile, and are read when it is opened.
	reopenAfter = 5 * time.Second
)

// Source is what has to be stored. Its methods may be called at the same time.
type Source interface {
	// Objects are all that have to be stored now, the most urgent first.
	Objects() []Object
	// Stored is called when an object was read back. An error means once more.
	Stored(Object) error
	// Refused is called with what can never be stored, and why. It is to be set aside,
	// so that Objects has it no more.
	Refused(Object, error)
}

// Options are what an Uploader runs with.
type Options struct {
	URL string // as the package internal/bucket has it
	// Rate bounds what is sent, in bytes a second; zero means no bound.
	Rate int64
	Log  *slog.Logger

	// For tests.
	open               func(context.Context, string) (*blob.Bucket, error)
	retryMin, retryMax time.Duration
}

// Uploader stores what a Source has.
type Uploader struct {
	opt   Options
	limit limiter
	room  *semaphore.Weighted

	// opening is held while the bucket is opened, which may take a while. It is taken
	// before mu.
	opening sync.Mutex
	bucket  *blob.Bucket
	opened  time.Time

	mu     sync.Mutex
	stale  bool // an error came since the bucket was opened
	tries  map[string]*try
	status Status
	row    int       // errors in a row
	last   time.Time // of these
	pause  time.Time // until then, if it is the store
}

// try is what is known of an object that is not stored yet.
type try struct {
	running bool
	errors  int
	next    time.Time // not before
}

// Status is how it goes.
type Status struct {
	Objects, Bytes int64     // stored since the start
	Since          time.Time // of the first of the errors in a row; zero: the last try succeeded
	Err            error     // the last of them
}

// New makes an Uploader. Nothing is opened before there is something to store.
func New(opt Options) (*Uploader, error) {
	if err := bucket.Check(opt.URL); err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.open == nil {
		opt.open = bucket.Open
	}
	if opt.retryMin == 0 {
		opt.retryMin, opt.retryMax = retryMin, retryMax
	}
	u := &Uploader{opt: opt, room: semaphore.NewWeighted(inFlight), tries: map[string]*try{}}
	if opt.Rate > 0 {
		u.limit = limiter{rate.NewLimiter(rate.Limit(opt.Rate), max(maxRead, int(min(opt.Rate, 1<<30))))}
	}
	return u, nil
}

// Status tells how it goes.
func (u *Uploader) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

// Run stores what the source has until ctx ends, and looks again when changed holds
// something.
func (u *Uploader) Run(ctx context.Context, s Source, changed <-chan struct{}) error {
	var running sync.WaitGroup
	defer running.Wait()
	again := make(chan struct{}, 1)
	for {
		wait := u.start(ctx, s, &running, again)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case <-again:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long Run sleeps when nothing is to be done; it is woken.
const idle = time.Minute

// start begins all tries that are due and for which there is room, and says how long
// nothing more is.
func (u *Uploader) start(ctx context.Context, s Source, running *sync.WaitGroup, again chan struct{}) time.Duration {
	// A try that ends from here on may have its object in the list and be over when the
	// list is looked through. Its end wakes us to look again.
	before := u.running()
	objects := s.Objects()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(objects)
	now, wait := time.Now(), idle
	busy := 0
	for _, t := range u.tries {
		if t.running {
			busy++
		}
	}
	// Those that were not tried go before those that failed.
	slices.SortStableFunc(objects, func(a, b Object) int { return u.errors(a.Key) - u.errors(b.Key) })
	for _, o := range objects {
		t := u.tries[o.Key]
		if t == nil {
			t = new(try)
			u.tries[o.Key] = t
		}
		next := t.next
		if u.row >= awayAfter {
			next = u.later(t)
		}
		switch {
		case t.running, before[o.Key]:
			continue
		case next.After(now):
			wait = min(wait, next.Sub(now))
			continue
		case u.row >= awayAfter && busy > 0, !u.room.TryAcquire(weight(o)):
			return wait // one that is running has to end first, and wakes us
		}
		t.running = true
		busy++
		running.Go(func() {
			u.end(ctx, s, o, t, u.store(ctx, o))
			u.room.Release(weight(o))
			select {
			case again <- struct{}{}:
			default:
			}
		})
	}
	return wait
}

// running are the keys of the objects that are being tried.
func (u *Uploader) running() map[string]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	keys := make(map[string]bool)
	for key, t := range u.tries {
		if t.running {
			keys[key] = true
		}
	}
	return keys
}

// later is when an object may be tried while the store seems to be away: one that
// failed not before the pause is over. One that was never tried may show that it is not
// the store at all, and waits no longer than the shortest pause; u.mu is held.
func (u *Uploader) later(t *try) time.Time {
	if t.errors == 0 && u.pause.Sub(u.last) > u.opt.retryMin {
		return u.last.Add(u.opt.retryMin)
	}
	if u.pause.After(t.next) {
		return u.pause
	}
	return t.next
}

func (u *Uploader) errors(key string) int {
	if t := u.tries[key]; t != nil {
		return t.errors
	}
	return 0
}

func weight(o Object) int64 { return min(max(o.Size, leastWeight), inFlight) }

// forget drops what is known of objects that are not to be stored any more; u.mu is held.
func (u *Uploader) forget(objects []Object) {
	if len(u.tries) <= len(objects) {
		return
	}
	wanted := make(map[string]bool, len(objects))
	for _, o := range objects {
		wanted[o.Key] = true
	}
	for key, t := range u.tries {
		if !wanted[key] && !t.running {
			delete(u.tries, key)
		}
	}
}

// end takes the outcome of a try.
func (u *Uploader) end(ctx context.Context, s Source, o Object, t *try, err error) {
	final := errors.Is(err, ErrConflict) || errors.Is(err, ErrSource)
	switch {
	case final:
		u.opt.Log.Error("cannot store an object, ever", "object", o.Key, "error", err)
		s.Refused(o, err)
	case err == nil:
		err = s.Stored(o)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	t.running = false
	if err == nil || final {
		// The store answers, whatever it says.
		t.errors, t.next = 0, time.Time{}
		u.row, u.status.Since, u.status.Err = 0, time.Time{}, nil
		if err == nil {
			u.status.Objects++
			u.status.Bytes += o.Size
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if u.row == 0 {
		u.status.Since = now
	}
	u.row++
	u.stale, u.status.Err = true, err
	t.errors++
	t.next = now.Add(u.backoff(t.errors))
	u.last, u.pause = now, now.Add(u.backoff(u.row))
	u.opt.Log.Warn("cannot store an object; it is tried again", "object", o.Key, "tries", t.errors, "error", err)
}

// backoff is any time up to the bound after so many errors.
func (u *Uploader) backoff(errors int) time.Duration {
	bound := u.opt.retryMax
	if shift := errors - 1; shift < 16 {
		bound = min(bound, u.opt.retryMin<<shift)
	}
	return rand.N(bound) + 1
}

// open is the bucket, opened anew some time after an error.
func (u *Uploader) open(ctx context.Context) (*blob.Bucket, error) {
	u.opening.Lock()
	defer u.opening.Unlock()
	u.mu.Lock()
	keep := u.bucket != nil && !(u.stale && time.Since(u.opened) >= min(reopenAfter, u.opt.retryMax))
	u.mu.Unlock()
	if keep {
		return u.bucket, nil
	}
	b, err := u.opt.open(context.WithoutCancel(ctx), u.opt.URL)
	if err != nil {
		return nil, err
	}
	// The one before may still be in use, and is nothing but memory.
	u.bucket, u.opened = b, time.Now()
	u.mu.Lock()
	u.stale = false
	u.mu.Unlock()
	return b, nil
}

// limiter bounds a rate; the zero value does not.
type limiter struct{ inner *rate.Limiter }

func (l limiter) wait(ctx context.Context, n int) error {
	if l.inner == nil || n == 0 {
		return nil
	}
	return l.inner.WaitN(ctx, n)
}
