package cli

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/recording"
)

// A recording that the control plane fetches is verified like one on the disk, and what was
// changed in the bucket is found; a download is the same folder again.
func TestARecordingComesByTheIdOfItsSession(t *testing.T) {
	t.Parallel()
	const session = "ses_abcdefghij2345672345" // of record
	r := record(t)
	content, err := os.ReadFile(r.segment)
	if err != nil {
		t.Fatal(err)
	}
	hexKey, err := os.ReadFile(r.keys)
	if err != nil {
		t.Fatal(err)
	}
	public, err := hex.DecodeString(string(hexKey))
	if err != nil {
		t.Fatal(err)
	}
	info := api.Recording{Session: session, State: api.RecordingStored, Segments: 1, Head: r.head}
	manifest := fmt.Sprintf(`{"manifest":{"segments":[{"n":1,"size":%d,"sha256":%q,"kept":"there"},{"n":2,"kept":"aside"}]}}`, len(content), hashOf(content))
	var served atomic.Pointer[[]byte]
	served.Store(&content)
	var fetches atomic.Int32
	missing, _ := json.Marshal(api.Errorf(api.NotFound, "there is none"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch strings.TrimPrefix(req.URL.Path, "/v1/recordings/"+session) {
		case "":
			json.NewEncoder(w).Encode(info)
		case "/manifest":
			w.Write([]byte(manifest))
		case "/segments/1":
			fetches.Add(1)
			w.Write(*served.Load())
		default:
			w.WriteHeader(http.StatusNotFound)
			w.Write(missing)
		}
	}))
	t.Cleanup(server.Close)
	client := &api.Client{URL: server.URL, HTTP: server.Client()}
	s, err := storedOf(t.Context(), client, session)
	if err != nil {
		t.Fatal(err)
	}
	verify := func() recording.Report {
		t.Helper()
		report, err := recording.Verify(s, recording.VerifyOptions{Keys: recording.KeySet(ed25519.PublicKey(public)), Session: session, Head: info.Head})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if report := verify(); !report.Whole() {
		t.Errorf("not whole: %+v", report)
	}
	folder := filepath.Join(t.TempDir(), "here")
	before := fetches.Load()
	for range 2 { // the second time all is there
		if out, err := s.download(folder); err != nil || out.Segments != 1 || out.Bytes != int64(len(content)) {
			t.Fatalf("got %+v, %v", out, err)
		}
	}
	if n := fetches.Load() - before; n != 1 {
		t.Errorf("fetched %d times", n)
	}
	if report, err := recording.Verify(os.DirFS(folder), recording.VerifyOptions{Keys: recording.KeySet(ed25519.PublicKey(public)), Session: session, Head: r.head}); err != nil || !report.Whole() {
		t.Errorf("the folder: %+v, %v", report, err)
	}
	changed := append([]byte(nil), content...)
	changed[len(changed)/2] ^= 1
	served.Store(&changed)
	if verify().Whole() {
		t.Error("what was changed in the bucket passes for whole")
	}
	if _, err := s.download(filepath.Join(t.TempDir(), "there")); err == nil || !strings.Contains(err.Error(), "changed in the bucket") {
		t.Errorf("downloaded: %v", err)
	}
	large := make([]byte, recording.MaxSegmentBytes+1)
	served.Store(&large)
	if _, err := s.Open(recording.SegmentName(1)); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("an object without end: %v", err)
	}
	manifest = "{}"
	info.Segments = 0
	if _, err := storedOf(t.Context(), client, session); err == nil || !strings.Contains(err.Error(), "cardea sessions show") {
		t.Errorf("of nothing: %v", err)
	}
	info.Segments = recording.MaxSegments + 1
	if _, err := storedOf(t.Context(), client, session); api.KindOf(err) != api.Foreign {
		t.Errorf("of more than there can be: %v", err)
	}
}

// The status says on how many servers sessions are recorded, by what the agent of this very
// user knows.
func TestTheStatusCountsRecordedServers(t *testing.T) {
	c := api.Catalog{Session: api.Session{User: "usr_alice"}, Servers: []api.CatalogEntry{{Name: "web-1", Recorded: true}, {Name: "web-2"}}}
	for user, want := range map[string]string{"usr_alice": "2, and sessions on 1 of them are recorded", "usr_bob": ""} {
		s := status{Session: api.Session{User: user}}
		s.count(t.Context(), keeping{catalog: c})
		a, _, _ := testApp(t)
		for _, line := range a.statusLines() {
			if line.name == "Servers" && line.text(s) != want {
				t.Errorf("%s: %q", user, line.text(s))
			}
		}
	}
}
