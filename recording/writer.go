package recording

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"filippo.io/age"
)

// Sink is where the segments of one recording are kept.
type Sink interface {
	// Create begins a segment; they count from 1.
	Create(segment int) (Segment, error)
}

// Segment is a file that is being written. Each Write is one or more whole frames,
// and what it has taken survives the death of the process.
type Segment interface {
	io.Writer
	Sync() error
	// Close syncs. The segment is never written again.
	Close() error
}

// Header tells what a recording is of. It is sealed: of all this, who cannot read
// the recording sees Session and Gateway alone.
type Header struct {
	Session    string    `json:"session"`
	Gateway    string    `json:"gateway"`
	User       string    `json:"user"`
	Server     string    `json:"server"`
	ServerName string    `json:"server_name"`
	Project    string    `json:"project"`
	Login      string    `json:"login"`
	Source     string    `json:"source"` // where the user came from
	Started    time.Time `json:"started"`
	Input      bool      `json:"input,omitempty"` // what the user typed is recorded as well
}

// WriterOptions are what a recording needs. All but the limits and Now must be set.
type WriterOptions struct {
	Header     Header
	Recipients []age.Recipient // ParseRecipients makes them
	// Key is asked at the start of every segment: keys change while sessions live.
	Key func() (ed25519.PrivateKey, error)
	Now func() time.Time // nil: time.Now

	// Limits; 0 is the constant of that name.
	SegmentBytes int64
	SegmentTime  time.Duration
	CheckBytes   int64
	CheckTime    time.Duration

	random io.Reader // for test vectors; nil: crypto/rand
}

// Writer records one session. Its methods may be called at the same time.
type Writer struct {
	o       WriterOptions
	sink    Sink
	header  []byte // JSON of o.Header
	secret  []byte
	wrapped []byte

	mu       sync.Mutex
	err      error // the first one: nothing can be recorded any more
	ended    bool
	segment  Segment
	key      ed25519.PrivateKey
	sealer   *sealer
	number   int // of the segment
	frame    uint32
	link     [linkSize]byte
	size     int64         // of the segment
	bytes    int64         // of all before it
	events   bool          // the segment has some
	began    time.Time     // when the first of them came
	last     time.Duration // At of the last event
	packer   packer
	unsigned int64     // bytes since the last signature
	since    time.Time // when the first of them was written
	timer    *time.Timer
}

// ErrEnded says that a recording is over.
var ErrEnded = errors.New("the recording has ended")

// NewWriter begins a recording: the first segment has its head when it returns.
func NewWriter(sink Sink, o WriterOptions) (*Writer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	orElse(&o.SegmentBytes, SegmentBytes)
	orElse(&o.SegmentTime, SegmentTime)
	orElse(&o.CheckBytes, CheckBytes)
	orElse(&o.CheckTime, CheckTime)
	if o.Key == nil || len(o.Recipients) == 0 || o.Header.Session == "" || len(o.Header.Session) > maxName || len(o.Header.Gateway) > maxName {
		return nil, errors.New("a recording needs a session, recipients and a key to sign with")
	}
	if o.SegmentBytes > MaxSegmentBytes-2*maxBatch {
		return nil, errors.New("segments of that size could not be read again")
	}
	if o.random == nil {
		o.random = rand.Reader
	}
	w := &Writer{o: o, sink: sink, secret: make([]byte, keySize)}
	var err error
	if w.header, err = json.Marshal(o.Header); err != nil {
		return nil, fmt.Errorf("encode the header of a recording: %w", err)
	}
	if len(w.header) > maxHeader {
		return nil, fmt.Errorf("the header of a recording: %w", ErrTooLarge)
	}
	if _, err := io.ReadFull(o.random, w.secret); err != nil {
		return nil, fmt.Errorf("make a session key: %w", err)
	}
	if w.wrapped, err = wrap(w.secret, o.Recipients); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.begin(); err != nil {
		return nil, err
	}
	return w, nil
}

func orElse[T comparable](v *T, other T) {
	if *v == *new(T) {
		*v = other
	}
}

// Record writes one event. When it returns, the segment has taken the event. Times
// that go back, as those of two channels at the same moment may, are made not to.
// Every error but ErrTooLarge is final.
func (w *Writer) Record(e Event) error { return w.RecordAll([]Event{e}) }

