package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

func TestEachLimitHoldsAtItsNumberAndNotBefore(t *testing.T) {
	now := time.Unix(1000, 0)
	stranger := caller.Caller{Source: "192.0.2.1"}
	for _, c := range []struct {
		name  string
		limit int
		take  func(*limits) error
		want  api.Kind
	}{
		{"short calls at once", maxCalls, func(l *limits) error {
			_, err := l.begin(route{Access: User}, stranger, now)
			return err
		}, api.Unavailable},
		{"long polls at once", maxPolls, func(l *limits) error {
			_, err := l.begin(route{Access: User, Poll: true}, stranger, now)
			return err
		}, api.Unavailable},
		{"long polls of one caller", maxPollsEach, func(l *limits) error { _, err := l.hold("srv_1"); return err }, api.Limited},
		{"calls of strangers from one source", strangerBurst, func(l *limits) error {
			end, err := l.begin(route{Access: Public}, stranger, now)
			if err == nil {
				end()
			}
			return err
		}, api.Limited},
		{"sign-ins that one source begins", beginBurst, func(l *limits) error {
			end, err := l.begin(route{Access: Public, Begins: true}, stranger, now)
			if err == nil {
				end()
			}
			return err
		}, api.Limited},
		{"wrong proofs from one source", failureBurst, func(l *limits) error {
			end, err := l.begin(route{Access: User}, stranger, now)
			if err == nil {
				l.failures.take(sourceKey(stranger.Source), now)
				end()
			}
			return err
		}, api.Limited},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLimits()
			for i := range c.limit {
				if err := c.take(l); err != nil {
					t.Fatalf("number %d of %d: %v", i+1, c.limit, err)
				}
			}
			if err := c.take(l); api.KindOf(err) != c.want {
				t.Fatalf("number %d: %v, want %s", c.limit+1, err, c.want)
			}
		})
	}
}

