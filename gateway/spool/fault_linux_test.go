//go:build linux && (amd64 || arm64)

package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/faulttest"
	"github.com/cardea-ssh/cardea/recording"
)

// envFaults is "all", or how many faults are tried.
const envFaults = "CARDEA_FAULTS"

// lifeOf is a fixed life of two sessions: the same calls in every run, but for the
// order of syncs. What users see is told on stdout as it is seen, and what is stored
// goes to a folder.
func lifeOf() {
	r := child()
	s, err := Open(Options{Dir: r.dir, free: plenty, syncEvery: 2 * time.Millisecond, patience: 50 * time.Millisecond})
	if err != nil {
		fmt.Println("cannot open the spool:", err)
		return
	}
	for i, id := range []string{"gse_aaaaaaaaaaaaaaaaaaaa", "gse_bbbbbbbbbbbbbbbbbbbb"} {
		o := origin()
		o.Session, o.Project, o.Gateway = id, "prj_aaaaaaaaaaaaaaaaaaaa", "gw_aaaaaaaaaaaaaaaaaaaa"
		rec, err := r.tryBeginOf(s, o, 2<<10)
		if err != nil {
			fmt.Println("cannot begin:", err)
			if rec != nil && rec.session != nil {
				rec.session.Finish("error", r.key)
			}
			continue
		}
		cause := "client"
		for n := range 60 {
			text := fmt.Sprintf("%s saw line %d\n", id, n)
			if rec.say(text) != nil {
				cause = "error"
				break
			}
			fmt.Print(text)
			if n%20 == 19 {
				time.Sleep(5 * time.Millisecond) // a sync
			}
		}
		rec.Close(recording.Ended{Cause: cause})
		if err := rec.session.Finish(cause, r.key); err != nil {
			fmt.Println("cannot finish:", err)
		}
		if i == 0 {
			storeAll(r, s)
		}
	}
	storeAll(r, s)
	s.Close()
}

// storeAll does the jobs a few times with a bucket that is a folder of its own, which
// is on another disk.
func storeAll(r *rig, s *Spool) {
	for range 12 {
		s.look()
		for _, j := range s.Jobs(r.key) {
			if j.Do == Tell {
				s.Told(j)
				continue
			}
			text, err := os.ReadFile(j.Path)
			if err != nil {
				continue
			}
			fmt.Printf("stored %s %x\n", j.Object, text)
			s.Stored(j, j.Size, j.SHA256)
		}
	}
}

// under runs the life under a plan and returns what it told.
func under(t *testing.T, p faulttest.Plan) (r *rig, told string, points []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: seccomp_unotify without no_new_privs needs root")
	}
	r = newRig(t)
	p.Log = filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(os.Args[0], os.Args[0], "-test.run=^$")
	cmd.Env = append(r.childEnv("life"), p.Env()...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if strings.Contains(stderr.String(), "has no seccomp_unotify") {
		t.Skip("SKIPPED: this kernel has no seccomp_unotify")
	}
	if err != nil && p.Do != faulttest.Kill {
		t.Errorf("%s at %s: %v: %s", p.Do, p.At, err, stderr.String())
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	points, _ = faulttest.Read(string(log))
	return r, string(out), points
}

// afterwards recovers on a good disk and checks what every user saw.
func afterwards(t *testing.T, r *rig, told, fault string) {
	t.Helper()
	seen := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(told)); lines.Scan(); {
		session, _, saw := strings.Cut(lines.Text(), " saw line ")
		var object, content string
		if n, _ := fmt.Sscanf(lines.Text(), "stored %s %s", &object, &content); n == 2 {
			text := make([]byte, len(content)/2)
			fmt.Sscanf(content, "%x", &text)
			if old, there := r.bucket[object]; there && !bytes.Equal(old, text) {
				t.Errorf("%s: %s is stored once more as something else", fault, object)
			}
			r.bucket[object] = text
		} else if saw {
			seen[session] += lines.Text() + "\n"
		}
	}
	s := r.open(nil)
	defer s.Close()
	if n, err := s.Recover(r.key); n != 0 || err != nil {
		t.Errorf("%s: %d wait, %v", fault, n, err)
	}
	r.drain(s)
	for session, text := range seen {
		o := origin()
		o.Session, o.Project = session, "prj_aaaaaaaaaaaaaaaaaaaa"
		report := r.verify(o)
		if report.Segments == 0 && !report.Whole() {
			continue // the disk did not keep even its beginning, which whoever verifies it is told
		}
		if !report.Ended {
			t.Errorf("%s: %+v", fault, report)
		}
		got := r.output(o)
		if !strings.HasPrefix(got, text) && report.Lost == 0 && report.Whole() {
			t.Errorf("%s: %s saw %d bytes, %d are recorded, and nothing says that some are lost: %+v", fault, session, len(text), len(got), report)
		}
		if !strings.HasPrefix(got, text) && !strings.HasPrefix(text, got) {
			t.Errorf("%s: %s is not what was seen", fault, session)
		}
	}
}

