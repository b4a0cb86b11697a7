package recording

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io/fs"
	"time"
)

// Keys finds the public half of a key that signs recordings by its id, and the
// gateway that it belongs to, "" if that is not known.
type Keys func(id string) (public ed25519.PublicKey, gateway string, ok bool)

// KeySet is Keys of some known keys, whosever they are.
func KeySet(publics ...ed25519.PublicKey) Keys {
	known := map[string]ed25519.PublicKey{}
	for _, p := range publics {
		known[KeyID(p)] = p
	}
	return func(id string) (ed25519.PublicKey, string, bool) {
		p, ok := known[id]
		return p, "", ok
	}
}

// VerifyOptions are what is known about a recording before it is verified.
type VerifyOptions struct {
	Keys Keys
	// Session, Gateway and Head, if not "", are what the recording must be of, whose
	// it must be, and the link that it must end with: without Gateway what another gateway
	// of the team made up passes, and without Head an older, shorter state for the whole.
	Session, Gateway, Head string
}

// Fault is one thing that is wrong with a recording.
type Fault struct {
	Segment int    `json:"segment"`          // 0: it is about the whole
	Offset  int64  `json:"offset,omitempty"` // in the segment's file
	Bytes   int64  `json:"bytes,omitempty"`
	What    string `json:"what"`
	// Readable says that what it is about can still be read, though nobody vouches for it.
	Readable bool `json:"readable,omitempty"`
}

func (f Fault) String() string {
	if f.Segment == 0 {
		return f.What
	}
	return fmt.Sprintf("%s at byte %d: %s", SegmentName(f.Segment), f.Offset, f.What)
}

// Report is what a verification found.
type Report struct {
	Session  string         `json:"session"`
	Gateway  string         `json:"gateway"`
	Segments int            `json:"segments"`
	Bytes    int64          `json:"bytes"`
	Proven   int64          `json:"proven"`          // bytes that a known key vouches for
	Ended    bool           `json:"ended"`           // it has its signed end
	Cause    string         `json:"cause,omitempty"` // of that end
	Lost     int64          `json:"lost,omitempty"`  // bytes that were lost before it, as that end says
	Length   time.Duration  `json:"length"`          // session time of the last signature
	Head     string         `json:"head"`            // the last link, hex
	Keys     map[string]int `json:"keys"`            // how many signatures each key made
	Faults   []Fault        `json:"faults"`
}

// Whole says that nothing is wrong and nothing is missing.
func (r Report) Whole() bool { return len(r.Faults) == 0 && r.Ended }

// maxFaults bounds a report; the last fault then says that there are more.
const maxFaults = 1000

func (r *Report) fault(f Fault) {
	switch {
	case len(r.Faults) < maxFaults:
		r.Faults = append(r.Faults, f)
	case len(r.Faults) == maxFaults:
		r.Faults = append(r.Faults, Fault{What: "there are more faults than are listed"})
	}
}

// Verify checks the recording in a folder without reading it: hashes, order and
// signatures. Errors are of the folder alone; what is wrong with the recording is in
// the report.
func Verify(folder fs.FS, o VerifyOptions) (Report, error) {
	numbers, err := Segments(folder)
	if err != nil {
		return Report{}, err
	}
	r := Report{Keys: map[string]int{}, Session: o.Session, Gateway: o.Gateway}
	if len(numbers) == 0 {
		r.fault(Fault{What: "there are no segments"})
	}
	v := verifier{o: o, r: &r}
	for i, n := range numbers {
		want := 1
		if i > 0 {
			want = numbers[i-1] + 1
		}
		if n != want {
			r.fault(Fault{Segment: want, What: fmt.Sprintf("missing: the next that is there is %s", SegmentName(n))})
			v.chain = ""
		}
		if r.Ended {
			r.fault(Fault{Segment: n, What: "it stands behind the end of the recording", Readable: true})
		}
		data, err := readFile(folder, SegmentName(n))
		if err != nil {
			return r, err
		}
		r.Segments++
		r.Bytes += int64(len(data))
		v.segment(n, data)
		if i < len(numbers)-1 && !v.turned && !r.Ended {
			r.fault(Fault{Segment: n, Offset: int64(len(data)), What: "it is cut off before its end"})
		}
	}
	r.Head = v.chain
	if !r.Ended && len(numbers) > 0 {
		r.fault(Fault{Segment: numbers[len(numbers)-1], Offset: v.size, What: "the recording does not end here: it is cut off, or the session still lives"})
	}
	if o.Head != "" && o.Head != r.Head {
		r.fault(Fault{What: "it does not end as was reported to the control plane: this is another state of it"})
	}
	return r, nil
}

