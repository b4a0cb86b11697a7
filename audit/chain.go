package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// HashSize is the length of a link in bytes.
const HashSize = sha256.Size

// linkDomain keeps these hashes apart from every other use of SHA-256.
const linkDomain = "cardea audit chain v1\x00"

// Link returns the hash of one row:
//
//	SHA-256( "cardea audit chain v1" 0x00
//	         length(prev) prev  length(instance) instance
//	         epoch seq
//	         length(payload) payload )
//
// where lengths, epoch and seq are 8 bytes, big endian, so that no two
// different rows can give the same bytes to the hash. prev is the hash of the
// row before in the chain of this instance, over the end of an epoch too;
// nil for its very first row.
func Link(prev []byte, instance string, epoch, seq int64, payload []byte) []byte {
	h := sha256.New()
	h.Write([]byte(linkDomain))
	writeBytes(h, prev)
	writeBytes(h, []byte(instance))
	writeNumber(h, epoch)
	writeNumber(h, seq)
	writeBytes(h, payload)
	return h.Sum(nil)
}

func writeNumber(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

func writeBytes(h hash.Hash, b []byte) {
	writeNumber(h, int64(len(b)))
	h.Write(b)
}

// Row is one row of the log as the chain sees it.
type Row struct {
	Instance string
	Epoch    int64
	Seq      int64
	Payload  []byte
	Hash     []byte
}

// Break is the first place where a chain does not hold.
type Break struct {
	Index  int // in the rows given, over all calls of a Verifier
	Row    Row
	Reason string
}

func (b *Break) Error() string {
	return fmt.Sprintf("audit log is broken at instance %q, epoch %d, number %d: %s",
		b.Row.Instance, b.Row.Epoch, b.Row.Seq, b.Reason)
}

// Verify checks the whole log, rows of all instances in the store's order, and
// returns nil or the first *Break. Rows missing at the very end cannot be seen
// from the rows alone: compare Heads of a Verifier with a head kept elsewhere.
func Verify(rows []Row) error {
	var v Verifier
	return v.Add(rows...)
}

// Verifier checks a log page by page. The zero value expects the first rows of
// every instance. It is not for concurrent use.
type Verifier struct {
	heads map[string]Row
	seen  int
	err   *Break
}

// Add checks the next rows. After a break it returns that break for ever.
func (v *Verifier) Add(rows ...Row) error {
	for _, r := range rows {
		if v.err != nil {
			break
		}
		v.add(r)
	}
	if v.err != nil {
		return v.err
	}
	return nil
}

// Heads returns the newest row of each instance so far, without payloads.
func (v *Verifier) Heads() []Row {
	heads := make([]Row, 0, len(v.heads))
	for _, r := range v.heads {
		heads = append(heads, r)
	}
	return heads
}

func (v *Verifier) add(r Row) {
	head, known := v.heads[r.Instance]
	switch reason := follows(head, known, r); {
	case reason != "":
		v.err = &Break{Index: v.seen, Row: r, Reason: reason}
		return
	case !bytes.Equal(r.Hash, Link(head.Hash, r.Instance, r.Epoch, r.Seq, r.Payload)):
		v.err = &Break{Index: v.seen, Row: r, Reason: "its hash does not follow from the row before and the payload"}
		return
	}
	if v.heads == nil {
		v.heads = make(map[string]Row)
	}
	v.seen++
	r.Payload = nil
	v.heads[r.Instance] = r
}

// follows says why r's place cannot come after head, or "".
func follows(head Row, known bool, r Row) string {
	switch {
	case known && r.Epoch < head.Epoch:
		return fmt.Sprintf("the epoch goes back from %d", head.Epoch)
	case known && r.Epoch == head.Epoch && r.Seq != head.Seq+1:
		return fmt.Sprintf("number %d was expected", head.Seq+1)
	case (!known || r.Epoch != head.Epoch) && r.Seq != 1:
		return "the first row of an epoch has number 1"
	}
	return ""
}
