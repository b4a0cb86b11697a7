package spool

import (
	"bufio"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/recording"
)

// The environment of a child that records until it is killed.
const (
	envDir  = "CARDEA_TEST_SPOOL"
	envKey  = "CARDEA_TEST_SPOOL_KEY"
	envTo   = "CARDEA_TEST_SPOOL_TO"
	envMode = "CARDEA_TEST_SPOOL_MODE"
	// envKills is how often a process is killed; 1,000 take half an hour.
	envKills = "CARDEA_KILLS"
)

// sessionsOfChild are recorded at once.
const sessionsOfChild = 8

// child is a rig in a process of its own.
func child() *rig {
	seed, err := hex.DecodeString(os.Getenv(envKey))
	must(err)
	id, err := age.ParseX25519Identity(os.Getenv(envTo))
	must(err)
	return &rig{t: loud{}, dir: os.Getenv(envDir), key: ed25519.NewKeyFromSeed(seed), identity: id}
}

// loud ends a child that has trouble.
type loud struct{ testing.TB }

func (loud) Helper()             {}
func (loud) Fatal(args ...any)   { fmt.Fprintln(os.Stderr, args...); os.Exit(3) }
func (loud) Logf(string, ...any) {}
func must(err error) {
	if err != nil {
		loud{}.Fatal(err)
	}
}

func (r *rig) childEnv(mode string) []string {
	return append(os.Environ(), envMode+"="+mode, envDir+"="+r.dir, envKey+"="+hex.EncodeToString(r.key.Seed()), envTo+"="+r.identity.String(), buildtest.RaceOptions)
}

// recordUntilKilled tells on stdout what each user has seen, after Record has returned.
func recordUntilKilled() {
	r := child()
	s := r.open(nil)
	var told sync.Mutex
	var all sync.WaitGroup
	for range sessionsOfChild {
		rec := r.begin(s, 8<<10)
		all.Go(func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf("%s saw line %d %s\n", rec.origin.Session, i, strings.Repeat("x", rand.N(200)))
				if err := rec.say(text); err != nil {
					loud{}.Fatal(err)
				}
				told.Lock()
				fmt.Print(text)
				told.Unlock()
			}
		})
	}
	all.Wait()
}

func kills(t *testing.T) int {
	if text := os.Getenv(envKills); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 6
}

func TestWhatUsersSawSurvivesThatTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	for i := range kills(t) {
		r := newRig(t)
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = r.childEnv("record")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		seen := map[string]*strings.Builder{}
		note := func() bool {
			line, err := lines.ReadString('\n')
			if err != nil {
				return false // a half line may be of the kill
			}
			session, _, _ := strings.Cut(line, " ")
			if seen[session] == nil {
				seen[session] = new(strings.Builder)
			}
			seen[session].WriteString(line)
			return true
		}
		note()
		time.AfterFunc(rand.N(150*time.Millisecond), func() { cmd.Process.Kill() })
		for note() {
		}
		cmd.Wait()
		s := r.open(nil)
		if n, err := s.Recover(r.key); n != 0 || err != nil {
			t.Fatalf("kill %d: %d wait, %v", i, n, err)
		}
		origins := map[string]Origin{}
		for _, e := range s.all() {
			origins[e.session] = e.meta.Origin
		}
		r.drain(s)
		s.Close()
		for session, text := range seen {
			o, ok := origins[session]
			if !ok {
				t.Fatalf("kill %d: %s is not there", i, session)
			}
			if report := r.verify(o); !report.Whole() || report.Cause != recording.Interrupted {
				t.Errorf("kill %d: %+v", i, report)
			}
			if got := r.output(o); !strings.HasPrefix(got, text.String()) {
				t.Errorf("kill %d: %s saw %d bytes, %d are recorded", i, session, text.Len(), len(got))
			}
		}
		left := slices.DeleteFunc(folders(t, r.dir), func(name string) bool { return strings.HasPrefix(name, newMark) })
		if len(left) > 0 {
			t.Errorf("kill %d: left: %v", i, left)
		}
	}
}

// forgetful is a disk on which only what was synced survives a power cut.
type forgetful struct {
	mu    sync.Mutex
	cut   bool
	files map[string]*forgetfulFile
	dirs  map[string]bool // synced since anything was made in them
	slow  func() time.Duration
}