// verifier goes through the segments in order.
type verifier struct {
	o      VerifyOptions
	r      *Report
	chain  string // last link of the segment before, hex; "" where that is not known
	turned bool   // the segment before said that another follows
	size   int64
	number int
	head   head
	open   int64 // from here on nothing is vouched for yet
}

func (v *verifier) fault(offset, bytes int64, readable bool, format string, args ...any) {
	v.r.fault(Fault{Segment: v.number, Offset: offset, Bytes: bytes, What: fmt.Sprintf(format, args...), Readable: readable})
}

// segment checks one file.
func (v *verifier) segment(number int, data []byte) {
	v.number, v.size, v.open, v.turned = number, int64(len(data)), 0, false
	before := v.chain
	v.chain = ""
	s, err := newScanner(data)
	if err != nil {
		v.fault(0, v.size, false, "this is no segment of a recording")
		return
	}
	f, lost, ok := s.next()
	if lost.to > 0 || !ok {
		v.fault(linkSize, lost.to-lost.from, false, "its head is damaged: nothing of it can be read")
		return
	}
	if v.head, err = parseHead(f); err != nil {
		v.fault(f.offset, 0, false, "%v", err)
		return
	}
	v.begins(number, before)
	for ok {
		v.frame(f)
		f, lost, ok = s.next()
		switch {
		case lost.link:
			v.fault(lost.from, lost.to-lost.from, true, "damaged; it is known what should stand here")
		case lost.to > lost.from:
			v.unproven(lost.from)
			v.fault(lost.from, lost.to-lost.from, false, "damaged")
			v.open = lost.to
		}
	}
	v.unproven(v.size)
}

// begins checks what the head says against what is known.
func (v *verifier) begins(number int, before string) {
	h := v.head
	if v.r.Session == "" {
		v.r.Session = h.Session
	}
	if v.r.Gateway == "" {
		v.r.Gateway = h.Gateway
	}
	switch {
	case h.Session != v.r.Session:
		v.fault(linkSize, 0, true, "it is of another session: %q", h.Session)
	case h.Gateway != v.r.Gateway:
		v.fault(linkSize, 0, true, "it is of another gateway: %q", h.Gateway)
	case h.Segment != number:
		v.fault(linkSize, 0, false, "it says that it is segment %d", h.Segment)
	case number > 1 && before != "" && h.Previous != before:
		v.fault(linkSize, 0, true, "it does not follow the segment before it")
	}
}

// frame checks one frame.
func (v *verifier) frame(f frame) {
	if f.kind == frameHead && f.number != 0 || f.kind == frameHeader && f.number != 1 {
		v.fault(f.offset, 0, false, "a frame that belongs to the start of a segment")
	}
	if v.r.Ended || v.turned && f.kind != frameEnd { // a process may die between two segments
		v.fault(f.offset, 0, true, "it stands behind the end of the %s", map[bool]string{true: "recording", false: "segment"}[v.r.Ended])
	}
	v.chain = hex.EncodeToString(f.link[:])
	if f.kind < frameCheck {
		return
	}
	seal, err := parseSigned(f.kind, f.body)
	if err != nil {
		v.fault(f.offset, 0, true, "a signature that cannot be read")
		return
	}
	if !v.trusted(f, seal) {
		return
	}
	v.r.Proven += f.end() - v.open
	v.open = f.end()
	v.r.Length = max(v.r.Length, seal.At)
	switch f.kind {
	case frameTurn:
		v.turned = true
	case frameEnd:
		v.r.Ended, v.r.Cause, v.r.Lost = true, seal.Cause, seal.Lost
	}
}

// trusted checks a signature and whose it is. The end may be by a later key of the
// gateway, and by that of another gateway if the recording was interrupted.
func (v *verifier) trusted(f frame, seal signed) bool {
	public, gateway, ok := ed25519.PublicKey(nil), "", false
	if v.o.Keys != nil {
		public, gateway, ok = v.o.Keys(seal.Key)
	}
	end := f.kind == frameEnd
	switch {
	case !ok:
		v.fault(f.offset, 0, true, "signed by a key that is not known: %s", seal.Key)
	case !checkSigned(f, where(v.head.Session, v.head.Segment), public):
		v.fault(f.offset, 0, true, "the signature is wrong")
	case seal.Key != v.head.Key && !end:
		v.fault(f.offset, 0, true, "signed by another key than the segment's")
	case gateway != "" && gateway != v.head.Gateway && !(end && seal.Cause == Interrupted):
		v.fault(f.offset, 0, true, "signed by the key of another gateway: %q", gateway)
	default:
		v.r.Keys[seal.Key]++
		return true
	}
	return false
}

// unproven says that nobody vouches for what stands before an offset.
func (v *verifier) unproven(to int64) {
	if to > v.open {
		v.fault(v.open, to-v.open, true, "no signature covers this")
	}
	v.open = to
}