// RecordAll writes events that belong together as one frame: all of them, or none.
func (w *Writer) RecordAll(events []Event) error {
	size := 0
	for _, e := range events {
		if size += eventOverhead + len(e.Data); len(e.Data) > MaxData || size > maxBatch {
			return ErrTooLarge
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.record(events)
}

func (w *Writer) record(events []Event) error {
	switch {
	case w.err != nil:
		return w.err
	case w.ended:
		return ErrEnded
	case len(events) == 0:
		return nil
	}
	if w.events && (w.size >= w.o.SegmentBytes || w.o.Now().Sub(w.began) >= w.o.SegmentTime) {
		if err := w.turn(); err != nil {
			return w.fail(err)
		}
	}
	r := rooms.Get().(*room)
	defer rooms.Put(r)
	b := append(append(r.frame[:0], w.link[:]...), r.blank[:]...)
	last := time.Duration(0)
	for _, e := range events {
		e.At = max(e.At, w.last)
		b = appendEvent(b, e, last)
		last, w.last = e.At, e.At
	}
	kind := byte(frameEvents)
	if w.packer.wants(len(b) - linkSize - headerSize) {
		r.packed = pack(r.packed[:0], b[linkSize+headerSize:])
		if w.packer.tried(len(b)-linkSize-headerSize, len(r.packed)) {
			kind, b = framePacked, append(b[:linkSize+headerSize], r.packed...)
		}
	}
	b = w.sealer.seal(b, linkSize+headerSize, kind, w.frame)
	b = putFrame(b, kind, w.frame)
	r.frame = b
	if err := w.write(b); err != nil {
		return w.fail(err)
	}
	if !w.events { // the time of a segment runs from its first event
		w.events, w.began = true, w.o.Now()
	}
	if w.unsigned >= w.o.CheckBytes || w.o.Now().Sub(w.since) >= w.o.CheckTime {
		if err := w.sign(frameCheck, ""); err != nil {
			return w.fail(err)
		}
	}
	return nil
}

// room is what making one frame needs, with the link before it. Writers share them:
// a session that rests holds none.
type room struct {
	frame, packed []byte
	blank         [headerSize]byte
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// write gives a finished frame to the segment; b begins with the link before it.
func (w *Writer) write(b []byte) error {
	n, err := w.segment.Write(b[linkSize:])
	if err == nil && n != len(b)-linkSize {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	w.frame++
	w.link = [linkSize]byte(b[len(b)-linkSize:])
	w.wrote(n)
	return nil
}

// wrote counts bytes, and sees to it that what is the first of them to be unsigned
// will be signed though nothing more may come.
func (w *Writer) wrote(n int) {
	if w.unsigned == 0 {
		w.since = w.o.Now()
		w.after(w.o.CheckTime)
	}
	w.size += int64(n)
	w.unsigned += int64(n)
}

// after has tick called.
func (w *Writer) after(d time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.tick)
	} else {
		w.timer.Reset(d)
	}
}

// tick does what time asks for where no event comes that would: it signs what is not
// signed yet, and ends a segment that is old enough, so that it can be uploaded. A
// session that rests has neither, and no timer.
func (w *Writer) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.ended {
		return
	}
	now := w.o.Now()
	var err error
	switch {
	case w.events && now.Sub(w.began) >= w.o.SegmentTime:
		err = w.turn()
	case w.unsigned > 0 && now.Sub(w.since) >= w.o.CheckTime:
		err = w.sign(frameCheck, "")
	}
	switch {
	case err != nil:
		w.fail(err)
	case w.unsigned > 0:
		w.after(max(w.o.CheckTime-now.Sub(w.since), time.Millisecond))
	case w.events:
		w.after(max(w.o.SegmentTime-now.Sub(w.began), time.Millisecond))
	}
}

// sign writes a signed frame.
func (w *Writer) sign(kind byte, cause string) error {
	b := append(make([]byte, 0, 256), w.link[:]...)
	b = append(b, make([]byte, headerSize)...)
	b, err := appendSigned(b, kind, w.frame, signed{At: w.last, Wall: w.o.Now(), Cause: cause}, where(w.o.Header.Session, w.number), w.key)
	if err != nil {
		return err
	}
	if err := w.write(b); err != nil {
		return err
	}
	w.unsigned = 0
	return nil
}

// begin opens the next segment and writes its head.
func (w *Writer) begin() error {
	key, err := w.o.Key()
	if err != nil {
		return fmt.Errorf("get the key to sign the recording with: %w", err)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PrivateKeySize {
		return errors.New("no key to sign the recording with")
	}
	h := head{
		Session: w.o.Header.Session, Gateway: w.o.Header.Gateway, Segment: w.number + 1, At: int64(w.last),
		Created: w.o.Now().UTC(), Key: KeyID(public), Salt: make([]byte, saltSize), Secret: w.wrapped,
	}
	if w.number > 0 {
		h.Previous = hex.EncodeToString(w.link[:])
	}
	if h.Segment > MaxSegments {
		return fmt.Errorf("a recording has at most %d segments", MaxSegments)
	}
	if _, err := io.ReadFull(w.o.random, h.Salt); err != nil {
		return fmt.Errorf("begin a segment of the recording: %w", err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode the head of a segment: %w", err)
	}
	sealer, err := newSealer(w.secret, h.Salt, h.Session, h.Segment)
	if err != nil {
		return err
	}
	first := append(append([]byte(magic), make([]byte, headerSize)...), text...)
	first = putFrame(first, frameHead, 0)
	second := append(append([]byte(nil), first[len(first)-linkSize:]...), make([]byte, headerSize)...)
	second = sealer.seal(append(second, w.header...), linkSize+headerSize, frameHeader, 1)
	second = putFrame(second, frameHeader, 1)
	all := append(first, second[linkSize:]...)

	before := w.segment
	segment, err := w.sink.Create(h.Segment)
	if err != nil {
		return fmt.Errorf("begin a segment of the recording: %w", err)
	}
	w.bytes += w.size
	w.segment, w.key, w.sealer, w.number = segment, key, sealer, h.Segment
	w.size, w.unsigned, w.events = 0, 0, false
	n, err := segment.Write(all)
	if err == nil && n != len(all) {
		err = io.ErrShortWrite
	}
	// The first segment is synced as all that is written is: its user waits for it.
	if err == nil && before != nil {
		err = segment.Sync()
	}
	// Only now: as long as the process lives there is a segment that is not closed, in
	// which whoever comes after its death can say so.
	if before != nil {
		err = errors.Join(err, before.Close())
	}
	if err != nil {
		return fmt.Errorf("begin a segment of the recording: %w", err)
	}
	w.frame, w.link = 2, [linkSize]byte(all[len(all)-linkSize:])
	w.wrote(n)
	return nil
}

// turn ends the segment and begins the next.
func (w *Writer) turn() error {
	if err := w.sign(frameTurn, ""); err != nil {
		return err
	}
	return w.begin()
}

// fail keeps the first error, which is that of everything after it.
func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Close writes the last event and the signed end. What was written is safe when it
// returns, even where that is an error.
func (w *Writer) Close(why Ended) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return w.err
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	err := w.end(why)
	w.ended = true
	if err2 := w.segment.Close(); err == nil && err2 != nil {
		err = fmt.Errorf("close the recording: %w", err2)
	}
	clear(w.secret)
	if err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *Writer) end(why Ended) error {
	if w.err != nil {
		return w.err
	}
	if len(why.Cause) > MaxCause {
		why.Cause = why.Cause[:MaxCause]
	}
	e, err := NewEvent(w.last, 0, End, why)
	if err != nil {
		return err
	}
	if err := w.record([]Event{e}); err != nil {
		return err
	}
	return w.sign(frameEnd, why.Cause)
}

// Progress is how far a recording is.
type Progress struct {
	Segments int
	Bytes    int64
	Head     string        // the last link, hex
	Key      string        // id of the key that signs now
	Last     time.Duration // of the last event
}

// Progress tells how far the recording is; after Close, how far it came.
func (w *Writer) Progress() Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Progress{
		Segments: w.number, Bytes: w.bytes + w.size, Head: hex.EncodeToString(w.link[:]),
		Key: KeyID(w.key.Public().(ed25519.PublicKey)), Last: w.last,
	}
}
