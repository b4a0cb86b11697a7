package recording

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// FuzzSegment gives a file to who verifies it, and to who ends it.
func FuzzSegment(f *testing.F) {
	v := loadVectors(f)
	k, good := v.team(f), v.set()
	for _, data := range v.Segments {
		f.Add([]byte(data))
		f.Add([]byte(data[:len(data)/2]))
	}
	now := func() time.Time { return v.Now }
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := set{SegmentName(1): data}
		report, err := Verify(s.fs(), VerifyOptions{Keys: k.keys()})
		if err != nil || report.Proven > report.Bytes {
			t.Fatalf("%+v, %v", report, err)
		}
		if report.Proven > 0 && !bytes.HasPrefix(data, good[SegmentName(1)][:linkSize]) {
			t.Fatal("a forged segment is proven")
		}
		if report.Whole() { // of these, none alone is
			t.Fatal("a forged segment is whole")
		}
		file := &memorySegment{in: newMemory(), data: slices.Clone(data)}
		got, err := Recover(file, int64(len(data)), RecoverOptions{Key: k.key, Now: now})
		if err != nil {
			return
		}
		if again, err := Recover(file, int64(len(file.data)), RecoverOptions{Key: k.key, Now: now}); err != nil || !again.Already || again.Head != got.Head {
			t.Fatalf("%+v, done again: %+v, %v", got, again, err)
		}
	})
}

// FuzzReader lets a gateway that was taken over seal what it likes: each chunk is the
// kind of a frame, its length in two bytes, and its plaintext.
func FuzzReader(f *testing.F) {
	chunk := func(kind byte, plain []byte) []byte {
		return append([]byte{kind, byte(len(plain) >> 8), byte(len(plain))}, plain...)
	}
	out := appendEvent(nil, Event{At: 5, Channel: 1, Kind: Output, Data: []byte("hello")}, 0)
	f.Add(slices.Concat(chunk(frameHeader, []byte(`{"session":"ses_a"}`)), chunk(frameEvents, out), chunk(frameEnd, make([]byte, 110))))
	f.Add(slices.Concat(chunk(frameEvents, out), chunk(frameHead, nil), chunk(frameEvents, out[:4])))
	first := []byte(`{"session":"ses_a","segment":1,"secret":"AA=="}`)
	f.Fuzz(func(t *testing.T, data []byte) {
		secret := make([]byte, keySize)
		sealer, err := newSealer(secret, nil, "ses_a", 1)
		if err != nil {
			t.Fatal(err)
		}
		file := putFrame(append(append([]byte(magic), make([]byte, headerSize)...), first...), frameHead, 0)
		for number := uint32(1); len(data) > 3; number++ {
			kind, n := data[0], min(int(data[1])<<8|int(data[2]), len(data)-3)
			b := append(slices.Clone(file[len(file)-linkSize:]), make([]byte, headerSize)...)
			b = append(b, data[3:3+n]...)
			if kind == frameHeader || kind == frameEvents {
				b = sealer.seal(b, linkSize+headerSize, kind, number)
			}
			file = append(file, putFrame(b, kind, number)[linkSize:]...)
			data = data[3+n:]
		}
		r := &Reader{segments: set{SegmentName(1): file}.fs(), numbers: []int{1}, secret: secret, wrapped: []byte{0}}
		r.header.Session = "ses_a"
		last := time.Duration(0)
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil || e.At < last {
				t.Fatalf("%+v after %v, %v", e, last, err)
			}
			last = e.At
		}
	})
}

// FuzzFrame gives the plaintext of a frame to what reads it: only who has the session
// key gets so far, which a gateway that was taken over has.
func FuzzFrame(f *testing.F) {
	b := appendEvent(nil, Event{At: 5, Channel: 1, Kind: Output, Data: []byte("hello")}, 0)
	f.Add(appendEvent(b, Event{At: 7, Channel: 300, Kind: Exit, Data: []byte("{}")}, 5), pack(nil, b))
	f.Fuzz(func(t *testing.T, b, packed []byte) {
		if out, err := unpack(nil, packed); err == nil && len(out) > maxBatch {
			t.Fatalf("%d bytes", len(out))
		}
		var again []byte
		last := time.Duration(0)
		whole := b
		for len(b) > 0 {
			e, rest, err := parseEvent(b, last)
			if err != nil {
				return
			}
			again = appendEvent(again, e, last)
			last, b = e.At, rest
		}
		// What was read is written in one way, which is read as the same.
		if len(again) > len(whole) {
			t.Fatalf("%x became %x", whole, again)
		}
	})
}

// FuzzHead gives text to the parser of heads, and bytes to that of signatures.
func FuzzHead(f *testing.F) {
	f.Add([]byte(`{"session":"ses_a","gateway":"gw_a","segment":1,"at":0,"key":"00","salt":"","secret":""}`))
	f.Add([]byte(`{"segment":1e9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(frame{kind: frameHead, body: b})
		if err == nil && (h.Segment < 1 || h.Segment > MaxSegments || h.At < 0 || len(h.Session) > maxName || len(b) > maxHead) {
			t.Fatalf("%+v", h)
		}
		for _, kind := range []byte{frameCheck, frameTurn, frameEnd} {
			s, err := parseSigned(kind, b)
			if err == nil && (s.At < 0 || s.Lost < 0 || len(s.Cause) > MaxCause) {
				t.Fatalf("%+v", s)
			}
		}
	})
}
