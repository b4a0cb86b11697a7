package recording

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A segment is a file: 32 bytes that say what it is, then frames.
//
//	kind   1 byte
//	length 3 bytes, of the body
//	number 4 bytes, of the frame within the segment, from 0
//	body
//	link   32 bytes: SHA-256 of the link before it, the 8 bytes above and the body
//
// Integers are big-endian. The link before the first frame is the 32 bytes at the
// start of the file, so a frame is checked against the 32 bytes in front of it
// alone: after damage a reader finds the next whole frame by itself.
const (
	magic      = "cardea recording, version 1\n\x00\x00\x00\x00"
	linkSize   = sha256.Size
	headerSize = 8
	overhead   = headerSize + linkSize
)

// What a frame is.
const (
	frameHead   = 1 // JSON of head; always the first, and only that
	frameHeader = 2 // sealed: JSON of Header; always the second
	frameEvents = 3 // sealed: events
	framePacked = 4 // sealed: events, compressed by zstd (RFC 8878)
	frameCheck  = 5 // signed: all that stands before is the gateway's
	frameTurn   = 6 // signed: the segment is whole, and another follows
	frameEnd    = 7 // signed: the recording is over
)

// Limits of the format. A reader refuses what is beyond them.
const (
	// MaxSegments keeps a folder listable: a week of segments of five minutes is 2,016.
	MaxSegments = 100_000
	// MaxSegmentBytes is the largest file that a reader takes into memory. Writers turn
	// over at SegmentBytes, by at most one frame too late.
	MaxSegmentBytes = 32 << 20
	// maxBody is one batch of events with its tag. It bounds what a frame costs before it
	// is known to be anything.
	maxBody = maxBatch + tagSize
	// maxBatch bounds the events of one frame, encoded, before compression.
	maxBatch = 1 << 20
	// maxHead has room for the session key, wrapped to MaxRecipients of the largest kind
	// (post-quantum, some 1.6 KiB each, in base64).
	maxHead = 64 << 10
	// maxHeader bounds Header in JSON: all are short names.
	maxHeader = 16 << 10
	// MaxCause bounds the word that says why a recording ended.
	MaxCause = 32
	tagSize  = 16
)

// What makes a writer begin another segment, or sign.
const (
	// SegmentBytes and SegmentTime bound a segment, so that what is finished is uploaded
	// while the session goes on, and a reader has to fetch little to look at a moment.
	SegmentBytes = 16 << 20
	SegmentTime  = 5 * time.Minute
	// CheckBytes and CheckTime bound what stands unsigned at the end of a segment.
	CheckBytes = 1 << 20
	CheckTime  = time.Second
)

// ErrFormat is that of bytes which are no segment.
var ErrFormat = errors.New("not a recording")

// SegmentName is what the file of a segment is called; segments count from 1.
func SegmentName(number int) string { return fmt.Sprintf("%06d.seg", number) }

// head is what stands at the start of a segment, for everybody to read.
type head struct {
	Session  string    `json:"session"`
	Gateway  string    `json:"gateway"`
	Segment  int       `json:"segment"`
	Previous string    `json:"previous,omitempty"` // last link of the segment before, hex
	At       int64     `json:"at"`                 // ns since the session began: no event is older
	Created  time.Time `json:"created"`
	Key      string    `json:"key"`    // id of the key that signs
	Salt     []byte    `json:"salt"`   // 16 random bytes: for the segment's key
	Secret   []byte    `json:"secret"` // the session key in an age file
}

// putFrame finishes the frame that b holds behind the 32 bytes of the link before
// it and 8 empty ones: it writes the eight, and appends the link.
func putFrame(b []byte, kind byte, number uint32) []byte {
	binary.BigEndian.PutUint32(b[linkSize:], uint32(kind)<<24|uint32(len(b)-overhead))
	binary.BigEndian.PutUint32(b[linkSize+4:], number)
	link := sha256.Sum256(b)
	return append(b, link[:]...)
}
