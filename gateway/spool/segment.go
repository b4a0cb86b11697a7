package spool

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// segment is a file that is being written. It knows how much of it is on the disk.
type segment struct {
	session *Session
	number  int
	file    file

	mu      sync.Mutex
	cond    sync.Cond // a sync has ended
	written int64
	synced  int64
	since   time.Time // when the oldest unsynced byte was written; zero: none is
	later   time.Time // the same, of what was written while a sync runs
	syncing bool
	placed  bool // the folder knows of the file; of whoever syncs
	closed  bool
	err     error
}

// Write hands b to the kernel as a whole, or not at all. It returns when no byte of
// the segment is older than the limit and not on the disk.
func (g *segment) Write(b []byte) (int, error) {
	if err := g.session.spool.busy(); err != nil {
		return 0, err
	}
	defer g.session.spool.work.Done()
	if err := g.session.failure(); err != nil {
		return 0, err
	}
	if err := g.session.charge(int64(len(b))); err != nil {
		return 0, g.session.fail(err, 0)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, errors.New("the segment is closed")
	}
	at := time.Now()
	if err := g.put(b); err != nil {
		return 0, g.session.fail(err, 0)
	}
	if g.since.IsZero() {
		g.since = at
		g.session.spool.syncs.add(g)
	} else if g.syncing && g.later.IsZero() {
		g.later = at
	}
	if err := g.withhold(); err != nil {
		return 0, err
	}
	return len(b), nil
}

// put writes b, and waits a while for room; g.mu is held. A part is taken back: a
// frame is there or not.
func (g *segment) put(b []byte) error {
	s := g.session.spool
	for end := time.Now().Add(s.opt.patience); ; {
		n, err := g.file.Write(b)
		if err == nil && n == len(b) {
			g.written += int64(n)
			return nil
		}
		if err == nil {
			err = syscall.ENOSPC // a short write without an error is one of these
		}
		if cut := g.file.Truncate(g.written); cut != nil {
			return fmt.Errorf("write the recording: %w", errors.Join(err, cut))
		}
		if !isFull(err) {
			s.disk.broke(err)
			return fmt.Errorf("write the recording: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("write the recording: %w: %w", ErrFull, err)
		}
		g.mu.Unlock() // a sync may go on
		time.Sleep(lookAgain)
		g.mu.Lock()
	}
}

// withhold waits while the oldest unsynced byte is older than the limit; g.mu is held. It does not
// wait for a disk that says nothing at all.
func (g *segment) withhold() error {
	s := g.session.spool
	var end time.Time
	for g.err == nil && !g.since.IsZero() && time.Since(g.since) >= s.opt.syncLimit {
		switch {
		case end.IsZero():
			end = time.Now().Add(s.opt.hangs)
			defer time.AfterFunc(s.opt.hangs, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.cond.Broadcast()
			}).Stop()
		case !time.Now().Before(end):
			err := fmt.Errorf("the disk has kept nothing for %s", time.Since(g.since).Round(time.Second))
			s.disk.broke(err)
			return g.session.fail(err, 0)
		}
		g.cond.Wait()
	}
	return g.err
}

// Sync returns when all that was written is on the disk.
func (g *segment) Sync() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && g.written > g.synced {
		if g.syncing {
			g.cond.Wait()
			continue
		}
		g.syncing = true
		g.mu.Unlock()
		g.sync(g.session.spool.syncs.add)
		g.mu.Lock()
	}
	return g.err
}

// sync is one sync of the file; whoever calls it has set syncing. After an error
// the kernel may say that all is well the next time, though it is not: so there is no
// next time, and what was not synced is lost. later takes the segment if more was written
// meanwhile.
func (g *segment) sync(later func(*segment)) {
	g.mu.Lock()
	mark, at := g.written, time.Now()
	g.mu.Unlock()
	defer g.session.spool.disk.ask()()
	err := g.file.Sync()
	if err == nil {
		g.session.folder.Do(func() { err = g.session.syncFolder() })
	}
	if err == nil && !g.placed {
		g.placed = true
		err = g.session.spool.opt.syncDir(g.session.entry.dir)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.cond.Broadcast()
	g.syncing = false
	if err != nil {
		err = fmt.Errorf("%w: the disk did not keep %d bytes: %w", ErrLost, g.written-g.synced, err)
		g.session.spool.disk.broke(err)
		g.err = g.session.fail(err, g.written-g.synced)
		return
	}
	g.synced = mark
	g.since, g.later = g.later, time.Time{}
	if g.written == g.synced {
		g.since = time.Time{}
	} else if g.since.IsZero() {
		g.since = at
	}
	if !g.since.IsZero() {
		later(g)
	}
}

// Close syncs what was written. A second time does nothing.
func (g *segment) Close() error {
	err := g.Sync()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.syncing {
		g.cond.Wait()
	}
	if g.closed {
		return g.err
	}
	g.closed = true
	if g.err != nil {
		// What the disk did not keep is not there, whatever it says when it is read.
		g.file.Truncate(g.synced)
		g.file.Close()
		return g.err
	}
	if err = errors.Join(err, g.file.Close()); err != nil {
		g.err = g.session.fail(err, 0)
		return g.err
	}
	if g.session.failure() == nil {
		g.session.closed(g.number, g.written)
	}
	return nil
}

// isFull reports whether an error says that there is no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isBusy reports whether an error says that there are no descriptors or no memory.
func isBusy(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