type forgetfulFile struct {
	disk    *forgetful
	f       *os.File
	written int64
	synced  int64
	placed  bool // its folder was synced since
}

var errCut = errors.New("there is no power")

func newForgetful(slow func() time.Duration) *forgetful {
	return &forgetful{files: map[string]*forgetfulFile{}, dirs: map[string]bool{}, slow: slow}
}

func (d *forgetful) open(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return nil, errCut
	}
	f, err := openSegment(path)
	if err != nil {
		return nil, err
	}
	d.files[path] = &forgetfulFile{disk: d, f: f.(*os.File)}
	return d.files[path], nil
}

func (d *forgetful) syncDir(path string) error {
	time.Sleep(d.slow())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errCut
	}
	d.dirs[path] = true
	for name, f := range d.files {
		if filepath.Dir(name) == path {
			f.placed = true
		}
	}
	return nil
}

func (f *forgetfulFile) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.cut {
		return 0, errCut
	}
	n, err := f.f.Write(b)
	f.written += int64(n)
	return n, err
}

func (f *forgetfulFile) Sync() error {
	f.disk.mu.Lock()
	mark := f.written
	f.disk.mu.Unlock()
	time.Sleep(f.disk.slow())
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.cut {
		return errCut
	}
	f.synced = mark
	return nil
}

func (f *forgetfulFile) Truncate(n int64) error { return f.f.Truncate(n) }
func (f *forgetfulFile) Close() error           { return nil } // its size is needed yet

// powerCut takes away what was not synced: of each file some pages behind what was,
// in any order, are on the disk, and others are zero, and it ends anywhere.
func (d *forgetful) powerCut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
}

func (d *forgetful) mangle(t *testing.T) {
	t.Helper()
	const page = 4096
	for name, f := range d.files {
		if !f.placed || !d.dirs[filepath.Dir(filepath.Dir(name))] {
			os.Remove(name)
			continue
		}
		end := f.synced + rand.N(f.written-f.synced+1)
		if err := f.f.Truncate(end); err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at := f.synced; at < end; {
			n := min(page-at%page, end-at)
			if rand.N(2) == 0 {
				w.WriteAt(make([]byte, n), at)
			}
			at += n
		}
		w.Close()
		f.f.Close()
	}
}

func TestAPowerCutLosesNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 150 * time.Millisecond
	for round := range 3 {
		r := newRig(t)
		disk := newForgetful(func() time.Duration {
			if rand.N(4) == 0 {
				return rand.N(8 * limit) // slower than it may be: output waits
			}
			return rand.N(5 * time.Millisecond)
		})
		s := r.open(func(o *Options) {
			o.open, o.syncDir, o.syncLimit, o.syncEvery = disk.open, disk.syncDir, limit, 10*time.Millisecond
		})
		type line struct {
			before, after time.Time // the call of Record
			text          string
		}
		recs := make([]*recorder, 4)
		said := make([][]line, len(recs))
		var all sync.WaitGroup
		for i := range recs {
			recs[i] = r.begin(s, int64(64<<10)<<(4*(i%2))) // a turn to the next waits for a sync too
			all.Go(func() {
				for n := 0; ; n++ {
					text := fmt.Sprintf("line %d %s\n", n, strings.Repeat("x", rand.N(500)))
					before := time.Now()
					if recs[i].say(text) != nil {
						return
					}
					said[i] = append(said[i], line{before, time.Now(), text})
					time.Sleep(rand.N(2 * time.Millisecond))
				}
			})
		}
		time.Sleep(limit*5 + rand.N(600*time.Millisecond))
		disk.powerCut()
		all.Wait()
		s.Close()
		disk.mangle(t)
		next := r.open(nil)
		if n, err := next.Recover(r.key); n != 0 || err != nil {
			t.Fatalf("round %d: %d wait, %v", round, n, err)
		}
		r.drain(next)
		next.Close()
		missing := 0
		for i, rec := range recs {
			got := ""
			if r.stored(rec.origin)[recording.SegmentName(1)] != nil { // else not even its folder was kept in time
				report := r.verify(rec.origin)
				if !report.Ended || report.Cause != recording.Interrupted {
					t.Errorf("round %d: %+v", round, report)
				}
				got = r.output(rec.origin)
			}
			for _, l := range said[i] {
				if strings.HasPrefix(got, l.text) {
					got = got[len(l.text):]
					continue
				}
				missing++
				// The user saw nothing more once the limit was over, however long the disk took.
				if saw := said[i][len(said[i])-1].before.Sub(l.after); saw > limit {
					t.Errorf("round %d: what was seen within %v is missing", round, saw)
				}
				break
			}
		}
		t.Logf("round %d: something is missing of %d of %d sessions", round, missing, len(recs))
		if slices.Contains(folders(t, r.dir), quarantineDir) {
			t.Errorf("round %d: something was set aside", round)
		}
	}
}

