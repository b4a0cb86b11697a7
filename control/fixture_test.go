package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
)

// publicURL is not where the tests reach the server: proofs are checked
// against the configured URL and nothing else.
const publicURL = "https://access.example.com"

// records is a store of subjects alone, for tests of the door.
type records struct {
	store.Store
	mu       sync.Mutex
	subjects map[[32]byte]store.Subject
	audit    [][]byte
	swept    chan struct{} // gets one at each sweep that somebody waits for
	asked    int           // how often Ready was
	seen     int           // how often SeeSession was
	broken   error         // what Ready and SeeSession say
}

func (r *records) Sweep(context.Context, time.Time) error {
	select {
	case r.swept <- struct{}{}:
	default:
	}
	return nil
}

func (r *records) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.broken
}

// event is the i-th of the audit.
func (r *records) event(t testing.TB, i int) audit.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i >= len(r.audit) {
		t.Fatalf("there are %d events", len(r.audit))
	}
	e, err := audit.Decode(r.audit[i])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (r *records) Authenticate(_ context.Context, hash []byte) (store.Subject, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who, ok := r.subjects[[32]byte(hash)]
	if !ok {
		return store.Subject{}, store.ErrNotFound
	}
	return who, nil
}

func (r *records) SeeSession(context.Context, string, store.Meta) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen++
	return r.broken
}

// Attempt says that it was tried before.
func (r *records) Attempt(context.Context, string, time.Duration, time.Time) (int, time.Time, error) {
	return 2, time.Time{}, nil
}

func (r *records) Team(context.Context) (store.Team, error) {
	return store.Team{ID: "tm_1", Name: "demo"}, nil
}

func (r *records) AppendAudit(_ context.Context, m store.Meta) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audit = append(r.audit, m.Audit...)
	return nil
}

// world is a server with the routes of the test, and what speaks to it.
type world struct {
	t      testing.TB
	store  *records
	server *Server
	http   *httptest.Server
	nonces *dpop.Nonces
	log    *bytes.Buffer
	now    time.Time
}

func newWorld(t testing.TB, routes func(*table), tune ...func(*Options)) *world {
	t.Helper()
	nonces, err := dpop.NewNonces(dpop.NonceTTL, bytes.Repeat([]byte{7}, dpop.MinNonceSecret))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, nonces: nonces, log: &bytes.Buffer{}, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		store: &records{subjects: map[[32]byte]store.Subject{}, swept: make(chan struct{})},
	}
	o := Options{
		Store: w.store, Nonces: nonces, PublicURL: publicURL, Version: "test",
		Logger: slog.New(slog.NewTextHandler(&locked{w: w.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:    func() time.Time { return w.now },
	}
	for _, f := range tune {
		f(&o)
	}
	if w.server, err = build(o, routes); err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewServer(w.server.Handler())
	t.Cleanup(w.http.Close)
	return w
}

// locked lets handlers of several requests write one log.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// person is a token with its key.
type person struct {
	w     *world
	key   *dpop.Key
	token string
}

func newKey(t testing.TB) *dpop.Key {
	t.Helper()
	k, err := dpop.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// join stores a subject under a fresh token and key. change may be nil.
func (w *world) join(kind, token string, change func(*store.Subject)) person {
	w.t.Helper()
	key := newKey(w.t)
	who := store.Subject{Kind: kind, Thumbprint: key.Thumbprint()}
	switch kind {
	case store.KindUser:
		who.User = store.User{ID: "usr_1", Name: "alice", Status: store.Active}
		who.Device = store.Device{ID: "dev_1", User: "usr_1", State: store.Active}
		who.Session = store.Session{ID: "ses_1", User: "usr_1", Device: "dev_1", ExpiresAt: w.now.Add(time.Hour)}
	case store.KindServer:
		who.Server = store.Server{ID: "srv_1", State: store.Active}
	case store.KindGateway:
		who.Gateway = store.Gateway{ID: "gw_1", State: store.Active}
	}
	if change != nil {
		change(&who)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.subjects[sha256.Sum256([]byte(token))] = who
	return person{w, key, token}
}

// proof is a good one for this call.
func (p person) proof(method, path string) string {
	p.w.t.Helper()
	s, err := p.key.Proof(method, publicURL+path, p.w.nonces.Issue(p.w.now), p.token)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return s
}

// request is a good call; tests spoil it before they send it.
func (p person) request(method, path, body string) *http.Request {
	p.w.t.Helper()
	req, err := http.NewRequest(method, p.w.http.URL+path, strings.NewReader(body))
	if err != nil {
		p.w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	bare, _, _ := strings.Cut(path, "?")
	req.Header.Set("Authorization", "DPoP "+p.token)
	req.Header.Set(api.HeaderProof, p.proof(method, bare))
	return req
}

// reply is an answer, read.
type reply struct {
	*http.Response
	body    string
	problem api.Error // zero unless it is one
}

func (w *world) send(req *http.Request) reply {
	w.t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := reply{Response: res, body: string(raw)}
	if res.Header.Get("Content-Type") == problemType {
		if err := json.Unmarshal(raw, &out.problem); err != nil {
			w.t.Fatalf("problem %q: %v", raw, err)
		}
	}
	return out
}

// get is an anonymous GET.
func (w *world) get(path string) reply {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.http.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(req)
}