func TestWhatEndsGivesItsPlaceBack(t *testing.T) {
	l := newLimits()
	by := caller.Caller{Source: "192.0.2.1"}
	for range 2 * maxCalls {
		end, err := l.begin(route{Access: User}, by, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		end()
	}
	for range 2 * maxPollsEach {
		release, err := l.hold("x")
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if len(l.each) != 0 {
		t.Errorf("callers without polls are remembered: %v", l.each)
	}
}

func TestAFloodStopsItsOwnSourceAlone(t *testing.T) {
	l := newLimits()
	now := time.Unix(1000, 0)
	from := func(source string) error {
		end, err := l.begin(route{Access: Public}, caller.Caller{Source: source}, now)
		if err == nil {
			end()
		}
		return err
	}
	for range 2 * strangerBurst {
		_ = from("2001:db8::1")
	}
	if from("2001:db8::ffff") == nil {
		t.Error("another address of the same /64 has calls left")
	}
	if err := from("2001:db8:0:1::1"); err != nil {
		t.Errorf("another /64 has none left: %v", err)
	}
	if err := from("192.0.2.1"); err != nil {
		t.Errorf("another source has none left: %v", err)
	}
	now = now.Add(time.Second)
	if err := from("2001:db8::1"); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

func TestTheNumberOfSourcesIsBounded(t *testing.T) {
	b := newBuckets(1, 1)
	now := time.Unix(1000, 0)
	for i := range maxSources + 10 {
		b.take(fmt.Sprint(i), now)
	}
	if len(b.of) > maxSources {
		t.Errorf("%d sources are remembered", len(b.of))
	}
	if b.take("one more", now) {
		t.Error("what is over the number has no limit")
	}
	now = now.Add(time.Minute)
	if !b.take("later", now) || len(b.of) != 1 {
		t.Errorf("quiet sources are not forgotten: %d", len(b.of))
	}
}

// waiting is a world with a poll that waits for its context.
func waiting(t *testing.T) (*world, chan struct{}) {
	began := make(chan struct{}, maxPollsEach+1)
	return newWorld(t, func(t *table) {
		handle(t, route{Method: "GET", Path: "/v1/wait", Access: User, Poll: true, Doc: "x"},
			func(ctx context.Context, _ caller.Caller, _ *none) (*api.Named, error) {
				began <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			})
		handle(t, route{Method: "GET", Path: "/v1/user", Access: User, Doc: "x"}, echo)
	}), began
}

func TestLongPollsEndAtOnceWhenTheServerStops(t *testing.T) {
	w, began := waiting(t)
	alice := w.join(store.KindUser, "t", nil)
	var wait sync.WaitGroup
	for range maxPollsEach {
		wait.Go(func() {
			if got := w.send(alice.request("GET", "/v1/wait", "")); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
				t.Errorf("got %d %s", got.StatusCode, got.body)
			}
		})
		<-began
	}
	if got := w.send(alice.request("GET", "/v1/wait", "")); got.StatusCode != 429 {
		t.Errorf("one poll too many: %d", got.StatusCode)
	}
	if got := w.send(alice.request("GET", "/v1/user", "")); got.StatusCode != 200 {
		t.Errorf("polls take the place of calls: %d", got.StatusCode)
	}
	stopped := time.Now()
	w.server.stop()
	wait.Wait()
	if took := time.Since(stopped); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRunServesSweepsAndStops(t *testing.T) {
	w, began := waiting(t)
	alice := w.join(store.KindUser, "t", nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx, listener) }()
	w.http.URL = "http://" + listener.Addr().String()
	var wait sync.WaitGroup
	wait.Go(func() { w.send(alice.request("GET", "/v1/wait", "")) })
	<-began
	select {
	case <-w.store.swept:
	case <-time.After(5 * time.Second):
		t.Error("nothing was swept")
	}
	stopped := time.Now()
	cancel()
	wait.Wait()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(stopped); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	for i, want := range []string{audit.InstanceStart, audit.InstanceStop} {
		if e := w.store.event(t, i); e.Action != want {
			t.Errorf("event %d is %s, want %s", i, e.Action, want)
		}
	}
}

func TestASlowBodyIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: waits for a deadline of 10 s")
	}
	w := newWorld(t, doors)
	alice := w.join(store.KindUser, "t", nil)
	for name, head := range map[string]string{
		"a body that we read":                  "POST /v1/user HTTP/1.1\r\nAuthorization: DPoP t\r\nDPoP: " + alice.proof("POST", "/v1/user"),
		"a body of a stranger":                 "POST /v1/user HTTP/1.1",
		"a body where there should not be one": "GET /v1/public HTTP/1.1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.http.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", head)
			conn.SetDeadline(time.Now().Add(2 * bodyTime))
			_, err = io.Copy(io.Discard, conn)
			if took := time.Since(began); err != nil || took > bodyTime+8*time.Second {
				t.Errorf("the connection was held for %s: %v", took, err)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t, healthRoutes)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200} {
		if got := w.get(path); got.StatusCode != want {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if n := w.store.asked; n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
	w.get("/readyz")
	if n := w.store.asked; n != 1 {
		t.Errorf("a second question within %s costs another write", readyFor)
	}
	w.server.readiness.at = time.Time{}
	w.store.broken = errors.New("disk full at /secret/path")
	if got := w.get("/readyz"); got.StatusCode != 503 || strings.Contains(got.body, "secret") {
		t.Errorf("with a broken store: %d %s", got.StatusCode, got.body)
	}
	if got := w.get("/healthz"); got.StatusCode != 200 {
		t.Errorf("a broken store is no reason to restart us: %d", got.StatusCode)
	}
}

func TestTheSourceIsNotWhatAStrangerWrites(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	s := &Server{options: Options{Proxies: proxies}}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"a peer that is no proxy", "192.0.2.1:5", []string{"1.1.1.1"}, "192.0.2.1"},
		{"a proxy that says for whom", "10.0.0.1:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"what a stranger sent to the proxy stands before", "10.0.0.1:5", []string{"1.1.1.1, 192.0.2.1"}, "192.0.2.1"},
		{"two fields are one list", "10.0.0.1:5", []string{"1.1.1.1", "192.0.2.1"}, "192.0.2.1"},
		{"two proxies in a row", "10.0.0.1:5", []string{"1.1.1.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"a proxy that says nothing", "10.0.0.1:5", nil, "10.0.0.1"},
		{"a proxy that says nonsense", "10.0.0.1:5", []string{"unknown"}, "10.0.0.1"},
		{"an IPv4 address as IPv6", "[::ffff:192.0.2.1]:5", nil, "192.0.2.1"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded}}
			if got := s.source(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRefusalsOfTheKnownAreAudited(t *testing.T) {
	w := newWorld(t, doors)
	alice := w.join(store.KindUser, "alice-token", nil)
	for _, c := range []struct {
		name           string
		send           func() reply
		action, reason string
		actor, user    string
	}{
		{"a user at an administrator's door", func() reply { return w.send(alice.request("GET", "/v1/admin", "")) },
			audit.AccessDenied, "administrator", "usr_1", ""},
		{"a token with another key", func() reply { return w.send(person{w, newKey(t), "alice-token"}.request("GET", "/v1/user", "")) },
			audit.ProofRefused, "another key", "", "usr_1"},
		{"a token with a proof for another path", func() reply {
			req := alice.request("GET", "/v1/user", "")
			req.Header.Set("DPoP", alice.proof("GET", "/v1/admin"))
			return w.send(req)
		}, audit.ProofRefused, "another URL", "", "usr_1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.store.audit)
			if got := c.send(); got.StatusCode < 400 {
				t.Fatalf("got %d", got.StatusCode)
			}
			e := w.store.event(t, before)
			if e.Action != c.action || e.Outcome != audit.Denied || !strings.Contains(e.Reason, c.reason) || e.Actor != c.actor || e.User != c.user || e.Source != "127.0.0.1" {
				t.Errorf("got %+v", e)
			}
			if bytes.Contains(w.store.audit[before], []byte("alice-token")) {
				t.Error("the log has the token")
			}
		})
	}
}

func TestRefusalsCannotFillTheDisk(t *testing.T) {
	w := newWorld(t, doors)
	alice := w.join(store.KindUser, "t", nil)
	for range 2 * denialBurst {
		w.send(alice.request("GET", "/v1/admin", ""))
	}
	if n := len(w.store.audit); n != denialBurst {
		t.Errorf("%d rows, want %d", n, denialBurst)
	}
	for range 50 {
		w.send(person{w, newKey(t), "no such token"}.request("GET", "/v1/user", ""))
	}
	if n := len(w.store.audit); n != denialBurst {
		t.Errorf("strangers made %d rows", n-denialBurst)
	}
}

func TestTheDescriptionIsWhole(t *testing.T) {
	w := newWorld(t, register)
	got := w.get("/openapi.json")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("openapi.json: %v %.200s", err, got.body)
	}
	page := w.get("/docs")
	if page.StatusCode != 200 || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("docs: %d", page.StatusCode)
	}
	for _, r := range w.server.routes {
		if !strings.HasPrefix(r.Path, api.PathPrefix+"/") && r.Path != "/oauth/token" {
			continue
		}
		if doc.Paths[r.Path][strings.ToLower(r.Method)] == nil {
			t.Errorf("%s is not in openapi.json", r)
		}
		if !strings.Contains(page.body, "<code>"+r.Path+"</code>") {
			t.Errorf("%s is not in the docs", r)
		}
	}
	if strings.Contains(got.body, "ErrorModel") {
		t.Error("the framework's error type is documented")
	}
}

// The command line asks for every list page by page, and a parameter that a route does
// not know is refused.
func TestEveryListTakesAPage(t *testing.T) {
	w := newWorld(t, register)
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
			Responses  map[string]any
		}
	}
	if err := json.Unmarshal([]byte(w.get("/openapi.json").body), &doc); err != nil {
		t.Fatal(err)
	}
	lists := 0
	for path, verbs := range doc.Paths {
		get := verbs["get"]
		answer, _ := json.Marshal(get.Responses["200"])
		if !strings.Contains(string(answer), "schemas/List") {
			continue
		}
		lists++
		if !slices.ContainsFunc(get.Parameters, func(p struct{ Name string }) bool { return p.Name == "limit" }) {
			t.Errorf("GET %s takes no limit", path)
		}
	}
	if lists < 15 {
		t.Errorf("only %d lists were looked at", lists)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	good := newWorld(t, teamRoutes).server.options
	for name, spoil := range map[string]func(*Options){
		"no store":              func(o *Options) { o.Store = nil },
		"no nonces":             func(o *Options) { o.Nonces = nil },
		"no URL":                func(o *Options) { o.PublicURL = "" },
		"no TLS":                func(o *Options) { o.PublicURL = "http://access.example.com" },
		"a path":                func(o *Options) { o.PublicURL = "https://example.com/cardea" },
		"a session of a week":   func(o *Options) { o.SessionLife = 7 * 24 * time.Hour },
		"a session of a moment": func(o *Options) { o.SessionLife = time.Second },
	} {
		o := good
		spoil(&o)
		if _, err := build(o, teamRoutes); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(good); err == nil {
		t.Error("no key ring: accepted")
	}
	o := good
	o.PublicURL = "https://Access.Example.com:443/"
	if s, err := build(o, teamRoutes); err != nil || s.origin != publicURL {
		t.Errorf("a URL in another spelling: %v %v", s, err)
	}
}
