package recording

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// Mallory keeps the bucket: he can change, take away and add objects, and knows the
// public keys of everybody.
func TestWhoKeepsARecordingCannotChangeItUnnoticed(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	other, _ := k.three(t, "ses_b")
	twin, _ := k.three(t, "ses_a")
	one, two, three := SegmentName(1), SegmentName(2), SegmentName(3)
	for _, tc := range []struct {
		name   string
		change func(set)
		want   string // of one of the faults
	}{
		{"nothing", func(set) {}, ""},
		{"the middle is deleted", func(s set) { delete(s, two) }, two + " at byte 0: missing"},
		{"the start is deleted", func(s set) { delete(s, one) }, one + " at byte 0: missing"},
		{"the end is deleted", func(s set) { delete(s, three) }, two + " at byte"},
		{"all is deleted", func(s set) { clear(s) }, "there are no segments"},
		{"two sessions change a segment", func(s set) { s[two] = other[two] }, two + " at byte 32: it is of another session"},
		{"two segments change places", func(s set) { s[two], s[three] = s[three], s[two] }, two + " at byte 32: it says that it is segment 3"},
		{"a segment of another recording of the same session", func(s set) { s[two] = twin[two] }, two + " at byte 32: it does not follow"},
		{"a segment stands there twice", func(s set) { s[SegmentName(4)] = s[three] }, SegmentName(4) + " at byte 0: it stands behind the end"},
		{"the end is cut off", func(s set) { s[three] = s[three][:len(s[three])-1] }, three + " at byte"},
		{"it is cut off at a signature", func(s set) { s[three] = cutAfterCheck(t, s[three]) }, "the recording does not end here"},
		{"the middle is cut off at a signature", func(s set) { s[two] = cutAfterCheck(t, s[two]) }, two + fmt.Sprintf(" at byte %d: it is cut off", len(cutAfterCheck(t, good[two])))},
		{"something is added", func(s set) { s[three] = append(s[three], "more"...) }, three + fmt.Sprintf(" at byte %d: damaged", len(good[three]))},
		{"a segment is no segment", func(s set) { s[two] = []byte("hello") }, two + " at byte 0: this is no segment"},
		{"a frame is taken out, and all hashes are made anew", func(s set) { s[two] = withoutFrame(t, s[two]) }, "the signature is wrong"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good.clone()
			tc.change(s)
			r, err := Verify(s.fs(), VerifyOptions{Keys: k.keys()})
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if !r.Whole() {
					t.Errorf("%+v", r)
				}
				return
			}
			if r.Whole() || !slices.ContainsFunc(r.Faults, func(f Fault) bool { return strings.Contains(f.String(), tc.want) }) {
				t.Errorf("no fault with %q: %v", tc.want, r.Faults)
			}
		})
	}
}

// cutAfterCheck ends a segment behind its last checkpoint but one.
func cutAfterCheck(t *testing.T, data []byte) []byte {
	t.Helper()
	var ends []int64
	for _, f := range framesOf(t, data) {
		if f.kind == frameCheck {
			ends = append(ends, f.end())
		}
	}
	if len(ends) < 2 {
		t.Fatal("too few checkpoints")
	}
	return data[:ends[len(ends)-2]]
}

func framesOf(t testing.TB, data []byte) []frame {
	t.Helper()
	s, err := newScanner(data)
	if err != nil {
		t.Fatal(err)
	}
	var all []frame
	for {
		f, lost, ok := s.next()
		if lost.to > 0 {
			t.Fatalf("damage %v", lost)
		}
		if !ok {
			return all
		}
		all = append(all, f)
	}
}

// withoutFrame drops a frame of events and numbers and hashes the rest anew.
func withoutFrame(t *testing.T, data []byte) []byte {
	t.Helper()
	out := []byte(magic)
	number := uint32(0)
	for _, f := range framesOf(t, data) {
		if f.number == 3 {
			continue
		}
		b := append(slices.Clone(out[len(out)-linkSize:]), make([]byte, headerSize)...)
		out = append(out, putFrame(append(b, f.body...), f.kind, number)[linkSize:]...)
		number++
	}
	return out
}