// broken is a disk whose syncs fail when they are told to.
type broken struct {
	*os.File
	fail func() error
}

func (b broken) Sync() error { return errors.Join(b.fail(), b.File.Sync()) }

func TestAfterASyncThatFailedNothingCountsAsKept(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	var fault error
	s := r.open(func(o *Options) {
		o.open = func(path string) (file, error) {
			f, err := openSegment(path)
			if err != nil {
				return nil, err
			}
			return broken{f.(*os.File), func() error {
				mu.Lock()
				defer mu.Unlock()
				err := fault
				fault = nil // the kernel tells of it once
				return err
			}}, nil
		}
	})
	defer s.Close()
	rec, other := r.begin(s, 0), r.begin(s, 0)
	if err := errors.Join(rec.say("kept\n"), rec.session.current.Sync(), other.session.current.Sync()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	fault = syscall.EIO
	mu.Unlock()
	if err := rec.say("lost\n"); err != nil {
		t.Fatal(err)
	}
	var err error
	eventually(t, "the error", func() bool { err = rec.say("after\n"); return err != nil })
	if !errors.Is(err, ErrLost) || !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	if err := rec.say("after\n"); !errors.Is(err, ErrLost) {
		t.Errorf("the second time: %v", err)
	}
	if err := s.Ready(); !errors.Is(err, ErrFailing) {
		t.Errorf("Ready: %v", err)
	}
	if _, err := r.tryBegin(s, 0); !errors.Is(err, ErrFailing) {
		t.Errorf("a session begins: %v", err)
	}
	if err := other.say("hello\n"); err != nil {
		t.Errorf("another session: %v", err)
	}
	rec.Close(recording.Ended{Cause: "error"})
	if err := rec.session.Finish("error", r.key); err != nil {
		t.Fatal(err)
	}
	r.drain(s)
	report := r.verify(rec.origin)
	if !report.Whole() || report.Cause != "error" || report.Lost == 0 {
		t.Errorf("%+v", report)
	}
	if got := r.output(rec.origin); got != "kept\n" {
		t.Errorf("recorded %q", got)
	}
	for range goodProbes {
		if s.Ready() == nil {
			t.Error("it is ready before it was tried often enough")
		}
		s.look()
	}
	if err := s.Ready(); err != nil {
		t.Errorf("after good probes: %v", err)
	}
}

func TestOutputWaitsForADiskThatDoesNotKeepUp(t *testing.T) {
	r := newRig(t)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	var held sync.Map // files whose first sync, that of the head, is over
	const limit = 100 * time.Millisecond
	s := r.open(func(o *Options) {
		o.syncLimit = limit
		o.open = func(path string) (file, error) {
			f, err := openSegment(path)
			if err != nil {
				return nil, err
			}
			return broken{f.(*os.File), func() error {
				if _, again := held.LoadOrStore(path, true); again {
					<-hold
				}
				return nil
			}}, nil
		}
	})
	rec := r.begin(s, 0)
	if err := rec.say("seen\n"); err != nil {
		t.Fatal(err)
	}
	var said atomic.Int64
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() && rec.say("more\n") == nil {
			said.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
	last := int64(-1)
	eventually(t, "the end of output", func() bool {
		before := last
		last = said.Load()
		time.Sleep(2 * limit)
		return last > 0 && last == before
	})
	stop.Store(true)
	release()
	<-done
	rec.Close(recording.Ended{Cause: "client"})
	if err := rec.session.Finish("client", r.key); err != nil {
		t.Fatal(err)
	}
	s.Close()
}
