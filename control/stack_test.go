package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/disktest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/sqlstore"
	"golang.org/x/crypto/argon2"
	"golang.org/x/net/html"
)

// stack is whole control planes on one real store: two instances, an
// administrator, and the people of the stories.
type stack struct {
	t         testing.TB
	path      string          // of the SQLite file, or URL of the database
	shared    bool            // the engine takes more than one process
	store     *sqlstore.Store // of the first instance
	stores    []*sqlstore.Store
	keys      *ca.Keyring
	options   Options
	sky       *sky // the clouds
	instances []*httptest.Server
	servers   []*Server
	hash      string // of everybody's password

	mu    sync.Mutex
	clock time.Time // guarded by mu
}

const secret = "correct horse battery"

// newStack keeps its records in SQLite, where both instances are one process.
func newStack(t testing.TB) *stack {
	t.Helper()
	raw, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(disktest.Forgetful(t), "cardea.db")
	if err := os.WriteFile(at, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return newStackAt(t, at, false)
}

// migrated is a file of SQLite with all tables and nothing in them. To make them costs more
// than most of what is tested with them.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "cardea-tables")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "cardea.db")
	if err := tables(at); err != nil {
		return nil, err
	}
	return os.ReadFile(at)
})

// tables makes them at a URL.
func tables(url string) error {
	db, err := sqlstore.Open(context.Background(), sqlstore.Options{URL: url, Instance: "template"})
	if err != nil {
		return err
	}
	return db.Close()
}

// newStackAt keeps them at a URL; with shared each instance has a store of its
// own, as processes on several machines have.
func newStackAt(t testing.TB, at string, shared bool) *stack {
	t.Helper()
	s := &stack{t: t, path: at, shared: shared, clock: time.Now().UTC().Truncate(time.Second)}
	keeper, err := ca.OpenKeeper(t.Context(), "base64key://"+base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	s.keys = ca.NewKeyring(keeper)
	s.open()
	var keys []store.Key
	for _, p := range []ca.Purpose{ca.HostCA, ca.GatewayCA, ca.Policy, ca.Ticket, ca.Nonce} {
		r, err := ca.Create(t.Context(), keeper, ca.Ref{ID: ident.New(ident.Key), Scope: ca.Team, Purpose: p})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, store.Key{ID: r.ID, Scope: r.Scope, Purpose: string(p), State: "active", Public: r.Public, Fingerprint: r.Fingerprint, Sealed: r.Sealed})
	}
	// A hash that costs next to nothing: the tests sign in some hundred times.
	salt := bytes.Repeat([]byte{3}, 16)
	s.hash = "$argon2id$v=19$m=8,t=1,p=1$" + base64.RawStdEncoding.EncodeToString(salt) + "$" +
		base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(secret), salt, 1, 8, 1, 32))
	_, err = s.store.CreateTeam(t.Context(), store.Team{ID: ident.New(ident.Team), Name: "demo"}, keys, person0("admin", true), s.hash, store.Meta{Now: s.now()})
	if err != nil {
		t.Fatal(err)
	}
	nonces, err := dpop.NewNonces(dpop.NonceTTL, bytes.Repeat([]byte{9}, dpop.MinNonceSecret))
	if err != nil {
		t.Fatal(err)
	}
	s.sky = newSky()
	s.options = Options{Nonces: nonces, PublicURL: publicURL, Now: s.now, Keys: s.keys, Keeper: keeper, Logger: slog.New(slog.DiscardHandler), Clouds: s.sky.verifier(t, s.now)}
	s.start()
	s.start()
	return s
}

func person0(name string, admin bool) store.User {
	id := ident.New(ident.User)
	return store.User{ID: id, Issuer: "local", Subject: id, Name: name, Login: name, Status: store.Active, Admin: admin}
}

// open opens the store of the next instance, or that of all.
func (s *stack) open() {
	s.t.Helper()
	if !s.shared && len(s.stores) > 0 {
		return
	}
	db, err := sqlstore.Open(context.Background(), sqlstore.Options{URL: s.path, Instance: fmt.Sprintf("instance-%d", len(s.stores))})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { db.Close() })
	s.stores = append(s.stores, db)
	s.store = s.stores[0]
}

// start adds an instance.
func (s *stack) start() {
	s.t.Helper()
	if len(s.servers) > 0 {
		s.open()
	}
	s.options.Store = s.stores[len(s.stores)-1]
	server, err := New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	h := httptest.NewTLSServer(server.Handler())
	s.t.Cleanup(h.Close)
	s.servers = append(s.servers, server)
	s.instances = append(s.instances, h)
}

// restart closes everything and opens it again on the same file.
func (s *stack) restart() {
	s.t.Helper()
	for _, h := range s.instances {
		h.Close()
	}
	for _, db := range s.stores {
		if err := db.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.instances, s.servers, s.stores = nil, nil, nil
	s.open()
	s.start()
	s.start()
}

func (s *stack) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *stack) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

