package filewatch

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// What one file may hold back until the bytes before it have come. OpenSSH's client
// has 64 requests of 32 KiB under way.
const (
	maxParked      = 256     // packets
	maxParkedBytes = 2 << 20 // of one channel
)

// run is the bytes of one file in one direction: it hashes them in the order of the
// file, as far as they come in one piece.
type run struct {
	begun  bool
	start  uint64 // offset of the first byte that was asked for or sent
	next   uint64 // offset of the next byte to hash
	size   int64  // bytes that passed
	hash   hash.Hash
	broken bool // the bytes are not one piece of the file in order

	parked map[uint64][]byte // by offset: packets that came too early
	at     uint64            // where the packet that is passing now goes
	early  bool              // it is parked
}

// from says where the first request begins.
func (r *run) from(offset uint64) {
	if !r.begun {
		r.begun, r.start, r.next, r.hash = true, offset, offset, sha256.New()
	}
}

// packet begins a packet of data.
func (r *run) packet(offset uint64, held *int) {
	r.from(offset)
	r.at, r.early = offset, offset > r.next
	if offset < r.next || r.early && (len(r.parked) >= maxParked || r.parked[offset] != nil) {
		*held -= r.give()
	}
}

// give stops hashing, and returns how many bytes were held back.
func (r *run) give() (freed int) {
	for _, b := range r.parked {
		freed += cap(b)
	}
	r.broken, r.parked, r.hash = true, nil, nil
	return freed
}

// piece takes bytes of the packet. held is what the channel holds back in all.
func (r *run) piece(b []byte, held *int) {
	r.size += int64(len(b))
	switch {
	case r.broken:
	case !r.early:
		r.hash.Write(b)
		r.next += uint64(len(b))
	case *held+len(b) > maxParkedBytes:
		*held -= r.give()
	default:
		if r.parked == nil {
			r.parked = map[uint64][]byte{}
		}
		old := r.parked[r.at]
		grown := append(old, b...)
		*held += cap(grown) - cap(old)
		r.parked[r.at] = grown
	}
}

// done ends the packet: what waited for it can be hashed.
func (r *run) done(held *int) {
	for !r.broken {
		b, ok := r.parked[r.next]
		if !ok {
			return
		}
		delete(r.parked, r.next)
		*held -= cap(b)
		r.hash.Write(b)
		r.next += uint64(len(b))
	}
}

// sum is the hash, "" if the bytes were not in one piece.
func (r *run) sum() string {
	if !r.begun || r.broken || len(r.parked) > 0 {
		return ""
	}
	return hex.EncodeToString(r.hash.Sum(nil))
}

// first reports whether the run is the file from its first byte on.
func (r *run) first() bool { return r.sum() != "" && r.start == 0 }
