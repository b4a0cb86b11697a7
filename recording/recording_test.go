package recording

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
)

// folder keeps segments as files.
type folder string

func (d folder) Create(n int) (Segment, error) {
	return os.OpenFile(filepath.Join(string(d), SegmentName(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (d folder) fs() fs.FS { return os.DirFS(string(d)) }

// reader is who can read the recordings of these tests.
func newReaderKey(t testing.TB) (*age.X25519Identity, []age.Recipient) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id, []age.Recipient{id.Recipient()}
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func TestWhatIsRecordedIsReadAndVerified(t *testing.T) {
	identity, recipients := newReaderKey(t)
	key := newKey(t)
	dir := folder(t.TempDir())
	w, err := NewWriter(dir, WriterOptions{
		Header:     Header{Session: "ses_aaaaaaaaaaaaaaaaaaaa", Gateway: "gw_a", User: "alice", Started: time.Now()},
		Recipients: recipients, Key: func() (ed25519.PrivateKey, error) { return key, nil },
		SegmentBytes: 4000, CheckBytes: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := w.Record(Event{At: time.Duration(i) * time.Second, Channel: 1, Kind: Output, Data: fmt.Appendf(nil, "line %d\r\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(dir.fs(), VerifyOptions{Keys: KeySet(publicOf(key)), Head: w.Progress().Head})
	if err != nil || !report.Whole() || report.Cause != "client" || report.Segments < 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	r, err := NewReader(dir.fs(), identity)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header().User != "alice" {
		t.Errorf("header %+v", r.Header())
	}
	var got bytes.Buffer
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got.Write(e.Data)
	}
	if !bytes.Contains(got.Bytes(), []byte("line 99\r\n{\"cause\":\"client\"}")) {
		t.Errorf("read %q", got.Bytes())
	}
}

func TestARecordingThatWasCutOffIsEndedByAnotherProcess(t *testing.T) {
	identity, recipients := newReaderKey(t)
	key, next := newKey(t), newKey(t)
	dir := folder(t.TempDir())
	w, err := NewWriter(dir, WriterOptions{
		Header:     Header{Session: "ses_aaaaaaaaaaaaaaaaaaaa", Gateway: "gw_a"},
		Recipients: recipients, Key: func() (ed25519.PrivateKey, error) { return key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := w.Record(Event{Channel: 1, Kind: Output, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(string(dir), SegmentName(1)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stat, _ := f.Stat()
	if err := f.Truncate(stat.Size() - 1); err != nil {
		t.Fatal(err)
	}
	got, err := Recover(f, stat.Size()-1, RecoverOptions{Key: next})
	if err != nil || got.Dropped == 0 || got.Cause != Interrupted {
		t.Fatalf("%+v, %v", got, err)
	}
	report, err := Verify(dir.fs(), VerifyOptions{Keys: KeySet(publicOf(key), publicOf(next)), Head: got.Head})
	if err != nil || !report.Whole() || report.Cause != Interrupted {
		t.Fatalf("%+v, %v", report, err)
	}
	r, err := NewReader(dir.fs(), identity)
	if err != nil {
		t.Fatal(err)
	}
	count := map[Kind]int{}
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		count[e.Kind]++
	}
	if count[Output] != 9 || count[Gap] != 1 || count[End] != 1 {
		t.Errorf("read %v", count)
	}
}
