package recording

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "make testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors are what every implementation of docs/recording.md must read, and write in
// this way but for what age draws at random.
type vectors struct {
	Identity   string        `json:"identity"`
	Seed       hexBytes      `json:"seed"` // Ed25519, RFC 8032
	Public     hexBytes      `json:"public"`
	KeyID      string        `json:"key_id"`
	SessionKey hexBytes      `json:"session_key"`
	Salts      []hexBytes    `json:"salts"`
	Keys       []hexBytes    `json:"segment_keys"`
	Now        time.Time     `json:"now"`
	Header     Header        `json:"header"`
	Events     []vectorEvent `json:"events"`
	Frames     [][]int       `json:"frames"` // for each segment: the number of events of each frame
	Segments   []hexBytes    `json:"segments"`
	Head       string        `json:"head"`
}

type vectorEvent struct {
	At      int64    `json:"at"`
	Channel uint32   `json:"channel"`
	Kind    Kind     `json:"kind"`
	Data    hexBytes `json:"data"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func loadVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// team is who made the vectors.
func (v vectors) team(t testing.TB) *team {
	t.Helper()
	id, err := age.ParseX25519Identity(v.Identity)
	if err != nil {
		t.Fatal(err)
	}
	return &team{id, []age.Recipient{id.Recipient()}, ed25519.NewKeyFromSeed(v.Seed)}
}

func (v vectors) set() set {
	s := set{}
	for i, b := range v.Segments {
		s[SegmentName(i+1)] = b
	}
	return s
}

// write records the events again, as the frames say. wrapped, if there is any, takes
// the place of what age would draw at random.
func (v vectors) write(t testing.TB, wrapped []byte) (set, string) {
	t.Helper()
	k := v.team(t)
	m := newMemory()
	random := slices.Clone(v.SessionKey)
	for _, s := range v.Salts {
		random = append(random, s...)
	}
	o := k.options("")
	o.Header, o.Now, o.random = v.Header, func() time.Time { return v.Now }, bytes.NewReader(random)
	o.CheckTime = time.Hour // no clock here
	w, err := NewWriter(m, o)
	if err != nil {
		t.Fatal(err)
	}
	if wrapped != nil { // begin the first segment again
		w.wrapped, w.number, w.segment = wrapped, 0, nil
		m.files = map[int]*memorySegment{}
		w.o.random = bytes.NewReader(random[keySize:])
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
	}
	events := v.Events
	for i, frames := range v.Frames {
		if i > 0 {
			if err := w.turn(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range frames {
			var batch []Event
			for _, e := range events[:n] {
				batch = append(batch, Event{At: time.Duration(e.At), Channel: e.Channel, Kind: e.Kind, Data: e.Data})
			}
			events = events[n:]
			if err := w.RecordAll(batch); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.sign(frameCheck, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(Ended{Cause: "client"}); err != nil {
		t.Fatal(err)
	}
	return m.set(), w.Progress().Head
}

func TestVectors(t *testing.T) {
	if *update {
		makeVectors(t)
	}
	v := loadVectors(t)
	k := v.team(t)
	if !bytes.Equal(publicOf(k.key), v.Public) || KeyID(ed25519.PublicKey(v.Public)) != v.KeyID {
		t.Error("the key is another one")
	}
	r, err := Verify(v.set().fs(), VerifyOptions{Keys: KeySet(ed25519.PublicKey(v.Public)), Session: v.Header.Session, Head: v.Head})
	if err != nil || !r.Whole() || r.Cause != "client" || r.Proven != r.Bytes {
		t.Errorf("%+v, %v", r, err)
	}
	var got []vectorEvent
	for _, e := range read(t, v.set().fs(), k.identity) {
		got = append(got, vectorEvent{int64(e.At), e.Channel, e.Kind, e.Data})
	}
	want := append(slices.Clone(v.Events), vectorEvent{v.Events[len(v.Events)-1].At, 0, End, []byte(`{"cause":"client"}`)})
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	first, err := parseHead(framesOf(t, v.Segments[0])[0])
	if err != nil {
		t.Fatal(err)
	}
	again, head := v.write(t, first.Secret)
	if head != v.Head || !bytes.Equal(again[SegmentName(2)], v.Segments[1]) {
		t.Error("what is written is not what the vectors have")
	}
}

// makeVectors is for a new version of the format alone.
func makeVectors(t *testing.T) {
	t.Helper()
	k := newTeam(t)
	v := vectors{
		Identity: k.identity.(*age.X25519Identity).String(), Seed: k.key.Seed(), Public: hexBytes(publicOf(k.key)), KeyID: KeyID(publicOf(k.key)),
		SessionKey: noise(keySize), Salts: []hexBytes{noise(saltSize), noise(saltSize)}, Now: time.Unix(1_800_000_000, 0).UTC(),
		Header: Header{
			Session: "ses_abcdefghij2345672345", Gateway: "gw_abcdefghij2345672345", User: "usr_abcdefghij2345672345", Server: "srv_abcdefghij2345672345",
			ServerName: "web-1", Project: "prj_abcdefghij2345672345", Login: "alice", Source: "192.0.2.1:50000", Started: time.Unix(1_799_999_990, 0).UTC(),
		},
		Events: []vectorEvent{
			{0, 1, Open, []byte(`{"type":"session"}`)},
			{1_000_000, 1, Request, []byte(`{"type":"pty-req","term":"xterm","size":{"columns":80,"rows":24}}`)},
			{1_500_000, 1, Request, []byte(`{"type":"shell"}`)},
			{250_000_000, 1, Output, []byte("\x1b[31mhello\x1b[0m\r\n")},
			{2_000_000_000, 1, Output, bytes.Repeat([]byte("all work and no play\r\n"), 40)},
			{2_500_000_000, 1, Exit, []byte(`{"code":0}`)},
			{2_500_000_001, 1, Close, nil},
		},
		Frames: [][]int{{3, 1}, {1, 1, 1}},
	}
	for i, salt := range v.Salts {
		v.Keys = append(v.Keys, segmentKey(t, v.SessionKey, salt, v.Header.Session, i+1))
	}
	s, head := v.write(t, nil)
	v.Segments, v.Head = []hexBytes{s[SegmentName(1)], s[SegmentName(2)]}, head
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func segmentKey(t *testing.T, secret, salt []byte, session string, segment int) []byte {
	t.Helper()
	key, err := deriveKey(secret, salt, where(session, segment))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
