package upload

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// generous bounds what a test waits for: machines are busy.
const generous = 60 * time.Second

// folder is a Source of files.
type folder struct {
	t   testing.TB
	dir string

	mu      sync.Mutex
	todo    []Object
	stored  map[string]int
	refused map[string]error
	changed chan struct{}
	listed  func() // called with a list that is made and not given yet
}

func newFolder(t testing.TB) *folder {
	return &folder{t: t, dir: t.TempDir(), stored: map[string]int{}, refused: map[string]error{}, changed: make(chan struct{}, 1)}
}

// add makes a file of random bytes.
func (f *folder) add(name string, size int) Object {
	f.t.Helper()
	text := make([]byte, size)
	rand.Read(text)
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	o := Object{Key: "prj_x/2026/11/21/" + name, Path: path, Size: int64(size), SHA256: hex.EncodeToString(sum[:])}
	f.mu.Lock()
	f.todo = append(f.todo, o)
	f.mu.Unlock()
	f.wake()
	return o
}

func (f *folder) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *folder) Objects() []Object {
	f.mu.Lock()
	todo, listed := slices.Clone(f.todo), f.listed
	f.mu.Unlock()
	if listed != nil {
		listed()
	}
	return todo
}

func (f *folder) drop(key string) {
	for i, o := range f.todo {
		if o.Key == key {
			f.todo = append(f.todo[:i:i], f.todo[i+1:]...)
			return
		}
	}
	f.t.Errorf("%s was done already", key)
}

func (f *folder) Stored(o Object) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored[o.Key]++
	f.drop(o.Key)
	return nil
}

func (f *folder) Refused(o Object, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[o.Key] = why
	f.drop(o.Key)
}

func (f *folder) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.todo)
}

func (f *folder) outcome(o Object) (stored int, refused error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored[o.Key], f.refused[o.Key]
}

