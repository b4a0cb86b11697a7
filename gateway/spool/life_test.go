package spool

import (
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/recording"
)

// world is a recording, its folder and the bucket, as far as the life of it goes.
type world struct {
	m       Meta
	files   map[int]bool // in the folder
	bucket  map[int]bool // read back
	saved   Meta         // meta.json
	told    bool
	removed bool // the folder
}

// TestNothingIsRemovedThatIsNotStored walks through lives at random, with deaths of the
// process at any step, and looks at each removal.
func TestNothingIsRemovedThatIsNotStored(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := world{m: Meta{State: Recording}, files: map[int]bool{}, bucket: map[int]bool{}}
		w.saved = w.m.clone()
		for range 200 {
			if w.removed {
				break
			}
			switch rnd.IntN(6) {
			case 0: // a segment is complete
				if n := w.m.last() + 1; w.m.State == Recording && n < 6 {
					w.files[n] = true
					w.m.add(Segment{Number: n, Kept: Here})
					w.saved = w.m.clone()
				}
			case 1: // the session is over
				if w.m.State == Recording && rnd.IntN(4) == 0 {
					w.m.End = &End{}
					if err := w.m.to(Finished); err != nil {
						t.Fatal(err)
					}
					w.saved = w.m.clone()
				}
			case 2: // the process dies: meta is what was saved
				w.m = w.saved.clone()
				w.told = rnd.IntN(2) == 0
			default:
				step(t, rnd, &w)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// step does one of the tasks, which fails at times.
func step(t *testing.T, rnd *rand.Rand, w *world) {
	all := tasks(&w.m, func(n int) bool { return w.files[n] }, w.told)
	if len(all) == 0 {
		return
	}
	task := all[rnd.IntN(len(all))]
	fails := rnd.IntN(3) == 0
	switch task.Do {
	case StoreSegment:
		if fails && rnd.IntN(2) == 0 {
			w.m.keep(task.Number, Aside)
			delete(w.files, task.Number)
		} else if !fails {
			w.bucket[task.Number] = true
			if err := w.m.keep(task.Number, There); err != nil {
				t.Error(err)
			}
		}
		w.saved, w.told = w.m.clone(), false
	case RemoveSegment:
		saved := w.saved.segment(task.Number)
		if !w.bucket[task.Number] || saved == nil || saved.Kept != There {
			t.Errorf("segment %d is removed, which is %+v", task.Number, saved)
		}
		if w.m.State == Recording && task.Number == w.m.last() {
			t.Errorf("the last segment of a recording that lives is removed")
		}
		delete(w.files, task.Number)
	case StoreManifest:
		for _, s := range w.m.Segments {
			if s.Kept == Here {
				t.Errorf("the manifest comes before segment %d", s.Number)
			}
		}
		if !fails {
			if err := w.m.to(Stored); err != nil {
				t.Error(err)
			}
			w.saved, w.told = w.m.clone(), false
		}
	case Tell:
		w.told = !fails
	case RemoveFolder:
		if len(w.files) > 0 || w.saved.State != Stored || !w.told {
			t.Errorf("the folder is removed with %v in it, %s, told %v", w.files, w.saved.State, w.told)
		}
		w.removed = true
	}
}

func TestNoStateGoesBack(t *testing.T) {
	states := []State{Recording, Finished, Stored}
	for i, from := range states {
		for j, to := range states {
			m := Meta{State: from, End: &End{}}
			if err := m.to(to); (err == nil) != (j == i+1) {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
		}
	}
	m := Meta{State: Recording}
	if m.to(Finished) == nil {
		t.Error("it is finished without an end")
	}
	m = Meta{State: Finished, End: &End{}, Segments: []Segment{{Number: 1, Kept: Here}}}
	if m.to(Stored) == nil {
		t.Error("it is stored with a segment here")
	}
	for _, from := range []Kept{Here, There, Aside} {
		for _, to := range []Kept{Here, There, Aside} {
			m := Meta{Segments: []Segment{{Number: 1, Kept: from}}}
			if err := m.keep(1, to); (err == nil) != (from == Here && to != Here) {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
		}
	}
}

func TestAReportFitsWhatTheControlPlaneTakes(t *testing.T) {
	m := Meta{Origin: origin(), State: Stored, End: &End{Cause: "client", Lost: 5}}
	for range 2 * maxFaults {
		m.fault("%s\x1b[2J", strings.Repeat("é", 300))
	}
	r := m.report()
	if len(m.Faults) != maxFaults || len(r.Fault) > maxFault || strings.ContainsRune(r.Fault, '\x1b') || !strings.HasPrefix(r.Fault, "5 bytes are lost") {
		t.Errorf("%d faults, %q", len(m.Faults), r.Fault)
	}
}

// What could not be written down is written down as soon as the disk takes it, without
// anything else that happens to the recording.
func TestHowFarARecordingIsIsWrittenDownInTheEnd(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	defer s.Close()
	rec := r.begin(s, 0)
	if err := errors.Join(rec.say("x"), rec.Close(recording.Ended{Cause: "client"}), rec.session.Finish("client", r.key)); err != nil {
		t.Fatal(err)
	}
	dir := rec.session.entry.dir
	without := func(do func() error) error {
		t.Helper()
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		err := do()
		s.look()
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		s.look()
		return err
	}
	job := func(do Action) Job {
		t.Helper()
		for _, j := range s.Jobs(r.key) {
			if j.Do == do {
				return j
			}
		}
		t.Fatalf("there is no job %q", do)
		return Job{}
	}
	tell := job(Tell)
	if err := without(func() error { return s.Told(tell) }); err == nil {
		t.Error("it is told of what nobody could write down")
	}
	if m, err := readMeta(dir); err != nil || m.Told != digest(tell.Report) {
		t.Errorf("on the disk is %+v, %v", m, err)
	}
	store := job(StoreSegment)
	if err := without(func() error { return s.Stored(store, store.Size, store.SHA256) }); err == nil {
		t.Error("it is stored of what nobody could write down")
	}
	job(StoreSegment) // once more, which changes nothing in the bucket
	r.drain(s)
	if report := r.verify(rec.origin); !report.Whole() {
		t.Errorf("%+v", report)
	}
	if left := folders(t, r.dir); len(left) != 0 {
		t.Errorf("the spool still has %v", left)
	}
}
