package spool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MinReserve is the least that stays free by default: it lets a hundred sessions
	// run on for a while, and the machine work.
	MinReserve = 2 << 30
	// reservePart is the part of the file system that stays free by default, one in so
	// many: large disks fill faster than small ones.
	reservePart = 10
	// measureAfter is how much may be written before the room is measured again.
	measureAfter = 32 << 20
	// measureLife is how long a measure is good for a session that begins.
	measureLife = time.Second
	// quotaPart is the part of the reserve that running sessions may use, one in so
	// many. The rest is for what has to be written to finish and to store them.
	quotaPart = 2
)

// room watches the free space of the spool's file system. Below the reserve no session
// begins, and each that runs may write its share of the reserve, and no more: one
// that prints without end must not take the room of the others.
type room struct {
	dir     string
	asked   int64 // what the options say
	free    func(string) (int64, int64, error)
	written atomic.Int64 // since the last measure

	mu      sync.Mutex
	at      time.Time
	left    int64
	reserve int64
	err     error
	low     bool
	share   int64 // of each session, while low
	round   int   // counts the times that it became low
}

func (r *room) init(opt Options) { r.dir, r.asked, r.free = opt.Dir, opt.Reserve, opt.free }

// freeSpace is what is left to this process, and the size of the file system.
func freeSpace(path string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("measure the room of %s: %w", path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// measure looks at the file system, on which so many sessions run.
func (r *room) measure(running int) (low bool) {
	free, total, err := r.free(r.dir)
	r.written.Store(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.err = time.Now(), err
	if err != nil {
		return true
	}
	r.left, r.reserve = free, r.asked
	if r.reserve == 0 {
		r.reserve = max(MinReserve, total/reservePart)
	}
	low = free < r.reserve
	if low && !r.low {
		r.round++
		r.share = r.reserve / quotaPart / int64(max(1, running))
	}
	r.low = low
	return low
}

// admit says whether there is room for one session more.
func (r *room) admit(running int) error {
	r.mu.Lock()
	old := time.Since(r.at) > measureLife
	r.mu.Unlock()
	if old {
		r.measure(running)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return fmt.Errorf("%w: %w", ErrFailing, r.err)
	case r.low:
		return fmt.Errorf("%w: %d MiB are free below %s, and %d are kept", ErrFull, r.left>>20, r.dir, r.reserve>>20)
	}
	return nil
}

// quota is what a session may write while the room is low.
func (r *room) quota() (low bool, share int64, round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.low, r.share, r.round
}

// charge counts what a session is about to write. Where its share is used up it waits
// a while for others to leave, or to be stored.
func (x *Session) charge(n int64) error {
	r := &x.spool.room
	if r.written.Add(n) > measureAfter {
		r.measure(x.spool.recording())
	}
	for end := time.Now().Add(x.spool.opt.patience); ; time.Sleep(lookAgain) {
		low, share, round := r.quota()
		if !low {
			return nil
		}
		x.mu.Lock()
		if x.round != round {
			x.round, x.charged = round, 0
		}
		fits := x.charged+n <= share
		if fits {
			x.charged += n
		}
		x.mu.Unlock()
		if fits {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: the session has used the %d KiB that were kept for it", ErrFull, share>>10)
		}
		r.measure(x.spool.recording())
	}
}
