package recording

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"filippo.io/age/agessh"
)

func TestEveryKindOfRecipientCanRead(t *testing.T) {
	k := newTeam(t)
	x1, _ := newReaderKey(t)
	x2, _ := newReaderKey(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(publicOf(k.key))
	if err != nil {
		t.Fatal(err)
	}
	sshIdentity, err := agessh.NewEd25519Identity(k.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name       string
		recipients []string
		identities []age.Identity
	}{
		{"two keys of age and one of ssh", []string{x1.Recipient().String(), x2.Recipient().String() + "\n", string(ssh.MarshalAuthorizedKey(sshPublic))}, []age.Identity{x1, x2, sshIdentity}},
		{"post-quantum", []string{hybrid.Recipient().String()}, []age.Identity{hybrid}},
	} {
		recipients, err := ParseRecipients(tc.recipients)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		k.recipients = recipients
		s, _ := k.three(t, "ses_a")
		for _, id := range tc.identities {
			if n := count(read(t, s.fs(), id), Output); n == 0 {
				t.Errorf("%s: %T reads nothing", tc.name, id)
			}
		}
	}
}

func TestRecipientsThatAreNone(t *testing.T) {
	x, _ := newReaderKey(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	good, pq := x.Recipient().String(), hybrid.Recipient().String()
	for name, tc := range map[string]struct {
		texts []string
		want  string
	}{
		"none":                        {nil, "no recipient"},
		"one of two is wrong":         {[]string{good, "age1nonsense"}, "recipient 2: this is no public key"},
		"a secret key is not shown":   {[]string{x.String()}, "recipient 1: this is no public key"},
		"another kind of ssh key":     {[]string{"ssh-rsa AAAA"}, "this is no public key"},
		"post-quantum mixed":          {[]string{pq, good}, "cannot be mixed"},
		"as many as there can be":     {slices.Repeat([]string{good}, MaxRecipients), ""},
		"one more":                    {slices.Repeat([]string{good}, MaxRecipients+1), "at most 16"},
		"two in one":                  {[]string{good + "\n" + good}, "this is no public key"},
		"post-quantum, all there are": {slices.Repeat([]string{pq}, MaxRecipients), ""},
	} {
		recipients, err := ParseRecipients(tc.texts)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			k := newTeam(t)
			k.recipients = recipients
			if _, err := NewWriter(newMemory(), k.options("ses_a")); err != nil { // the head has room for them
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	k := newTeam(t)
	w, err := NewWriter(newMemory(), k.options("ses_a"))
	if err != nil {
		t.Fatal(err)
	}
	part := Event{Kind: Output, Data: make([]byte, MaxData)}
	full := slices.Repeat([]Event{part}, maxBatch/(MaxData+eventOverhead))
	for _, tc := range []struct {
		name   string
		events []Event
		want   error
	}{
		{"the largest event", []Event{part}, nil},
		{"one byte more", []Event{{Kind: Output, Data: make([]byte, MaxData+1)}}, ErrTooLarge},
		{"the largest batch", full, nil},
		{"one event more", append(full, part), ErrTooLarge},
		{"nothing", nil, nil},
		{"and it still goes on", []Event{part}, nil},
	} {
		if err := w.RecordAll(tc.events); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := NewEvent(0, 0, Forward, Forwarded{To: strings.Repeat("x", MaxData)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the data of an event: %v", err)
	}
	for extra := range 2 {
		o := k.options(strings.Repeat("s", maxName+extra))
		if _, err := NewWriter(newMemory(), o); (err != nil) != (extra == 1) {
			t.Errorf("an id of %d bytes: %v", maxName+extra, err)
		}
		o = k.options("ses_a")
		o.SegmentBytes = MaxSegmentBytes - 2*maxBatch + int64(extra)
		if _, err := NewWriter(newMemory(), o); (err != nil) != (extra == 1) {
			t.Errorf("segments, %d bytes beyond the limit: %v", extra, err)
		}
		text := []byte(`{"segment":1}`)
		text = append(text, bytes.Repeat([]byte(" "), maxHead-len(text)+extra)...)
		if _, err := parseHead(frame{kind: frameHead, body: text}); (err != nil) != (extra == 1) {
			t.Errorf("a head, %d bytes beyond the limit: %v", extra, err)
		}
		body := append(append([]byte(magic), make([]byte, headerSize)...), make([]byte, maxBody+extra)...)
		s := &scanner{data: putFrame(body, frameEvents, 0), number: -1, at: linkSize, last: [linkSize]byte([]byte(magic)), budget: searchBudget}
		if _, _, ok := s.next(); ok != (extra == 0) {
			t.Errorf("a frame, %d bytes beyond the limit: %v", extra, ok)
		}
		o = k.options("ses_a")
		o.Header.Login = strings.Repeat("x", maxHeader-headerBytes(t, o.Header)+len(o.Header.Login)+extra)
		if _, err := NewWriter(newMemory(), o); (err != nil) != (extra == 1) {
			t.Errorf("a header, %d bytes beyond the limit: %v", extra, err)
		}
		if _, err := newScanner(append([]byte(magic), make([]byte, MaxSegmentBytes-linkSize+extra)...)); (err != nil) != (extra == 1) {
			t.Errorf("a segment, %d bytes beyond the limit: %v", extra, err)
		}
		long := append(slices.Clone([]byte(magic)), make([]byte, headerSize)...)
		_, err := appendSigned(long, frameEnd, 0, signed{Cause: strings.Repeat("x", MaxCause+extra)}, nil, k.key)
		if (err != nil) != (extra == 1) {
			t.Errorf("a cause, %d bytes beyond the limit: %v", extra, err)
		}
		r := Report{}
		for range maxFaults + extra {
			r.fault(Fault{What: "x"})
		}
		if more := strings.Contains(r.Faults[len(r.Faults)-1].What, "more"); more != (extra == 1) {
			t.Errorf("faults, %d beyond the limit: %v", extra, more)
		}
	}
	w.mu.Lock() // its timer may run
	defer w.mu.Unlock()
	w.number = MaxSegments - 1
	if err := w.begin(); err != nil {
		t.Errorf("the last segment: %v", err)
	}
	if err := w.begin(); err == nil {
		t.Error("one segment more than there can be")
	}
}

func headerBytes(t *testing.T, h Header) int {
	t.Helper()
	w, err := NewWriter(newMemory(), func() WriterOptions { o := newTeam(t).options("x"); o.Header = h; return o }())
	if err != nil {
		t.Fatal(err)
	}
	return len(w.header)
}

func TestACompressedFrameIsBounded(t *testing.T) {
	if _, err := unpack(nil, pack(nil, make([]byte, maxBatch))); err != nil {
		t.Errorf("the largest batch: %v", err)
	}
	if out, err := unpack(nil, pack(nil, make([]byte, 64*maxBatch))); err == nil {
		t.Errorf("a batch of %d bytes", len(out))
	}
}

func TestWhatDoesNotGetSmallerIsStoredAsItIs(t *testing.T) {
	k := newTeam(t)
	for _, tc := range []struct {
		name     string
		data     []byte
		min, max float64 // stored bytes for each byte
	}{
		{"noise", noise(32 << 10), 1, 1.01}, {"text", textOf(32 << 10), 0, 0.5}, {"nothing but zeros", make([]byte, 32<<10), 0, 0.02}, {"a little", []byte("x"), 0, 200},
	} {
		m := newMemory()
		w, err := NewWriter(m, k.options("ses_a"))
		if err != nil {
			t.Fatal(err)
		}
		before := w.Progress().Bytes
		const n = 100
		for range n {
			if err := w.Record(Event{Kind: Output, Data: tc.data}); err != nil {
				t.Fatal(err)
			}
		}
		if f := float64(w.Progress().Bytes-before) / float64(n*len(tc.data)); f < tc.min || f > tc.max {
			t.Errorf("%s: %.3f bytes for each", tc.name, f)
		}
		if err := w.Close(Ended{}); err != nil {
			t.Fatal(err)
		}
		for _, e := range read(t, m.set().fs(), k.identity) {
			if e.Kind == Output && !bytes.Equal(e.Data, tc.data) {
				t.Fatalf("%s: other bytes are read", tc.name)
			}
		}
	}
}

func TestChannelsRecordAtTheSameTime(t *testing.T) {
	k := newTeam(t)
	m := newMemory()
	o := k.options("ses_a")
	o.SegmentBytes = 20_000
	w, err := NewWriter(m, o)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var all sync.WaitGroup
	for channel := range uint32(4) {
		all.Go(func() {
			for i := range 200 {
				if err := w.Record(Event{At: time.Since(start), Channel: channel + 1, Kind: Output, Data: fmt.Append(nil, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := w.Close(Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	next := map[uint32]int{}
	last := time.Duration(0)
	for _, e := range read(t, m.set().fs(), k.identity) {
		if e.At < last {
			t.Fatal("time goes back")
		}
		last = e.At
		if e.Kind == Output {
			if string(e.Data) != fmt.Sprint(next[e.Channel]) {
				t.Fatalf("channel %d: %s, not %d", e.Channel, e.Data, next[e.Channel])
			}
			next[e.Channel]++
		}
	}
	if r, err := Verify(m.set().fs(), VerifyOptions{Keys: k.keys()}); err != nil || !r.Whole() || len(next) != 4 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestASignatureComesWithinASecondThoughNothingElseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTeam(t)
		m := newMemory()
		w, err := NewWriter(m, k.options("ses_a"))
		if err != nil {
			t.Fatal(err)
		}
		signatures := func() (n int) {
			for _, f := range framesOf(t, m.set()[SegmentName(1)]) {
				if f.kind == frameCheck {
					n++
				}
			}
			return n
		}
		time.Sleep(CheckTime + time.Millisecond)
		synctest.Wait()
		if n := signatures(); n != 1 {
			t.Errorf("the head alone: %d signatures", n)
		}
		time.Sleep(time.Hour) // a session that rests writes nothing
		if n := len(m.set()); n != 1 || signatures() != 1 {
			t.Errorf("%d segments, %d signatures", n, signatures())
		}
		if err := w.Record(Event{At: time.Hour, Kind: Output, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(CheckTime + time.Millisecond)
		synctest.Wait()
		if n := signatures(); n != 2 {
			t.Errorf("after an event: %d signatures", n)
		}
		time.Sleep(SegmentTime)
		synctest.Wait()
		if n := len(m.set()); n != 2 || !m.files[1].closed || m.files[2].closed {
			t.Errorf("a segment with events is closed after its time: %d segments", n)
		}
		if err := w.Close(Ended{Cause: "client"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Record(Event{}); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		if r, err := Verify(m.set().fs(), VerifyOptions{Keys: k.keys()}); err != nil || !r.Whole() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestAKeyThatChangesSignsFromTheNextSegmentOn(t *testing.T) {
	k := newTeam(t)
	keys := []ed25519.PrivateKey{k.key, newKey(t), newKey(t)}
	o := k.options("ses_a")
	n := 0
	o.Key = func() (ed25519.PrivateKey, error) { n++; return keys[(n-1)%3], nil }
	o.SegmentBytes = 2000
	m := newMemory()
	w, err := NewWriter(m, o)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if err := w.Record(Event{Kind: Output, Data: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Ended{}); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(m.set().fs(), VerifyOptions{Keys: KeySet(publicOf(keys[0]), publicOf(keys[1]), publicOf(keys[2]))})
	if err != nil || !r.Whole() || len(r.Keys) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	o.Key = func() (ed25519.PrivateKey, error) { return nil, errors.New("no key is acknowledged") }
	if _, err := NewWriter(newMemory(), o); err == nil {
		t.Error("recorded without a key")
	}
}

// measured keeps only figures of what is written.
type measured struct {
	mu              sync.Mutex
	segments        int
	bytes, largest  int64
	current         int64
	closed, created int
}

func (m *measured) Create(n int) (Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.segments, m.current = n, 0
	m.created++
	return m, nil
}

func (m *measured) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += int64(len(b))
	m.current += int64(len(b))
	m.largest = max(m.largest, m.current)
	return len(b), nil
}

func (m *measured) Sync() error { return nil }

func (m *measured) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
	return nil
}

// A week, with resizes by the thousand and bursts of output; SOAK=1 writes 10 GiB.
func TestAWeekIsBoundedInMemory(t *testing.T) {
	t.Parallel()
	total := int64(32 << 20)
	if soak() {
		total = 10 << 30
	}
	synctest.Test(t, func(t *testing.T) {
		k := newTeam(t)
		m := &measured{}
		w, err := NewWriter(m, k.options("ses_a"))
		if err != nil {
			t.Fatal(err)
		}
		w.packer.skip = 1 << 40 // encoders that are made in here can be used nowhere else
		start := time.Now()
		random := rand.New(rand.NewPCG(1, 1))
		data := noise(32 << 10)
		const hours = 7 * 24
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		record := func(e Event) {
			e.At = time.Since(start)
			if err := w.Record(e); err != nil {
				t.Fatal(err)
			}
		}
		for range hours {
			for range 100 {
				record(Event{Channel: 1, Kind: Resize, Data: []byte(`{"columns":80,"rows":24}`)})
				time.Sleep(time.Millisecond)
			}
			for range total / hours / int64(len(data)) {
				record(Event{Channel: 1, Kind: Output, Data: data})
			}
			for range 10 {
				time.Sleep(time.Duration(random.Int64N(int64(6 * time.Minute))))
				record(Event{Channel: 1, Kind: Output, Data: []byte("x")})
			}
			time.Sleep(30 * time.Minute)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
			t.Errorf("%d bytes more are held after a week", grown)
		}
		if err := w.Close(Ended{Cause: "client"}); err != nil {
			t.Fatal(err)
		}
		if m.largest > SegmentBytes+maxBatch || m.closed != m.created || m.segments > 7*24*12+int(total/SegmentBytes)+1 {
			t.Errorf("%d segments, %d closed, the largest of %d bytes", m.segments, m.closed, m.largest)
		}
		t.Logf("%d bytes in %d segments", m.bytes, m.segments)
	})
}

func TestASessionThatRestsIsSmall(t *testing.T) {
	k := newTeam(t)
	const n = 200
	writers := make([]*Writer, n)
	measure := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools hold goes at the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	text := textOf(32 << 10)
	measure() // what other tests left
	before := measure()
	for i := range writers {
		w, err := NewWriter(nowhere{}, k.options("ses_a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Record(Event{Kind: Output, Data: text}); err != nil {
			t.Fatal(err)
		}
		writers[i] = w
	}
	each := int64(measure()-before) / n
	runtime.KeepAlive(writers)
	t.Logf("%d bytes each", each)
	if each > 16<<10 {
		t.Errorf("%d bytes for a session that rests", each)
	}
}
