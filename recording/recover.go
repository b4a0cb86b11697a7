package recording

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Interrupted is the cause of a recording that another process had to end.
const Interrupted = "interrupted"

// ErrNoHead says that a segment has not even its head. Nothing can be done with it:
// put it aside, and recover the one before it.
var ErrNoHead = errors.New("the segment has no head")

// SegmentFile is a segment on disk; *os.File is one.
type SegmentFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// RecoverOptions are what Recover needs. Key must be set.
type RecoverOptions struct {
	Key   ed25519.PrivateKey
	Cause string           // "": Interrupted
	Now   func() time.Time // nil: time.Now
	// Lost are bytes that are missing and of which the file shows nothing, as where a
	// disk did not keep them. The end tells of them too.
	Lost int64
}

// Recovered tells what a segment was found to be, and is now.
type Recovered struct {
	Session, Gateway string
	Segment          int
	Bytes            int64 // of the file now
	Dropped          int64 // bytes behind the last whole frame, which are gone
	Damaged          int64 // bytes in the middle that cannot be read, and still stand there
	Already          bool  // it had its end: nothing was changed
	Head             string
	Key              string
	Cause            string
	Last             time.Duration // of the last signature before the end
}

// Recover ends the recording of which f is the last segment, and size its size, after
// the process that wrote it died. What stands behind the last whole frame is dropped,
// and a signed end is added that says so. It needs no key to read the recording, and
// is done again without harm.
func Recover(f SegmentFile, size int64, o RecoverOptions) (Recovered, error) {
	if size > MaxSegmentBytes {
		return Recovered{}, fmt.Errorf("%w: a segment of %d bytes is too large", ErrFormat, size)
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); int64(n) != size {
		return Recovered{}, fmt.Errorf("read the segment: %w", err)
	}
	s, err := newScanner(data)
	if err != nil {
		return Recovered{}, ErrNoHead
	}
	first, _, ok := s.next()
	if !ok {
		return Recovered{}, ErrNoHead
	}
	h, err := parseHead(first)
	if err != nil {
		return Recovered{}, ErrNoHead
	}
	r := Recovered{Session: h.Session, Gateway: h.Gateway, Segment: h.Segment, Last: time.Duration(h.At)}
	last := first
	for {
		f, lost, ok := s.next()
		if !ok {
			break
		}
		if !lost.link {
			r.Damaged += lost.to - lost.from
		}
		last = f
		if f.kind >= frameCheck {
			if seal, err := parseSigned(f.kind, f.body); err == nil {
				r.Last, r.Key, r.Cause = max(r.Last, seal.At), seal.Key, seal.Cause
			}
		}
	}
	r.Bytes, r.Head = last.end(), hex.EncodeToString(last.link[:])
	r.Dropped = size - r.Bytes
	if last.kind == frameEnd {
		r.Already = true
		if r.Dropped == 0 {
			return r, nil
		}
		return r, truncate(f, r.Bytes)
	}
	return r, r.finish(f, last, o)
}

func truncate(f SegmentFile, size int64) error {
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("drop the torn end of the segment: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the segment: %w", err)
	}
	return nil
}

// finish adds the end behind the last whole frame.
func (r *Recovered) finish(f SegmentFile, last frame, o RecoverOptions) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	orElse(&o.Cause, Interrupted)
	b := append(append([]byte(nil), last.link[:]...), make([]byte, headerSize)...)
	b, err := appendSigned(b, frameEnd, last.number+1, signed{At: r.Last, Wall: o.Now(), Lost: r.Dropped + r.Damaged + o.Lost, Cause: o.Cause}, where(r.Session, r.Segment), o.Key)
	if err != nil {
		return err
	}
	if err := truncate(f, r.Bytes); err != nil {
		return err
	}
	if _, err := f.WriteAt(b[linkSize:], r.Bytes); err != nil {
		return fmt.Errorf("write the end of the segment: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the segment: %w", err)
	}
	r.Bytes += int64(len(b) - linkSize)
	r.Head, r.Cause = hex.EncodeToString(b[len(b)-linkSize:]), o.Cause
	r.Key = KeyID(o.Key.Public().(ed25519.PublicKey))
	return nil
}
