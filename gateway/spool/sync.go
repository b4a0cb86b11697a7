package spool

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// syncer syncs what was written, some time after the first byte, so that one sync
// serves many. While nothing is written it does nothing.
type syncer struct {
	every time.Duration
	slots chan struct{}
	under sync.WaitGroup

	mu    sync.Mutex
	dirty []*segment
	timer bool
	over  bool // nothing more begins
}

func (y *syncer) init(opt Options) {
	y.every, y.slots = opt.syncEvery, make(chan struct{}, syncsAtOnce)
}

// add has a segment synced within the time. Its mutex is held.
func (y *syncer) add(g *segment) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.over {
		y.enlist(g)
	}
}

// again is add for a sync of this syncer's, during which more was written: wait waits for that,
// too.
func (y *syncer) again(g *segment) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.enlist(g)
}

func (y *syncer) enlist(g *segment) {
	y.dirty = append(y.dirty, g)
	if y.timer {
		return
	}
	y.timer = true
	y.under.Add(1)
	time.AfterFunc(y.every, y.batch)
}

// batch begins a sync of each dirty segment. A file whose sync hangs delays no other.
func (y *syncer) batch() {
	defer y.under.Done()
	y.mu.Lock()
	dirty := y.dirty
	y.dirty, y.timer = nil, false
	y.mu.Unlock()
	for _, g := range dirty {
		y.under.Add(1)
		go func() {
			defer y.under.Done()
			y.slots <- struct{}{}
			defer func() { <-y.slots }()
			g.mu.Lock()
			idle := g.syncing || g.closed || g.err != nil || g.written == g.synced
			if !idle {
				g.syncing = true
			}
			g.mu.Unlock()
			if !idle {
				g.sync(y.again)
			}
		}()
	}
}

// wait returns when all is synced that add was told of, and ends the syncer.
func (y *syncer) wait() {
	y.mu.Lock()
	y.over = true
	y.mu.Unlock()
	y.under.Wait()
}

// syncFolder makes the folder of a session durable, with all that leads to it: the
// first sync of a session is not done before that.
func (x *Session) syncFolder() error {
	f, err := os.Open(filepath.Join(x.entry.dir, metaFile))
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	sync := x.spool.opt.syncDir
	return errors.Join(err, sync(x.entry.dir), sync(x.spool.opt.Dir))
}