func (s *stack) user(name string) store.User {
	s.t.Helper()
	u, err := s.store.UserByName(s.t.Context(), name)
	if err == nil {
		return u
	}
	if u, err = s.store.CreateUser(s.t.Context(), person0(name, false), s.hash, store.Meta{Now: s.now()}); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// events are the audit rows of an action, oldest first.
func (s *stack) events(action string) []audit.Event {
	s.t.Helper()
	var out []audit.Event
	for after := int64(0); ; {
		rows, err := s.store.AuditRows(s.t.Context(), after, 1000)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range rows {
			after = r.ID
			if e, err := audit.Decode(r.Payload); err == nil && e.Action == action {
				out = append(out, e)
			}
		}
		if len(rows) == 0 {
			return out
		}
	}
}

// client is the public address of the i-th instance: a transport that leads
// there, whatever the name.
func (s *stack) client(i int) http.RoundTripper { return s.instances[i].Client().Transport }

// browser is one with cookies that shows each redirect.
type browser struct {
	s    *stack
	http *http.Client
	at   *url.URL // the page that is open
}

func (s *stack) browser(i int) *browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	at, _ := url.Parse(publicURL + "/")
	return &browser{s, &http.Client{Transport: s.client(i), Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, at}
}

func (b *browser) do(req *http.Request) reply {
	b.s.t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		b.s.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return reply{Response: res, body: string(raw)}
}

// open follows a link, and redirects as long as they stay with us.
func (b *browser) open(link string) reply {
	b.s.t.Helper()
	for {
		target, err := b.at.Parse(link)
		if err != nil {
			b.s.t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", target.String(), nil)
		got := b.do(req)
		b.at = target
		link = got.Header.Get("Location")
		if link == "" || !strings.HasPrefix(link, "/") {
			return got
		}
	}
}

// post sends a form as the open page would, and follows as open does. spoil may
// change the request.
func (b *browser) post(path string, form url.Values, spoil ...func(*http.Request)) reply {
	b.s.t.Helper()
	req, _ := http.NewRequest("POST", publicURL+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", publicURL)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, f := range spoil {
		f(req)
	}
	got := b.do(req)
	if link := got.Header.Get("Location"); strings.HasPrefix(link, "/") {
		return b.open(link)
	}
	return got
}

// cookies are what the browser would send, by name.
func (b *browser) cookies() map[string]string {
	u, _ := url.Parse(publicURL + "/")
	out := map[string]string{}
	for _, c := range b.http.Jar.Cookies(u) {
		out[c.Name] = c.Value
	}
	return out
}

// device is a laptop in the middle of signing in.
type device struct {
	s        *stack
	key      *dpop.Key
	verifier string
	query    url.Values
	token    string
	session  api.Session
	at       string // the control plane's address, where it is not publicURL
	bearer   string // the token of a SCIM client, which has nothing else of all this
}

const callback = "http://127.0.0.1:43210/callback"

func (s *stack) device(name string) *device {
	s.t.Helper()
	d := &device{s: s, key: newKey(s.t), verifier: strings.Repeat("v", 43)}
	sum := sha256.Sum256([]byte(d.verifier))
	d.query = url.Values{
		"response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {callback}, "state": {"the state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"dpop_jkt": {d.key.Thumbprint()}, "device_name": {name},
	}
	return d
}

func (d *device) link() string { return "/oauth/authorize?" + d.query.Encode() }

// request is the id in the form of a page.
func request(t testing.TB, page reply) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" {
			values := map[string]string{}
			for _, a := range n.Attr {
				values[a.Key] = a.Val
			}
			if values["name"] == "request" {
				return values["value"]
			}
		}
	}
	t.Fatalf("no request on the page %d: %s", page.StatusCode, page.body)
	return ""
}

// approve goes through the pages as name and returns the answer at the callback.
func (d *device) approve(b *browser, name string) url.Values {
	d.s.t.Helper()
	page := b.open(d.link())
	id := request(d.s.t, page)
	if strings.Contains(page.body, `type="password"`) {
		page = b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	}
	if !strings.Contains(page.body, "approve") {
		d.s.t.Fatalf("%s was not asked to confirm: %d %s", name, page.StatusCode, page.body)
	}
	return sentBack(d.s.t, b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}))
}

// sentBack is what a redirect to the device says.
func sentBack(t testing.TB, got reply) url.Values {
	t.Helper()
	where := got.Header.Get("Location")
	if got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(where, callback+"?") {
		t.Fatalf("not sent back to the device: %d %q %s", got.StatusCode, where, got.body)
	}
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func (d *device) form(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "redirect_uri": {callback},
		"code": {code}, "code_verifier": {d.verifier},
	}
}

func (d *device) api(i int) *api.Client {
	if d.at != "" {
		return &api.Client{URL: d.at, Prover: d.key, Token: d.token}
	}
	return &api.Client{URL: publicURL, Prover: d.key, Token: d.token, HTTP: &http.Client{Transport: d.s.client(i)}}
}

// signIn is the whole way for name, on the first instance.
func (s *stack) signIn(name string) *device {
	s.t.Helper()
	s.user(name)
	d := s.device(name + "'s laptop")
	code := d.approve(s.browser(0), name).Get("code")
	in, err := d.api(0).Redeem(s.t.Context(), d.form(code))
	if err != nil {
		s.t.Fatal(err)
	}
	d.token, d.session = in.AccessToken, in.Session
	return d
}

// post makes a call with a fresh proof, without a client's second try.
func (d *device) request(i int, method, path, body string) *http.Request {
	d.s.t.Helper()
	req, err := http.NewRequest(method, publicURL+path, strings.NewReader(body))
	if err != nil {
		d.s.t.Fatal(err)
	}
	if d.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+d.bearer)
		req.Header.Set("Content-Type", "application/scim+json")
		return req
	}
	bare, _, _ := strings.Cut(path, "?")
	proof, err := d.key.Proof(method, publicURL+bare, d.s.options.Nonces.Issue(d.s.now()), d.token)
	if err != nil {
		d.s.t.Fatal(err)
	}
	req.Header.Set("DPoP", proof)
	if d.token != "" {
		req.Header.Set("Authorization", "DPoP "+d.token)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

func (s *stack) send(i int, req *http.Request) reply {
	s.t.Helper()
	return (&browser{s: s, http: &http.Client{Transport: s.client(i)}}).do(req)
}