func start(t testing.TB, f *folder, opt Options) *Uploader {
	t.Helper()
	opt.Log = slog.New(slog.NewTextHandler(testLog{t}, nil))
	if opt.retryMin == 0 {
		opt.retryMin, opt.retryMax = 5*time.Millisecond, 50*time.Millisecond
	}
	u, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.Run(ctx, f, f.changed)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return u
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
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

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func sameAsFile(t testing.TB, b *blob.Bucket, o Object) {
	t.Helper()
	got, err := b.ReadAll(context.Background(), o.Key)
	if err != nil || sumOf(got) != o.SHA256 {
		t.Errorf("%s: %d bytes, %v", o.Key, len(got), err)
	}
}

func TestFilesAreStoredInAFolder(t *testing.T) {
	f := newFolder(t)
	dir := filepath.Join(t.TempDir(), "recordings")
	var all []Object
	for i := range 40 {
		all = append(all, f.add(fmt.Sprint("object", i), i*1000))
	}
	u := start(t, f, Options{URL: "file://" + dir})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	for _, o := range all {
		got, err := os.ReadFile(filepath.Join(dir, o.Key))
		sum := sha256.Sum256(got)
		if n, _ := f.outcome(o); n != 1 || err != nil || hex.EncodeToString(sum[:]) != o.SHA256 {
			t.Errorf("%s: stored %d times, %v", o.Key, n, err)
		}
	}
	eventually(t, "the figures", func() bool { return u.Status().Objects == int64(len(all)) })
}

// memory is a bucket that lives as long as the test, whoever opens it.
func memory(t testing.TB) (*blob.Bucket, func(context.Context, string) (*blob.Bucket, error)) {
	b := memblob.OpenBucket(nil)
	t.Cleanup(func() { b.Close() })
	return b, func(context.Context, string) (*blob.Bucket, error) { return b, nil }
}

func TestAnObjectThatIsThereIsComparedAndNeverOverwritten(t *testing.T) {
	b, open := memory(t)
	f := newFolder(t)
	same, other, longer := f.add("same", 1000), f.add("other", 1000), f.add("longer", 1000)
	text, _ := os.ReadFile(same.Path)
	for key, text := range map[string][]byte{same.Key: text, other.Key: make([]byte, 1000), longer.Key: make([]byte, 1001)} {
		if err := b.WriteAll(t.Context(), key, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	start(t, f, Options{URL: "mem://", open: open})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	if n, why := f.outcome(same); n != 1 || why != nil {
		t.Errorf("the same one: stored %d times, %v", n, why)
	}
	for _, o := range []Object{other, longer} {
		n, why := f.outcome(o)
		if n != 0 || !errors.Is(why, ErrConflict) {
			t.Errorf("%s: stored %d times, %v", o.Key, n, why)
		}
		if got, _ := b.ReadAll(t.Context(), o.Key); len(got) == 0 || got[0] != 0 {
			t.Errorf("%s was overwritten", o.Key)
		}
	}
}

func TestAFileThatTheDiskChangedIsNotStored(t *testing.T) {
	b, open := memory(t)
	f := newFolder(t)
	flipped, gone, good := f.add("flipped", 10000), f.add("gone", 10), f.add("good", 10)
	text, _ := os.ReadFile(flipped.Path)
	text[5000] ^= 1
	if err := os.WriteFile(flipped.Path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(gone.Path)
	start(t, f, Options{URL: "mem://", open: open})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	for _, o := range []Object{flipped, gone} {
		if n, why := f.outcome(o); n != 0 || !errors.Is(why, ErrSource) {
			t.Errorf("%s: stored %d times, %v", o.Key, n, why)
		}
		if there, _ := b.Exists(t.Context(), o.Key); there {
			t.Errorf("%s is in the bucket", o.Key)
		}
	}
	if n, _ := f.outcome(good); n != 1 {
		t.Error("the good one is not stored")
	}
}

func TestOneThatCannotBeStoredHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	// A file stands where these would need a folder.
	if err := os.WriteFile(filepath.Join(dir, "bad"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFolder(t)
	for i := range 100 {
		o := f.add(fmt.Sprint("bad", i), 100)
		f.mu.Lock()
		f.todo[i].Key = "bad/" + filepath.Base(o.Path)
		f.mu.Unlock()
	}
	u := start(t, f, Options{URL: "file://" + dir, retryMin: 10 * time.Millisecond, retryMax: time.Second})
	eventually(t, "errors in a row", func() bool { return u.Status().Err != nil })
	for i := range 20 {
		o := f.add(fmt.Sprint("good", i), 100)
		eventually(t, o.Key, func() bool { n, _ := f.outcome(o); return n == 1 })
	}
	if f.left() != 100 {
		t.Errorf("%d are left", f.left())
	}
	// And those are not given up.
	if err := os.Remove(filepath.Join(dir, "bad")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others", func() bool { return f.left() == 0 })
	eventually(t, "the end of the trouble", func() bool { s := u.Status(); return s.Err == nil && s.Since.IsZero() })
}

func TestOneThatEndsWhileTheListIsMadeIsStoredOnce(t *testing.T) {
	_, memory := memory(t)
	f := newFolder(t)
	o := f.add("one", 100)
	listed, sent := make(chan struct{}), make(chan struct{})
	u := start(t, f, Options{URL: "mem://", open: func(ctx context.Context, url string) (*blob.Bucket, error) {
		// It is being tried: now a list is made that still has it, and given when the
		// try is over.
		f.mu.Lock()
		f.listed = func() {
			f.mu.Lock()
			f.listed = nil
			f.mu.Unlock()
			close(listed)
			<-sent
		}
		f.mu.Unlock()
		f.wake()
		<-listed
		return memory(ctx, url)
	}})
	eventually(t, "the object", func() bool { return u.Status().Objects == 1 })
	close(sent)
	f.add("two", 100)
	eventually(t, "the end", func() bool { return u.Status().Objects >= 2 && f.left() == 0 })
	if n, _ := f.outcome(o); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

func TestThePauseAfterErrorsIsAnyTimeUpToABound(t *testing.T) {
	u, err := New(Options{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		errors int
		bound  time.Duration
	}{{1, retryMin}, {2, 2 * retryMin}, {8, 128 * time.Second}, {9, retryMax}, {100, retryMax}, {1 << 30, retryMax}} {
		most := time.Duration(0)
		for range 2000 {
			d := u.backoff(tc.errors)
			if d <= 0 || d > tc.bound {
				t.Fatalf("after %d errors %v", tc.errors, d)
			}
			most = max(most, d)
		}
		if most < tc.bound*9/10 {
			t.Errorf("after %d errors never more than %v", tc.errors, most)
		}
	}
}

func TestTheRateIsKept(t *testing.T) {
	_, open := memory(t)
	f := newFolder(t)
	f.add("big", 3*maxRead)
	began := time.Now()
	start(t, f, Options{URL: "mem://", open: open, Rate: 2 * maxRead})
	eventually(t, "the end", func() bool { return f.left() == 0 })
	// The first two are the burst.
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("%v", took)
	}
}

func TestAReaderThatFailsLeavesNoObject(t *testing.T) {
	dir := t.TempDir()
	u, err := New(Options{URL: "file://" + dir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &source{ctx: ctx, cancel: cancel, inner: bytes.NewReader(make([]byte, 100)), left: 200}
	if err := b.Upload(ctx, "key", s, &blob.WriterOptions{ContentType: contentType}); err == nil {
		t.Error("half a file is stored")
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("%v is there", names)
	}
}

func TestWhatIsNoBucketIsRefusedAtTheStart(t *testing.T) {
	if _, err := New(Options{URL: "ftp://x"}); err == nil {
		t.Error("it is taken")
	}
}
