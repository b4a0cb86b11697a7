package recording

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestARecordingCutAtAnyByteIsFinished(t *testing.T) {
	t.Parallel()
	k, next := newTeam(t), newKey(t)
	good, _ := k.three(t, "ses_a")
	name := SegmentName(3)
	frames := framesOf(t, good[name])
	before := 0
	for _, e := range read(t, set{SegmentName(1): good[SegmentName(1)], SegmentName(2): good[SegmentName(2)]}.fs(), k.identity) {
		if e.Kind == Output {
			before++
		}
	}
	keys := KeySet(publicOf(k.key), publicOf(next))
	for cut := range len(good[name]) {
		if !soak() && cut%37 != 0 { // SOAK=1 tries all
			continue
		}
		f := &memorySegment{in: newMemory(), data: slices.Clone(good[name][:cut])}
		got, err := Recover(f, int64(cut), RecoverOptions{Key: next})
		if int64(cut) < frames[0].end() {
			if !errors.Is(err, ErrNoHead) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		s := good.clone()
		s[name] = f.data
		r, err := Verify(s.fs(), VerifyOptions{Keys: keys, Head: got.Head})
		if err != nil || !r.Whole() || r.Cause != Interrupted || r.Lost != got.Dropped {
			t.Fatalf("cut at %d: %+v, %v", cut, r, err)
		}
		want := before
		for _, f := range frames {
			if f.kind == frameEvents && f.end() <= int64(cut) {
				want++
			}
		}
		events := read(t, s.fs(), k.identity)
		// The last event of the whole recording, End, is not Output.
		if n := count(events, Output); n != want && n != want-1 || count(events, End) == 0 {
			t.Fatalf("cut at %d: %d of %d events are read", cut, n, want)
		}
		again, err := Recover(f, int64(len(f.data)), RecoverOptions{Key: next})
		if err != nil || !again.Already || again.Head != got.Head || again.Cause != Interrupted {
			t.Fatalf("cut at %d, done again: %+v, %v", cut, again, err)
		}
	}
}

func TestAHoleInTheMiddleCostsOnlyWhatWasInIt(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	name := SegmentName(3)
	frames := framesOf(t, good[name])
	f := &memorySegment{in: newMemory(), data: slices.Clone(good[name][:frames[len(frames)-1].offset])}
	clear(f.data[frames[4].offset+3 : frames[6].offset+5]) // as a power cut leaves pages that were not written
	got, err := Recover(f, int64(len(f.data)), RecoverOptions{Key: k.key})
	if err != nil || got.Dropped != 0 || got.Damaged != frames[7].offset-frames[4].offset {
		t.Fatalf("%+v, %v", got, err)
	}
	s := good.clone()
	s[name] = f.data
	all, some := read(t, good.fs(), k.identity), read(t, s.fs(), k.identity)
	if lost := count(all, Output) - count(some, Output); lost < 1 || lost > 3 {
		t.Errorf("%d of %d events are lost", lost, len(all))
	}
	r, err := Verify(s.fs(), VerifyOptions{Keys: k.keys()})
	if err != nil || r.Whole() || !r.Ended || r.Lost != got.Damaged || r.Proven+got.Damaged > r.Bytes {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAProcessMayDieBetweenTwoSegments(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	delete(good, SegmentName(3)) // its head was not whole, and it was put aside
	f := &memorySegment{in: newMemory(), data: good[SegmentName(2)]}
	if _, err := Recover(f, int64(len(f.data)), RecoverOptions{Key: k.key, Now: func() time.Time { return time.Unix(1, 0) }}); err != nil {
		t.Fatal(err)
	}
	good[SegmentName(2)] = f.data
	if r, err := Verify(good.fs(), VerifyOptions{Keys: k.keys()}); err != nil || !r.Whole() {
		t.Errorf("%+v, %v", r, err)
	}
}

// broken fails at the n-th call.
type broken struct {
	memory *memory
	left   int
	short  bool
	closed int
}

type brokenSegment struct {
	*broken
	Segment
}

var errDisk = errors.New("input/output error")

func (b *broken) use() error {
	if b.left--; b.left < 0 {
		return errDisk
	}
	return nil
}

func (b *broken) Create(n int) (Segment, error) {
	if err := b.use(); err != nil {
		return nil, err
	}
	s, err := b.memory.Create(n)
	return brokenSegment{b, s}, err
}

func (s brokenSegment) Write(p []byte) (int, error) {
	if err := s.use(); err != nil {
		if s.short {
			return s.Segment.Write(p[:len(p)/2])
		}
		return 0, err
	}
	return s.Segment.Write(p)
}

func (s brokenSegment) Sync() error { return errors.Join(s.use(), s.Segment.Sync()) }

func (s brokenSegment) Close() error { s.closed++; return errors.Join(s.use(), s.Segment.Close()) }

func TestAfterAFaultOfTheDiskNothingIsRecordedAndAllBeforeItCanBeRead(t *testing.T) {
	k := newTeam(t)
	done := false
	for n := 0; !done; n++ {
		for _, short := range []bool{false, true} {
			b := &broken{memory: newMemory(), left: n, short: short}
			o := k.options("ses_a")
			o.SegmentBytes, o.CheckBytes = 1000, 600
			w, err := NewWriter(b, o)
			if err != nil {
				continue
			}
			acknowledged := 0
			for i := range 10 {
				if err = w.Record(Event{Channel: 1, Kind: Output, Data: fmt.Appendf(nil, "%d", i)}); err != nil {
					break
				}
				acknowledged++
			}
			if err != nil {
				if again := w.Record(Event{Kind: Output}); again == nil {
					t.Fatalf("fault %d: an event was recorded after it", n)
				}
			}
			closed := w.Close(Ended{Cause: "error"})
			done = err == nil && closed == nil
			if err != nil && closed == nil {
				t.Fatalf("fault %d: the close hides it", n)
			}
			s := b.memory.set()
			last := SegmentName(len(s))
			f := &memorySegment{in: newMemory(), data: s[last]}
			if _, err := Recover(f, int64(len(f.data)), RecoverOptions{Key: k.key}); errors.Is(err, ErrNoHead) {
				delete(s, last)
			} else if err != nil {
				t.Fatalf("fault %d: %v", n, err)
			} else {
				s[last] = f.data
			}
			if got := count(read(t, s.fs(), k.identity), Output); got < acknowledged {
				t.Fatalf("fault %d: %d of %d events are there", n, got, acknowledged)
			}
		}
	}
}