func TestAnOlderStateOfARecordingIsKnownByItsEnd(t *testing.T) {
	k := newTeam(t)
	s, p := k.three(t, "ses_a")
	// Another process ended what was there when the gateway seemed to be dead: all is
	// signed, and the shorter one passes for the whole unless its end is known.
	older := &memorySegment{in: newMemory(), data: cutAfterCheck(t, s[SegmentName(3)])}
	if _, err := Recover(older, int64(len(older.data)), RecoverOptions{Key: k.key}); err != nil {
		t.Fatal(err)
	}
	s[SegmentName(3)] = older.data
	if r, err := Verify(s.fs(), VerifyOptions{Keys: k.keys()}); err != nil || !r.Whole() || r.Cause != Interrupted {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := Verify(s.fs(), VerifyOptions{Keys: k.keys(), Head: p.Head}); err != nil || r.Whole() {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestOneChangedBitIsFoundWhereItIs(t *testing.T) {
	t.Parallel()
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	name := SegmentName(2)
	all := read(t, good.fs(), k.identity)
	frames := framesOf(t, good[name])
	for at := range good[name] {
		if !soak() && at%37 != 0 { // SOAK=1 tries all
			continue
		}
		s := good.clone()
		s[name][at] ^= 1 << (at % 8)
		r, err := Verify(s.fs(), VerifyOptions{Keys: k.keys()})
		if err != nil {
			t.Fatal(err)
		}
		// The frame it is in: a fault begins at it or within it, and only few bytes are lost.
		i := slices.IndexFunc(frames, func(f frame) bool { return int64(at) < f.end() })
		found := slices.ContainsFunc(r.Faults, func(f Fault) bool {
			return f.Segment == 2 && f.Offset >= frames[i].offset && f.Offset < frames[i].end() || i == 0 && f.Segment == 2
		})
		if r.Whole() || !found {
			t.Fatalf("a bit at byte %d of frame %d: %v", at, frames[i].number, r.Faults)
		}
		lost := len(all) - len(read(t, s.fs(), k.identity))
		if lost > 1 {
			t.Fatalf("a bit at byte %d: %d events cannot be read", at, lost)
		}
	}
}

func TestOnlyAKeyOfTheGatewayVouches(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	// Mallory makes a recording of his own, which the recipients can read.
	forged := newTeam(t)
	forged.recipients = k.recipients
	fake, _ := forged.three(t, "ses_a")
	r, err := Verify(fake.fs(), VerifyOptions{Keys: k.keys()})
	if err != nil || r.Whole() || r.Proven != 0 || !strings.Contains(fmt.Sprint(r.Faults), "not known: "+KeyID(publicOf(forged.key))) {
		t.Errorf("%+v, %v", r, err)
	}
	// Another gateway's key is known, and still not this one's.
	of := func(id string) (ed25519.PublicKey, string, bool) {
		return publicOf(k.key), "gw_b", id == KeyID(publicOf(k.key))
	}
	r, err = Verify(good.fs(), VerifyOptions{Keys: of})
	if err != nil || r.Whole() || !strings.Contains(fmt.Sprint(r.Faults), `key of another gateway: "gw_b"`) {
		t.Errorf("%+v, %v", r, err)
	}
	// Nobody's keys are known.
	if r, err = Verify(good.fs(), VerifyOptions{}); err != nil || r.Whole() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAFileCannotMakeTheVerifierSearchForEver(t *testing.T) {
	// Each byte looks like the start of a frame of a megabyte.
	data := []byte(magic)
	word := binary.BigEndian.AppendUint32(nil, frameEvents<<24|maxBody)
	data = append(data, bytes.Repeat(word[:1], 6<<20)...) // kind 3, length 0x030303
	s, err := newScanner(data)
	if err != nil {
		t.Fatal(err)
	}
	hashed := int64(searchBudget)
	if _, lost, ok := s.next(); ok || lost.to != int64(len(data)) {
		t.Errorf("%v %v", lost, ok)
	}
	if hashed -= s.budget; hashed > searchBudget+2*maxBody {
		t.Errorf("%d bytes were hashed", hashed)
	}
}

func TestASegmentStandsAlone(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	all := read(t, good.fs(), k.identity)
	alone := set{SegmentName(2): good[SegmentName(2)]}
	some := read(t, alone.fs(), k.identity)
	if count(some, Gap) != 1 || count(some, Output) < 5 || count(some, Output) >= count(all, Output) {
		t.Errorf("read %d of %d", len(some), len(all))
	}
	r, err := Verify(alone.fs(), VerifyOptions{Keys: k.keys()})
	if err != nil || r.Proven != r.Bytes {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTheBucketLearnsNothingOfWhatHappened(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	for name, data := range good {
		for _, word := range []string{"alice", "srv_1", "line", "client\""} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s holds %q", name, word)
			}
		}
	}
	if _, err := NewReader(good.fs()); err != ErrNoIdentity {
		t.Errorf("without an identity: %v", err)
	}
	stranger, _ := newReaderKey(t)
	if _, err := NewReader(good.fs(), stranger); err != ErrNoIdentity {
		t.Errorf("as a stranger: %v", err)
	}
}

// What the link is must not change by accident: it is computed here by hand.
func TestTheLinkIsTheHashOfAllBefore(t *testing.T) {
	k := newTeam(t)
	good, p := k.three(t, "ses_a")
	data := good[SegmentName(3)]
	link := []byte(magic)
	for at := linkSize; at < len(data); {
		length := int(binary.BigEndian.Uint32(data[at:]) & 0xffffff)
		sum := sha256.Sum256(append(slices.Clone(link), data[at:at+8+length]...))
		at += 8 + length + 32
		link = sum[:]
	}
	if fmt.Sprintf("%x", link) != p.Head {
		t.Errorf("%x, not %s", link, p.Head)
	}
}

func TestWhatCanBeReadIsRead(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	stranger := newTeam(t)
	other, _ := stranger.three(t, "ses_a")
	all := count(read(t, good.fs(), k.identity), Output)
	one := SegmentName(1)
	for _, tc := range []struct {
		name   string
		change func(set)
		lost   int
		user   string
	}{
		{"the header of one is damaged", func(s set) { clear(s[one][framesOf(t, s[one])[1].offset+9:][:20]) }, 0, "alice"},
		{"all headers are damaged", func(s set) {
			for _, data := range s {
				clear(data[framesOf(t, data)[1].offset+9:][:20])
			}
		}, 0, ""},
		{"a stranger's segment stands first", func(s set) { s[one] = other[one] }, 30, "alice"},
		{"nothing of a head is left", func(s set) { clear(s[one][40:80]) }, 30, "alice"},
		{"it is empty", func(s set) { s[one] = nil }, 30, "alice"},
	} {
		s := good.clone()
		tc.change(s)
		r, err := NewReader(s.fs(), k.identity)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if h := r.Header(); h.User != tc.user || h.Session != "ses_a" {
			t.Errorf("%s: header %+v", tc.name, h)
		}
		events := rest(t, r)
		if lost := all - count(events, Output); lost > tc.lost || count(events, Gap) == 0 {
			t.Errorf("%s: %d of %d are lost", tc.name, lost, all)
		}
	}
}

// opened counts how often files are opened.
type opened struct {
	fs.FS
	times map[string]int
}

func (o opened) Open(name string) (fs.File, error) {
	o.times[name]++
	return o.FS.Open(name)
}

func TestASegmentIsFetchedOnce(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	o := opened{good.fs(), map[string]int{}}
	read(t, o, k.identity)
	for name := range good {
		if o.times[name] != 1 {
			t.Errorf("%s is opened %d times", name, o.times[name])
		}
	}
}

// Damage cuts the chain, and what stands behind it could come from anywhere: the frames
// of another session of the same gateway are whole, and signed by the same key.
func TestBehindDamageNothingOfAnotherRecordingIsProven(t *testing.T) {
	k := newTeam(t)
	good, _ := k.three(t, "ses_a")
	name := SegmentName(3)
	frames := framesOf(t, good[name])
	for what, s := range map[string]set{"another session": first(k.three(t, "ses_b")), "another segment": {name: good[SegmentName(1)]}} {
		foreign := framesOf(t, s[name])
		cut, from := frames[3].offset, foreign[5].offset-linkSize
		spliced := good.clone()
		spliced[name] = slices.Concat(good[name][:cut], s[name][from:])
		r, err := Verify(spliced.fs(), VerifyOptions{Keys: k.keys()})
		if err != nil {
			t.Fatal(err)
		}
		whole := int64(len(good[SegmentName(1)]) + len(good[SegmentName(2)]))
		if r.Whole() || r.Ended || r.Proven > whole+cut || !strings.Contains(fmt.Sprint(r.Faults), "the signature is wrong") {
			t.Errorf("%s: %+v", what, r)
		}
		if n := count(read(t, spliced.fs(), k.identity), Output); n > count(read(t, good.fs(), k.identity), Output) {
			t.Errorf("%s: %d events are read", what, n)
		}
	}
}

func first(s set, _ Progress) set { return s }

// A gateway of the team that was taken over can make a recording with its own name and its own
// key, which is known, and say that it is of a session of another.
func TestWhatAnotherGatewayMadeUpIsNotTheRecording(t *testing.T) {
	k := newTeam(t)
	made, _ := k.three(t, "ses_a")
	r, err := Verify(made.fs(), VerifyOptions{Keys: k.keys(), Session: "ses_a"})
	if err != nil || !r.Whole() {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = Verify(made.fs(), VerifyOptions{Keys: k.keys(), Session: "ses_a", Gateway: r.Gateway}); err != nil || !r.Whole() {
		t.Errorf("of the gateway that it is of: %+v, %v", r, err)
	}
	r, err = Verify(made.fs(), VerifyOptions{Keys: k.keys(), Session: "ses_a", Gateway: "gw_other"})
	if err != nil || r.Whole() || !strings.Contains(fmt.Sprint(r.Faults), "another gateway") {
		t.Errorf("%+v, %v", r, err)
	}
}
