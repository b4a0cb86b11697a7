package spool

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/recording"
)

// Session is a recording that is being written: the Sink of its Writer.
type Session struct {
	spool *Spool
	entry *entry
	// completing are the segments that are being read once more to be hashed.
	completing sync.WaitGroup
	folder     sync.Once // the first sync makes the folder durable

	mu      sync.Mutex
	err     error // the first one; nothing is written any more
	lost    int64 // bytes that were written and not kept
	charged int64 // bytes since the disk fell below its reserve
	round   int   // the time that charged is of; see room
	current *segment
}

// Create begins a segment.
func (x *Session) Create(number int) (recording.Segment, error) {
	if err := x.spool.busy(); err != nil {
		return nil, err
	}
	defer x.spool.work.Done()
	if err := x.failure(); err != nil {
		return nil, err
	}
	path := filepath.Join(x.entry.dir, recording.SegmentName(number))
	f, err := x.spool.await(func() (file, error) {
		defer x.spool.disk.ask()()
		return x.spool.opt.open(path)
	})
	if err != nil {
		return nil, x.fail(fmt.Errorf("make a segment: %w", x.spool.noRoom(err)), 0)
	}
	g := &segment{session: x, number: number, file: f}
	g.cond.L = &g.mu
	x.mu.Lock()
	x.current = g
	x.mu.Unlock()
	return g, nil
}

// await tries again for a while where there is no room or no descriptor.
func (s *Spool) await(open func() (file, error)) (file, error) {
	for end := time.Now().Add(s.opt.patience); ; time.Sleep(lookAgain) {
		f, err := open()
		if err == nil || !isFull(err) && !isBusy(err) || time.Now().After(end) {
			return f, err
		}
	}
}

// failure is the first error of the session.
func (x *Session) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// fail notes an error, the first of which is that of everything after it, and bytes
// that are lost by it.
func (x *Session) fail(err error, lost int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lost += lost
	if x.err == nil {
		x.err = err
		x.spool.log.Error("a recording cannot go on", "session", x.entry.meta.Session, "error", err, "lost", lost)
	}
	return x.err
}

// closed takes note of a segment that is whole, and hashes it while the session goes
// on: what is uploaded later must be what was written now.
func (x *Session) closed(number int, size int64) {
	if x.spool.busy() != nil {
		return // whoever comes next finds the file
	}
	x.completing.Add(1)
	go func() {
		defer x.spool.work.Done()
		defer x.completing.Done()
		seg, err := hashed(x.entry.dir, number)
		if err == nil && seg.Size != size {
			err = fmt.Errorf("segment %d has %d bytes, not the %d that were written", number, seg.Size, size)
		}
		e := x.entry
		e.mu.Lock()
		defer e.mu.Unlock()
		if err != nil {
			e.meta.fault("segment %d: %v", number, err)
			x.spool.log.Error("a segment cannot be read back", "session", e.meta.Session, "segment", number, "error", err)
			return // Finish looks at all files once more
		}
		e.meta.add(seg)
		x.spool.save(e)
		x.spool.wake()
	}()
}

// add puts a segment in its place.
func (m *Meta) add(seg Segment) {
	at := len(m.Segments)
	for at > 0 && m.Segments[at-1].Number >= seg.Number {
		if at--; m.Segments[at].Number == seg.Number {
			return
		}
	}
	m.Segments = append(m.Segments[:at], append([]Segment{seg}, m.Segments[at:]...)...)
}

// hashed reads a segment's file. The link at its end is no substitute: it is a hash over
// frames, each with the link before, and to check it costs as much as this does.
func hashed(dir string, number int) (Segment, error) {
	f, err := openPlain(filepath.Join(dir, recording.SegmentName(number)), os.O_RDONLY)
	if err != nil {
		return Segment{}, err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	return Segment{Number: number, Size: size, SHA256: hex.EncodeToString(h.Sum(nil)), Kept: Here}, err
}

// Finish ends the recording after its Writer was closed. Where that could not write
// the end, Finish does, with the cause, under key; then what was lost is marked. After
// the spool is closed that is left to whoever comes next.
func (x *Session) Finish(cause string, key ed25519.PrivateKey) error {
	if err := x.spool.busy(); err != nil {
		return err
	}
	defer x.spool.work.Done()
	x.mu.Lock()
	current, err, lost := x.current, x.err, x.lost
	x.mu.Unlock()
	if current != nil {
		err = errors.Join(err, current.Close())
	}
	x.completing.Wait()
	e := x.entry
	e.mu.Lock()
	defer e.mu.Unlock()
	x.over()
	if err != nil {
		e.meta.fault("%v", err)
	}
	return x.spool.finish(e, ending{key: key, cause: cause, lost: lost})
}

// over says that this process does not write the recording any more; e.mu is held.
func (x *Session) over() {
	x.spool.mu.Lock()
	defer x.spool.mu.Unlock()
	x.entry.live = nil
}
