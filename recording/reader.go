package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
)

// Reader reads the events of a recording, and steps over what is damaged: there it
// returns an event Gap. It checks no signature; Verify does.
type Reader struct {
	segments   fs.FS
	identities []age.Identity
	numbers    []int // of the segments that are there, sorted

	wrapped, secret []byte // the session key
	barred          error  // why there is no secret

	header Header
	ready  *openSegment // one that is open already, behind its header
	next   int          // index of the segment to read after this one
	seg    *openSegment
	last   time.Duration
	ended  bool
	gap    []Event // to return before anything else
}

// openSegment is one in memory.
type openSegment struct {
	scan   *scanner
	head   head
	sealer *sealer
	room   []byte        // of a frame's plaintext
	packed []byte        // of a frame before it is decompressed
	batch  []byte        // events that are not read yet; they point into room
	base   time.Duration // of the time of the next of them
}

// NewReader opens the recording in a folder.
func NewReader(folder fs.FS, identities ...age.Identity) (*Reader, error) {
	numbers, err := Segments(folder)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%w: there is no %s", ErrFormat, SegmentName(1))
	}
	r := &Reader{segments: folder, identities: identities, numbers: numbers}
	// All segments have the same header, and one that can be read is enough. Where there
	// is none, what stands in a head must do.
	found := error(nil)
	for _, n := range numbers {
		seg, err := r.load(n)
		if err == nil {
			if err = r.readHeader(seg); err == nil {
				r.ready = seg
				return r, nil
			}
			r.header = Header{Session: seg.head.Session, Gateway: seg.head.Gateway}
		}
		if found == nil || errors.Is(err, ErrNoIdentity) {
			found = err
		}
	}
	if r.header.Session == "" {
		return nil, found
	}
	return r, nil
}

// Segments lists the numbers of the segments in a folder, sorted.
func Segments(folder fs.FS) ([]int, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, fmt.Errorf("list the recording: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), ".seg")
		n, err := strconv.Atoi(text)
		if ok && err == nil && n > 0 && n <= MaxSegments && e.Name() == SegmentName(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// readFile reads a segment, up to the largest that one may be.
func readFile(folder fs.FS, name string) ([]byte, error) {
	f, err := folder.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w", err)
	}
	defer f.Close()
	var data bytes.Buffer
	if info, err := f.Stat(); err == nil && info.Size() >= 0 && info.Size() <= MaxSegmentBytes {
		data.Grow(int(info.Size()) + bytes.MinRead) // so that it does not grow by doubling
	}
	if _, err := data.ReadFrom(io.LimitReader(f, MaxSegmentBytes+1)); err != nil {
		return nil, fmt.Errorf("read a segment: %w", err)
	}
	return data.Bytes(), nil
}

// load reads a segment up to its header.
func (r *Reader) load(number int) (*openSegment, error) {
	data, err := readFile(r.segments, SegmentName(number))
	if err != nil {
		return nil, err
	}
	seg := &openSegment{}
	copy(data, magic) // damage there is for the verifier: whether this is a segment its head says
	if seg.scan, err = newScanner(data); err != nil {
		return nil, err
	}
	f, _, ok := seg.scan.next()
	if !ok || f.number != 0 {
		if f, ok = seg.scan.mend(); !ok {
			return nil, fmt.Errorf("%w: the head of %s is damaged", ErrFormat, SegmentName(number))
		}
	}
	if seg.head, err = parseHead(f); err != nil {
		return nil, err
	}
	if seg.head.Segment != number {
		return nil, fmt.Errorf("%w: %s says that it is segment %d", ErrFormat, SegmentName(number), seg.head.Segment)
	}
	if !bytes.Equal(seg.head.Secret, r.wrapped) { // all segments have the same
		r.wrapped = seg.head.Secret
		r.secret, r.barred = unwrap(seg.head.Secret, r.identities)
	}
	if r.barred != nil {
		return nil, r.barred
	}
	seg.sealer, err = newSealer(r.secret, seg.head.Salt, seg.head.Session, seg.head.Segment)
	return seg, err
}

func (r *Reader) readHeader(seg *openSegment) error {
	f, _, ok := seg.scan.next()
	if !ok || f.kind != frameHeader {
		return fmt.Errorf("%w: a segment has no header", ErrFormat)
	}
	plain, err := seg.sealer.open(nil, f.body, f.kind, f.number)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, &r.header); err != nil {
		return fmt.Errorf("%w: a header cannot be read", ErrFormat)
	}
	return nil
}

// Header tells what the recording is of.
func (r *Reader) Header() Header { return r.header }

// Next returns the next event, and io.EOF behind the last. The data are good until
// the next call. A recording that is not at its end, or was cut off, has no event End.
func (r *Reader) Next() (Event, error) {
	for {
		if len(r.gap) > 0 {
			e := r.gap[0]
			r.gap = r.gap[1:]
			return e, nil
		}
		if r.seg == nil {
			if r.next == len(r.numbers) {
				return Event{}, io.EOF
			}
			r.enter()
			continue
		}
		if len(r.seg.batch) > 0 {
			if e, ok := r.event(); ok {
				return e, nil
			}
			continue
		}
		r.step()
	}
}

// Seek goes to the first event that is not older than a time: Next returns it. Only
// the heads of some segments are read, and one of them whole.
func (r *Reader) Seek(at time.Duration) error {
	// The segments before the last one that begins early enough have nothing to offer. A
	// head that cannot be read is taken for early: then a gap says so.
	later, err := 0, error(nil)
	later = sort.Search(len(r.numbers), func(i int) bool {
		h, e := readHead(r.segments, r.numbers[i])
		if e != nil && !errors.Is(e, ErrFormat) {
			err = e
		}
		return e == nil && time.Duration(h.At) >= at
	})
	if err != nil {
		return err
	}
	r.next, r.seg, r.gap, r.ended, r.last = max(later-1, 0), nil, nil, false, 0
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.At >= at {
			r.gap = append([]Event{e}, r.gap...)
			return nil
		}
	}
}

