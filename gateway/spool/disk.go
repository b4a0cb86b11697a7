package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// goodProbes in a row end the state of a failing disk.
const goodProbes = 3

// probeFile is what a failing disk is tried with.
const probeFile = ".probe"

// diskHealth remembers that the disk did not keep what it was given. From then on no
// session begins until the disk has kept something again, several times.
type diskHealth struct {
	hangs time.Duration // how long it may take

	mu    sync.Mutex
	err   error // why it is failing; nil: it is not
	good  int   // probes in a row
	asked map[*time.Time]struct{}
}

// ask notes that the disk is asked for something, until its answer is noted.
func (d *diskHealth) ask() (answered func()) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked == nil {
		d.asked = map[*time.Time]struct{}{}
	}
	d.asked[&now] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.asked, &now)
	}
}

func (d *diskHealth) broke(err error) {
	if isFull(err) {
		return // that is the room's to say
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.good = err, 0
}

func (d *diskHealth) failing() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := range d.asked {
		if waits := time.Since(*at); waits > d.hangs {
			return fmt.Errorf("%w: it has not answered for %s", ErrFailing, waits.Round(time.Second))
		}
	}
	if d.err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrFailing, d.err)
}

// probe tries a failing disk.
func (d *diskHealth) probe(opt Options) {
	if d.failing() == nil {
		return
	}
	defer d.ask()()
	path := filepath.Join(opt.Dir, probeFile)
	os.Remove(path)
	f, err := opt.open(path)
	if err == nil {
		_, err = f.Write([]byte("cardea\n"))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	os.Remove(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.err, d.good = err, 0
		return
	}
	if d.good++; d.good >= goodProbes {
		d.err, d.good = nil, 0
	}
}
