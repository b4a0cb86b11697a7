package spool

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/recording"
)

// generous bounds what a test waits for: machines are busy.
const generous = 60 * time.Second

// rig is a spool with a key, someone who can read, and a bucket.
type rig struct {
	t        testing.TB
	dir      string
	key      ed25519.PrivateKey
	identity *age.X25519Identity
	bucket   map[string][]byte
	told     []string // states, in order
	full     bool     // the disk may have no room to write down what was done
}

func newRig(t testing.TB) *rig {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, dir: filepath.Join(t.TempDir(), "spool"), key: key, identity: id, bucket: map[string][]byte{}}
}

// plenty is a disk with room.
func plenty(string) (int64, int64, error) { return 100 << 30, 200 << 30, nil }

func (r *rig) open(change func(*Options)) *Spool {
	r.t.Helper()
	opt := Options{Dir: r.dir, free: plenty, Log: slog.New(slog.NewTextHandler(testLog{r.t}, nil)), syncEvery: 5 * time.Millisecond}
	if change != nil {
		change(&opt)
	}
	s, err := Open(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

func origin() Origin {
	return Origin{
		Session: ident.New(ident.GatewaySession), Gateway: ident.New(ident.Gateway), Project: ident.New(ident.Project),
		Started: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC),
	}
}

// recorder is a session being recorded.
type recorder struct {
	*recording.Writer
	session *Session
	origin  Origin
}

func (r *rig) begin(s *Spool, bytesOfSegment int64) *recorder {
	r.t.Helper()
	rec, err := r.tryBegin(s, bytesOfSegment)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

func (r *rig) tryBegin(s *Spool, bytesOfSegment int64) (*recorder, error) {
	return r.tryBeginOf(s, origin(), bytesOfSegment)
}

func (r *rig) tryBeginOf(s *Spool, o Origin, bytesOfSegment int64) (*recorder, error) {
	x, err := s.Begin(o)
	if err != nil {
		return nil, err
	}
	w, err := recording.NewWriter(x, recording.WriterOptions{
		Header:     recording.Header{Session: o.Session, Gateway: o.Gateway, Project: o.Project, Started: o.Started},
		Recipients: []age.Recipient{r.identity.Recipient()}, Key: func() (ed25519.PrivateKey, error) { return r.key, nil }, SegmentBytes: bytesOfSegment,
	})
	return &recorder{w, x, o}, err
}

// say records a line of output.
func (r *recorder) say(text string) error {
	return r.Record(recording.Event{Channel: 1, Kind: recording.Output, Data: []byte(text)})
}

// drain does all jobs until none is left, in a bucket that works.
func (r *rig) drain(s *Spool) {
	r.t.Helper()
	for range 1000 {
		jobs := s.Jobs(r.key)
		if len(jobs) == 0 {
			return
		}
		for _, j := range jobs {
			r.do(s, j)
		}
		if r.full {
			return // whoever has made room comes back
		}
	}
	r.t.Fatal("the jobs have no end")
}

func (r *rig) do(s *Spool, j Job) {
	r.t.Helper()
	if j.Do == Tell {
		r.told = append(r.told, j.Report.State)
		if err := s.Told(j); err != nil && !(r.full && isFull(err)) {
			r.t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(j.Path)
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	if old, ok := r.bucket[j.Object]; ok && !bytes.Equal(old, text) {
		r.t.Fatalf("%s would be overwritten", j.Object)
	}
	r.bucket[j.Object] = text
	if err := s.Stored(j, int64(len(text)), hex.EncodeToString(sum[:])); err != nil && !(r.full && isFull(err)) {
		r.t.Fatal(err)
	}
}

// stored is the folder of a recording in the bucket.
func (r *rig) stored(o Origin) fstest.MapFS {
	out := fstest.MapFS{}
	for key, text := range r.bucket {
		if path.Dir(key) == o.Place() {
			out[path.Base(key)] = &fstest.MapFile{Data: text}
		}
	}
	return out
}

// verify checks what is in the bucket.
func (r *rig) verify(o Origin) recording.Report {
	r.t.Helper()
	public := r.key.Public().(ed25519.PublicKey)
	report, err := recording.Verify(r.stored(o), recording.VerifyOptions{Keys: recording.KeySet(public), Session: o.Session})
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := VerifyManifest(r.bucket[path.Join(o.Place(), ManifestName)], func(string) ed25519.PublicKey { return public })
	if err != nil {
		r.t.Fatal(err)
	}
	if m.Head != report.Head || m.Session != o.Session {
		r.t.Errorf("the manifest says %s of %s, the recording %s", m.Head, m.Session, report.Head)
	}
	return report
}

// output reads what users saw.
func (r *rig) output(o Origin) string { return readOutput(r.t, r.stored(o), r.identity) }

func readOutput(t testing.TB, folder fstest.MapFS, id age.Identity) string {
	t.Helper()
	reader, err := recording.NewReader(folder, id)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		e, err := reader.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == recording.Output {
			b.Write(e.Data)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(generous); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not come", what)
}

// lines are n lines of text.
func lines(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("line %d of what the user saw\n", i))
	}
	return out
}

func folders(t testing.TB, dir string) (out []string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if n.IsDir() {
			out = append(out, n.Name())
		}
	}
	slices.Sort(out)
	return out
}