// readHead reads the head of a segment alone.
func readHead(folder fs.FS, number int) (head, error) {
	f, err := folder.Open(SegmentName(number))
	if err != nil {
		return head{}, fmt.Errorf("open a segment: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, linkSize+overhead+maxHead))
	if err != nil {
		return head{}, fmt.Errorf("read a segment: %w", err)
	}
	s, err := newScanner(data)
	if err != nil {
		return head{}, err
	}
	first, stored, ok := s.parse(linkSize, s.last)
	if !ok || first.link != stored {
		return head{}, ErrFormat
	}
	return parseHead(first)
}

// enter opens the next segment; one that cannot be read is a gap.
func (r *Reader) enter() {
	number := r.numbers[r.next]
	if r.next > 0 && r.numbers[r.next-1] != number-1 || r.next == 0 && number != 1 {
		r.missing(0, "segments before %s are missing", SegmentName(number))
	}
	r.next++
	seg, err := r.ready, error(nil)
	r.ready = nil
	if seg == nil || seg.head.Segment != number {
		seg, err = r.load(number)
	}
	if err != nil {
		r.missing(0, "%s cannot be read: %v", SegmentName(number), err)
		return
	}
	if seg.head.Session != r.header.Session {
		r.missing(0, "%s is of another session", SegmentName(number))
		return
	}
	r.seg, r.last = seg, max(r.last, time.Duration(seg.head.At))
}

// missing puts a Gap in front of what is read next.
func (r *Reader) missing(bytes int64, format string, args ...any) {
	e, err := NewEvent(r.last, 0, Gap, Missing{Why: fmt.Sprintf(format, args...), Bytes: bytes})
	if err == nil {
		r.gap = append(r.gap, e)
	}
}

// event takes one off the batch.
func (r *Reader) event() (Event, bool) {
	e, rest, err := parseEvent(r.seg.batch, r.seg.base)
	if err == nil && e.At < r.last {
		err = errBatch // time never goes back
	}
	if err != nil {
		n := len(r.seg.batch)
		r.seg.batch = nil
		r.missing(int64(n), "a frame of %s makes no sense", SegmentName(r.seg.head.Segment))
		return Event{}, false
	}
	r.seg.batch, r.seg.base, r.last = rest, e.At, e.At
	r.ended = e.Kind == End
	return e, true
}

// step reads the next frame of the segment.
func (r *Reader) step() {
	name := SegmentName(r.seg.head.Segment)
	f, lost, ok := r.seg.scan.next()
	if lost.to > lost.from && !lost.link {
		r.missing(lost.to-lost.from, "%s is damaged at byte %d", name, lost.from)
	}
	if !ok {
		r.seg = nil
		return
	}
	switch f.kind {
	case frameEvents, framePacked:
		if err := r.seg.events(f); err != nil {
			r.missing(int64(len(f.body)), "%s at byte %d: %v", name, f.offset, err)
		}
		r.seg.base = 0
	case frameEnd:
		if seal, err := parseSigned(f.kind, f.body); err == nil && !r.ended {
			r.finish(seal)
		}
	}
}

// finish stands for the last event of a recording that another process ended.
func (r *Reader) finish(s signed) {
	if s.Lost > 0 {
		r.missing(s.Lost, "the gateway stopped before it had written more")
	}
	if e, err := NewEvent(max(r.last, s.At), 0, End, Ended{Cause: s.Cause}); err == nil {
		r.gap, r.ended = append(r.gap, e), true
	}
}

// events decrypts a frame into the batch.
func (s *openSegment) events(f frame) error {
	var err error
	if f.kind == frameEvents {
		s.room, err = s.sealer.open(s.room, f.body, f.kind, f.number)
		s.batch = s.room
		return err
	}
	if s.packed, err = s.sealer.open(s.packed, f.body, f.kind, f.number); err != nil {
		return err
	}
	if s.room, err = unpack(s.room[:0], s.packed); err != nil {
		return err
	}
	s.batch = s.room
	return nil
}
