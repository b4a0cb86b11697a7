package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/recording"
)

func TestARecordingsWholeLife(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	defer s.Close()
	rec := r.begin(s, 4<<10)
	said := lines(500)
	for i, l := range said {
		if err := rec.say(l); err != nil {
			t.Fatal(err)
		}
		if i == 250 {
			eventually(t, "a whole segment while the session lives", func() bool {
				return slices.ContainsFunc(s.Jobs(r.key), func(j Job) bool { return j.Do == StoreSegment })
			})
			r.drain(s)
			if n := len(r.stored(rec.origin)); n == 0 {
				t.Error("nothing is stored while the session lives")
			}
		}
	}
	if err := rec.Close(recording.Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	if err := rec.session.Finish("client", r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	if report := r.verify(rec.origin); !report.Whole() || report.Cause != "client" {
		t.Errorf("%+v", report)
	}
	if got := r.output(rec.origin); got != strings.Join(said, "") {
		t.Errorf("%d bytes of output", len(got))
	}
	if left := folders(t, r.dir); len(left) != 0 {
		t.Errorf("the spool still has %v", left)
	}
	if last := r.told[len(r.told)-1]; r.told[0] != api.RecordingRunning || last != api.RecordingStored {
		t.Errorf("told %v", r.told)
	}
}

func TestWhatADeadProcessLeftIsFinishedAndStored(t *testing.T) {
	r := newRig(t)
	first := r.open(nil)
	rec := r.begin(first, 4<<10)
	said := lines(300)
	for _, l := range said {
		if err := rec.say(l); err != nil {
			t.Fatal(err)
		}
	}
	second := r.open(nil)
	defer second.Close()
	if n, err := second.Recover(r.key); n != 0 || err != nil || len(second.Jobs(r.key)) != 0 {
		t.Fatalf("a recording whose process lives is taken over: %d, %v", n, err)
	}
	first.Close() // as the kernel does it for a process that dies
	file := filepath.Join(r.dir, rec.origin.Session, "torn")
	if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := second.Recover(nil); n != 1 || err != nil {
		t.Fatalf("without a key %d wait, %v", n, err)
	}
	if slices.ContainsFunc(second.Jobs(nil), func(j Job) bool { return j.Do == StoreManifest }) {
		t.Error("there is a manifest without an end")
	}
	if n, err := second.Recover(r.key); n != 0 || err != nil {
		t.Fatalf("%d wait, %v", n, err)
	}
	r.drain(second)
	if report := r.verify(rec.origin); !report.Whole() || report.Cause != recording.Interrupted {
		t.Errorf("%+v", report)
	}
	if got := r.output(rec.origin); got != strings.Join(said, "") {
		t.Errorf("%d bytes of output", len(got))
	}
	if left := folders(t, r.dir); len(left) != 0 {
		t.Errorf("the spool still has %v", left)
	}
}

// Whoever comes next finishes what is there: a writer that outlives its spool writes nothing
// under its hands.
func TestNothingIsWrittenAfterTheSpoolIsClosed(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	rec := r.begin(s, 0)
	need(t, rec.say("before"))
	need(t, s.Close())
	held := func() (all []byte) {
		for _, name := range []string{metaFile, "000001.seg"} {
			b, err := os.ReadFile(filepath.Join(rec.session.entry.dir, name))
			need(t, err)
			all = append(all, b...)
		}
		return all
	}
	before := held()
	if err := rec.say("after"); !errors.Is(err, errOver) {
		t.Errorf("a frame is taken: %v", err)
	}
	rec.Close(recording.Ended{Cause: "client"})
	if err := rec.session.Finish("client", r.key); !errors.Is(err, errOver) {
		t.Errorf("the recording is finished: %v", err)
	}
	if after := held(); !bytes.Equal(before, after) {
		t.Errorf("%d bytes became %d", len(before), len(after))
	}
	next := r.open(nil)
	defer next.Close()
	if _, err := next.Recover(r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(next)
	if report := r.verify(rec.origin); !report.Whole() {
		t.Errorf("%+v", report)
	}
}

// A folder that appears after Close would be of a process that has told the next one that it is
// gone.
func TestCloseWaitsForARecordingThatBegins(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	first, err := s.Begin(origin())
	need(t, err)
	var begun sync.WaitGroup
	for range 20 {
		begun.Go(func() { s.Begin(origin()) }) // or it is too late
	}
	eventually(t, "a beginning", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.entries) > 1
	})
	need(t, s.Close())
	there := folders(t, r.dir)
	if _, err := first.Create(1); !errors.Is(err, errOver) {
		t.Errorf("a segment is made: %v", err)
	}
	begun.Wait()
	if later := folders(t, r.dir); !slices.Equal(there, later) {
		t.Errorf("after Close there was %v, and then %v", there, later)
	}
}

// What was written while the last sync was under way was taken, and whoever comes next may come
// long after a power cut.
func TestCloseSyncsWhatWasWrittenDuringASync(t *testing.T) {
	r := newRig(t)
	begun, resume := make(chan struct{}, 8), make(chan struct{})
	disk := newForgetful(func() time.Duration { return 0 })
	s := r.open(func(o *Options) {
		o.syncDir, o.syncLimit = disk.syncDir, generous
		o.open = func(path string) (file, error) {
			f, err := disk.open(path)
			return slowSync{f, begun, resume}, err
		}
	})
	rec := r.begin(s, 0)
	need(t, rec.say("before"))
	<-begun
	need(t, rec.say("meanwhile"))
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	eventually(t, "nothing more begins", func() bool {
		s.syncs.mu.Lock()
		defer s.syncs.mu.Unlock()
		return s.syncs.over
	})
	close(resume)
	need(t, <-closed)
	disk.mu.Lock()
	defer disk.mu.Unlock()
	for name, f := range disk.files {
		if f.synced != f.written {
			t.Errorf("%s: %d of %d bytes are on the disk", filepath.Base(name), f.synced, f.written)
		}
	}
}

// slowSync is a file whose syncs go on when they are told to.
type slowSync struct {
	file
	begun chan<- struct{}
	on    <-chan struct{}
}

func (f slowSync) Sync() error {
	err := f.file.Sync()
	f.begun <- struct{}{}
	<-f.on
	return err
}

func TestDamageInTheMiddleOfWhatWasLeftIsToldAndTheRestIsStored(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	rec := r.begin(s, 0)
	for _, l := range lines(300) {
		if err := rec.say(l); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	path := filepath.Join(r.dir, rec.origin.Session, recording.SegmentName(1))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	next := r.open(nil)
	defer next.Close()
	if n, err := next.Recover(r.key); n != 0 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if f := next.Jobs(r.key)[0].Report.Fault; !strings.Contains(f, "damaged") {
		t.Errorf("told %q", f)
	}
	r.drain(next)
	if report := r.verify(rec.origin); !report.Ended {
		t.Errorf("%+v", report)
	}
}

func TestWhatCannotBeUnderstoodIsSetAsideAndTheRestGoesOn(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	var all []*recorder
	for range 4 {
		rec := r.begin(s, 0)
		if err := rec.say("hello\n"); err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
	s.Close()
	in := func(i int, name string) string { return filepath.Join(r.dir, all[i].origin.Session, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(in(0, metaFile), "")                        // a power cut in its first second
	write(in(1, recording.SegmentName(1)), "rubbish") // a disk that lost it
	var m Meta
	text, err := os.ReadFile(in(2, metaFile))
	if err != nil || json.Unmarshal(text, &m) != nil {
		t.Fatal(err)
	}
	m.Project = "../../etc"
	text, _ = json.Marshal(m)
	write(in(2, metaFile), string(text))
	next := r.open(nil)
	defer next.Close()
	if n, err := next.Recover(r.key); n != 0 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	again := r.open(nil) // the control plane has not heard yet
	if n := len(again.tellAside()); n != 2 {
		t.Errorf("after a restart %d are told of that were set aside", n)
	}
	again.Close()
	r.drain(next)
	if n := len(slices.DeleteFunc(slices.Clone(r.told), func(state string) bool { return state != api.RecordingDamaged })); n != 3 {
		t.Errorf("%d are told of as damaged: %v", n, r.told)
	}
	if n := len(next.tellAside()); n != 0 || !slices.Contains(r.told, api.RecordingDamaged) {
		t.Errorf("%d are told of again, told %v", n, r.told)
	}
	if report := r.verify(all[3].origin); !report.Whole() {
		t.Errorf("%+v", report)
	}
	if got := folders(t, r.dir); !slices.Equal(got, []string{quarantineDir}) {
		t.Errorf("left: %v", got)
	}
	if got := folders(t, filepath.Join(r.dir, quarantineDir)); len(got) != 3 {
		t.Errorf("set aside: %v", got)
	}
	for i := range 3 {
		why, err := os.ReadFile(filepath.Join(r.dir, quarantineDir, all[i].origin.Session, reasonFile))
		if err != nil || len(why) == 0 {
			t.Errorf("no reason for %d: %v", i, err)
		}
	}
	if f := next.Figures(); f.Quarantined != 3 {
		t.Errorf("%+v", f)
	}
}

func TestANewerGatewaysRecordingIsLeftAlone(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	rec := r.begin(s, 0)
	s.Close()
	path := filepath.Join(r.dir, rec.origin.Session, metaFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(text), `"version":1`, `"version":2`, 1)
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	next := r.open(nil)
	defer next.Close()
	next.Recover(r.key)
	if got := folders(t, r.dir); !slices.Equal(got, []string{rec.origin.Session}) {
		t.Errorf("left: %v", got)
	}
}

func TestASegmentThatIsNotWhatWasRecordedIsNeverTakenForStored(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	defer s.Close()
	rec := r.begin(s, 0)
	rec.say("hello\n")
	rec.Close(recording.Ended{Cause: "client"})
	if err := rec.session.Finish("client", r.key); err != nil {
		t.Fatal(err)
	}
	j := s.Jobs(r.key)[0]
	if err := s.Stored(j, j.Size, strings.Repeat("0", 64)); !errors.Is(err, ErrChanged) {
		t.Errorf("another hash: %v", err)
	}
	if err := s.Stored(j, j.Size-1, j.SHA256); !errors.Is(err, ErrChanged) {
		t.Errorf("another size: %v", err)
	}
	if !exists(j.Path) {
		t.Fatal("the segment is gone")
	}
	if err := s.SetAside(j, "another object is in its place"); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	if last := r.told[len(r.told)-1]; last != api.RecordingDamaged {
		t.Errorf("told %v", r.told)
	}
	if !exists(filepath.Join(r.dir, quarantineDir, rec.origin.Session, recording.SegmentName(1))) {
		t.Error("the segment is not in the quarantine")
	}
}

func TestBelowTheReserveNoSessionBeginsAndThoseThatRunHaveAShare(t *testing.T) {
	const reserve = 1 << 20
	free := int64(reserve)
	r := newRig(t)
	s := r.open(func(o *Options) {
		o.Reserve, o.patience = reserve, 50*time.Millisecond
		o.free = func(string) (int64, int64, error) { return free, 1 << 30, nil }
	})
	defer s.Close()
	a, b := r.begin(s, 0), r.begin(s, 0) // exactly the reserve is free: that is enough
	free = reserve - 1
	s.look()
	if _, err := r.tryBegin(s, 0); !errors.Is(err, ErrFull) {
		t.Errorf("a session begins: %v", err)
	}
	if err := s.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("Ready: %v", err)
	}
	// The share of each is a half of the reserve by two.
	noise := make([]byte, 32<<10) // which does not get smaller on the disk
	rand.Read(noise)
	big := string(noise)
	wrote := 0
	var err error
	for range 64 {
		if err = a.say(big); err != nil {
			break
		}
		wrote += len(big)
	}
	if !errors.Is(err, ErrFull) || wrote < reserve/4-2*len(big) || wrote > reserve/4 {
		t.Errorf("one that prints without end: %v after %d bytes", err, wrote)
	}
	if err := b.say(big); err != nil {
		t.Errorf("the other one: %v", err)
	}
	free = reserve
	s.look()
	if err := s.Ready(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	a.Close(recording.Ended{Cause: "error"})
	if err := a.session.Finish("error", r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	if report := r.verify(a.origin); !report.Whole() || report.Cause != "error" {
		t.Errorf("%+v", report)
	}
}

func TestTheReserveIsTheLargerOfTwoGiBAndATenth(t *testing.T) {
	for _, tc := range []struct {
		name              string
		asked, total, got int64
	}{
		{"a small disk", 0, 10 << 30, 2 << 30},
		{"a large one", 0, 100 << 30, 10 << 30},
		{"as it was set", 5 << 20, 100 << 30, 5 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r room
			r.init(Options{Reserve: tc.asked, free: func(string) (int64, int64, error) { return tc.total, tc.total, nil }})
			r.measure(0)
			if r.reserve != tc.got {
				t.Errorf("%d", r.reserve)
			}
		})
	}
}

func TestOnlyNamesThatAGatewayGivesLeadToFolders(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	defer s.Close()
	for _, o := range []Origin{
		{Session: "../x", Gateway: origin().Gateway, Project: origin().Project, Started: time.Now()},
		{Session: origin().Session, Gateway: origin().Gateway, Project: "", Started: time.Now()},
		{Session: origin().Session, Gateway: origin().Gateway, Project: origin().Project},
	} {
		if _, err := s.Begin(o); err == nil {
			t.Errorf("%+v begins", o)
		}
	}
	rec := r.begin(s, 0)
	if _, err := s.Begin(rec.origin); err == nil {
		t.Error("the same session begins twice")
	}
}

func TestASegmentWaitsForADescriptor(t *testing.T) {
	r := newRig(t)
	left := 3
	s := r.open(func(o *Options) {
		o.open = func(path string) (file, error) {
			if filepath.Base(path) == recording.SegmentName(2) && left > 0 {
				left--
				return nil, syscall.EMFILE
			}
			return openSegment(path)
		}
	})
	defer s.Close()
	rec := r.begin(s, 1<<10)
	for _, l := range lines(100) {
		if err := rec.say(l); err != nil {
			t.Fatal(err)
		}
	}
	rec.Close(recording.Ended{Cause: "client"})
	if err := rec.session.Finish("client", r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	if report := r.verify(rec.origin); !report.Whole() || left != 0 {
		t.Errorf("%+v", report)
	}
}
