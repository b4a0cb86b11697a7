package recording

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"filippo.io/age"
)

// memory keeps segments as they are written.
type memory struct {
	mu    sync.Mutex
	files map[int]*memorySegment
}

type memorySegment struct {
	in     *memory
	data   []byte
	synced int
	closed bool
}

func newMemory() *memory { return &memory{files: map[int]*memorySegment{}} }

func (m *memory) Create(n int) (Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[n] != nil {
		return nil, fs.ErrExist
	}
	m.files[n] = &memorySegment{in: m}
	return m.files[n], nil
}

func (s *memorySegment) Write(b []byte) (int, error) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if s.closed {
		return 0, fs.ErrClosed
	}
	s.data = append(s.data, b...)
	return len(b), nil
}

func (s *memorySegment) Sync() error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.synced = len(s.data)
	return nil
}

func (s *memorySegment) Close() error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.synced, s.closed = len(s.data), true
	return nil
}

// ReadAt, WriteAt and Truncate make it a SegmentFile.
func (s *memorySegment) ReadAt(b []byte, at int64) (int, error) {
	n := copy(b, s.data[min(at, int64(len(s.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (s *memorySegment) WriteAt(b []byte, at int64) (int, error) {
	if end := at + int64(len(b)); end > int64(len(s.data)) {
		s.data = append(s.data, make([]byte, end-int64(len(s.data)))...)
	}
	return copy(s.data[at:], b), nil
}

func (s *memorySegment) Truncate(n int64) error { s.data = s.data[:n]; return nil }

// set is the files of a recording, by name.
type set map[string][]byte

func (m *memory) set() set {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := set{}
	for n, s := range m.files {
		out[SegmentName(n)] = slices.Clone(s.data)
	}
	return out
}

func (s set) clone() set {
	out := maps.Clone(s)
	for k, v := range out {
		out[k] = slices.Clone(v)
	}
	return out
}

func (s set) fs() fs.FS {
	out := fstest.MapFS{}
	for name, data := range s {
		out[name] = &fstest.MapFile{Data: data}
	}
	return out
}

// team is who records and who reads in a test.
type team struct {
	identity   age.Identity
	recipients []age.Recipient
	key        ed25519.PrivateKey
}

func newTeam(t testing.TB) *team {
	t.Helper()
	identity, recipients := newReaderKey(t)
	return &team{identity, recipients, newKey(t)}
}

func (k *team) options(session string) WriterOptions {
	return WriterOptions{
		Header:     Header{Session: session, Gateway: "gw_a", User: "alice", Server: "srv_1", Started: time.Unix(1_800_000_000, 0).UTC()},
		Recipients: k.recipients, Key: func() (ed25519.PrivateKey, error) { return k.key, nil },
	}
}

func (k *team) keys() Keys { return KeySet(publicOf(k.key)) }

// three records lines in three segments, with signatures in between.
func (k *team) three(t testing.TB, session string) (set, Progress) {
	t.Helper()
	m := newMemory()
	o := k.options(session)
	o.SegmentBytes, o.CheckBytes = 3000, 600
	w, err := NewWriter(m, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; w.Progress().Segments < 3 || w.size < 2500; i++ {
		e := Event{At: time.Duration(i) * time.Second, Channel: 1, Kind: Output, Data: fmt.Appendf(nil, "line %d\r\n", i)}
		if err := w.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	return m.set(), w.Progress()
}

// read returns all events of a recording, their data copied.
func read(t testing.TB, folder fs.FS, identities ...age.Identity) []Event {
	t.Helper()
	r, err := NewReader(folder, identities...)
	if err != nil {
		t.Fatal(err)
	}
	return rest(t, r)
}

func rest(t testing.TB, r *Reader) []Event {
	t.Helper()
	var all []Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		e.Data = slices.Clone(e.Data)
		all = append(all, e)
	}
}

// count says how many events of a kind there are.
func count(events []Event, kind Kind) (n int) {
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// soak asks for the full counts.
func soak() bool { return os.Getenv("SOAK") != "" }