func TestAFaultAtAnyCallOfTheDiskLosesNothingUnsaid(t *testing.T) {
	t.Parallel()
	r, told, points := under(t, faulttest.Plan{})
	afterwards(t, r, told, "no fault")
	if !strings.Contains(told, "gse_bbbbbbbbbbbbbbbbbbbb saw line 59") {
		t.Fatalf("the life is not whole: %s", told)
	}
	type fault struct {
		at string
		do faulttest.Effect
	}
	var all []fault
	for _, p := range points {
		if strings.Contains(p, ownerMark) {
			continue // its name is another one each time
		}
		for _, do := range []faulttest.Effect{faulttest.Fail("EIO"), faulttest.FailOn("EIO"), faulttest.FailOn("ENOSPC"), faulttest.Kill} {
			if faulttest.Could(p, do) {
				all = append(all, fault{p, do})
			}
		}
	}
	n := 40
	switch text := os.Getenv(envFaults); text {
	case "":
	case "all":
		n = len(all)
	default:
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	t.Logf("%d of %d faults", min(n, len(all)), len(all))
	for _, f := range all[:min(n, len(all))] {
		r, told, _ := under(t, faulttest.Plan{At: f.at, Do: f.do})
		afterwards(t, r, told, fmt.Sprintf("%s at %s", f.do, f.at))
	}
}

// TestAFullDisk has a real one: what is written is refused when it is full, and what
// users saw is there when there is room again.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting a small disk needs root")
	}
	dir := t.TempDir()
	script := `mount -t tmpfs -o size=256k,mode=700 tmpfs "$0" && exec "$@"`
	r := newRig(t)
	r.dir = filepath.Join(dir, "spool")
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, dir, os.Args[0], "-test.run=^$")
	cmd.Env = r.childEnv("full")
	out, err := cmd.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || strings.Contains(string(out), "unshare") {
			t.Skipf("SKIPPED: no mount namespace here: %v: %s", err, out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "all is well") {
		t.Errorf("%s", out)
	}
}

// fullDisk runs on a disk of 256 KiB.
func fullDisk() {
	r := child()
	r.bucket = map[string][]byte{}
	s, err := Open(Options{Dir: r.dir, Reserve: 1, syncEvery: 2 * time.Millisecond, patience: 300 * time.Millisecond})
	must(err)
	var recs []*recorder
	seen := map[*recorder]string{}
	for range 3 {
		rec, err := r.tryBegin(s, 16<<10)
		must(err)
		recs = append(recs, rec)
	}
	failed := 0
	for i := 0; failed < len(recs); i++ {
		rec := recs[i%len(recs)]
		text := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", 1000))
		switch err := rec.say(text); {
		case err == nil:
			seen[rec] += text
		case errors.Is(err, ErrFull):
			failed++
		default:
			must(fmt.Errorf("not that the disk is full: %w", err))
		}
		if i > 10_000 {
			must(errors.New("the disk is never full"))
		}
	}
	if _, err := r.tryBegin(s, 0); err == nil {
		must(errors.New("a session begins on a full disk"))
	}
	for _, rec := range recs {
		rec.Close(recording.Ended{Cause: "error"})
		if err := rec.session.Finish("error", r.key); err != nil {
			fmt.Println("on the full disk:", err)
		}
	}
	// Storing what is whole makes room for the rest.
	r.full = true
	for range 100 {
		r.drain(s)
		if _, err := s.Recover(r.key); err != nil {
			fmt.Println("on the full disk:", err)
		}
		s.look()
	}
	for _, rec := range recs {
		report := r.verify(rec.origin)
		if got := r.output(rec.origin); !report.Ended || !strings.HasPrefix(got, seen[rec]) {
			must(fmt.Errorf("%d bytes of %d, %+v", len(got), len(seen[rec]), report))
		}
	}
	fmt.Println("all is well")
}

func faultModes(mode string) bool {
	switch mode {
	case "life":
		lifeOf()
	case "full":
		fullDisk()
	default:
		return false
	}
	return true
}
