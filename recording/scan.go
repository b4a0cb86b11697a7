package recording

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// frame is one that a segment holds.
type frame struct {
	kind   byte
	number uint32
	offset int64 // of its header, in the file
	header [headerSize]byte
	body   []byte
	before [linkSize]byte // the link before it
	link   [linkSize]byte
	// follows says that it follows the frame that was read before it; false after
	// damage, where nothing but itself is known of what stands before.
	follows bool
}

// end is where the next frame begins.
func (f frame) end() int64 { return f.offset + overhead + int64(len(f.body)) }

// scanner walks the frames of one segment. What is damaged it steps over.
type scanner struct {
	data   []byte
	at     int64
	last   [linkSize]byte // the link that the next frame follows
	number int64          // of the last frame, -1 before the first
	budget int64          // bytes that may still be hashed to find frames after damage
}

// searchBudget bounds the hashing that looking for the next whole frame may cost, in
// bytes: a file can be made in which every byte looks like the start of a large one.
const searchBudget = 512 << 20

// newScanner begins at the start of a segment.
func newScanner(data []byte) (*scanner, error) {
	if len(data) > MaxSegmentBytes {
		return nil, fmt.Errorf("%w: a segment of %d bytes is too large", ErrFormat, len(data))
	}
	if len(data) < linkSize || string(data[:linkSize]) != magic {
		return nil, ErrFormat
	}
	return &scanner{data: data, at: linkSize, last: [linkSize]byte(data[:linkSize]), number: -1, budget: searchBudget}, nil
}

// damage is a range of bytes that are no whole frame.
type damage struct {
	from, to int64
	// link says that it is only the link of a frame, which can be computed: the chain
	// goes on over it.
	link bool
}

// next returns the next whole frame, with what lies damaged before it (or is its
// link). ok is false at the end, where there may be damage as well.
func (s *scanner) next() (f frame, lost damage, ok bool) {
	if s.at == int64(len(s.data)) {
		return frame{}, damage{}, false
	}
	from := s.at
	f, stored, ok := s.parse(from, s.last)
	if ok && int64(f.number) == s.number+1 {
		if f.link == stored {
			f.follows = true
			s.take(f)
			return f, damage{}, true
		}
		// If the next frame follows what this one's link should be, then this is whole.
		if g, stored, ok := s.parse(f.end(), f.link); ok && g.link == stored && g.number == f.number+1 {
			f.follows = true
			s.take(f)
			return f, damage{f.end() - linkSize, f.end(), true}, true
		}
	}
	for at := from + 1; at < int64(len(s.data)) && s.budget > 0; at++ {
		f, stored, ok := s.parse(at, [linkSize]byte(s.data[at-linkSize:at]))
		if s.budget -= int64(len(f.body)); ok && f.link == stored && int64(f.number) > s.number {
			s.take(f)
			return f, damage{from: from, to: at}, true
		}
	}
	s.at = int64(len(s.data))
	return frame{}, damage{from: from, to: s.at}, false
}

// maxMend bounds the head that is mended, in bytes: each of its bits is tried.
const maxMend = 4 << 10

// mend repairs the head if one bit of it is wrong, and goes on behind it: without the
// head nothing of a segment can be read, so it is worth 100 ms. That the link fits says
// that it is the right bit.
func (s *scanner) mend() (frame, bool) {
	data := slices.Clone(s.data[:min(int64(len(s.data)), linkSize+maxMend)])
	for i := linkSize * 8; i < len(data)*8; i++ {
		data[i/8] ^= 1 << (i % 8)
		t := scanner{data: data}
		f, stored, ok := t.parse(linkSize, [linkSize]byte([]byte(magic)))
		if ok && f.link == stored && f.kind == frameHead {
			s.take(f)
			return f, true
		}
		data[i/8] ^= 1 << (i % 8)
	}
	return frame{}, false
}

func (s *scanner) take(f frame) { s.at, s.last, s.number = f.end(), f.link, int64(f.number) }

// parse reads what could be the frame at an offset, if it follows the link before. Its
// link is what it should be; stored is what stands there.
func (s *scanner) parse(at int64, before [linkSize]byte) (f frame, stored [linkSize]byte, ok bool) {
	rest := s.data[at:]
	if len(rest) < overhead {
		return frame{}, stored, false
	}
	word := binary.BigEndian.Uint32(rest)
	kind, length := byte(word>>24), int64(word&0xffffff)
	if kind < frameHead || kind > frameEnd || length > maxBody || int64(len(rest)) < overhead+length {
		return frame{}, stored, false
	}
	h := sha256.New()
	h.Write(before[:])
	h.Write(rest[:headerSize+length])
	f = frame{
		kind: kind, number: binary.BigEndian.Uint32(rest[4:]), offset: at, header: [headerSize]byte(rest),
		body: rest[headerSize : headerSize+length], before: before,
	}
	h.Sum(f.link[:0])
	return f, [linkSize]byte(rest[headerSize+length:]), true
}

// parseHead reads the first frame of a segment.
func parseHead(f frame) (head, error) {
	var h head
	if f.kind != frameHead || f.number != 0 || len(f.body) > maxHead {
		return h, fmt.Errorf("%w: it does not begin with a head", ErrFormat)
	}
	if err := json.Unmarshal(f.body, &h); err != nil {
		return h, fmt.Errorf("%w: its head cannot be read", ErrFormat)
	}
	if h.Segment < 1 || h.Segment > MaxSegments || h.At < 0 || len(h.Session) > maxName || len(h.Gateway) > maxName {
		return h, fmt.Errorf("%w: its head is not possible", ErrFormat)
	}
	return h, nil
}

// maxName bounds a session and a gateway in a head, in bytes. Ids have 24.
const maxName = 64
