package control

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/store"
)

// whoami answers with the caller as the domains see it.
type whoami struct {
	ID, Source, JTI, Prover, Scope, Hash string
}

func echo(_ context.Context, by caller.Caller, _ *none) (*whoami, error) {
	out := &whoami{ID: by.ID(), Source: by.Source, Prover: by.Prover}
	if by.Proof != nil {
		out.JTI = by.Proof.JTI
	}
	if by.Idempotency != nil {
		out.Scope, out.Hash = by.Idempotency.Scope, hex.EncodeToString(by.Idempotency.Hash)
	}
	return out, nil
}

// doors are one route of each Access, by GET and POST.
func doors(t *table) {
	for a := Public; a <= Gateway; a++ {
		for _, m := range []string{"GET", "POST"} {
			handle(t, route{Method: m, Path: "/v1/" + a.String(), Access: a, Doc: "x"}, echo)
		}
	}
}

func TestADoorOpensForItsOwn(t *testing.T) {
	w := newWorld(t, doors)
	for path, p := range map[string]person{
		"/v1/user":    w.join(store.KindUser, "u", nil),
		"/v1/admin":   w.join(store.KindUser, "a", func(s *store.Subject) { s.User.Admin = true }),
		"/v1/agent":   w.join(store.KindServer, "s", nil),
		"/v1/gateway": w.join(store.KindGateway, "g", nil),
	} {
		if got := w.send(p.request("GET", path, "")); got.StatusCode != 200 || strings.Contains(got.body, `"JTI":"",`) == false {
			t.Errorf("GET %s: %d %s", path, got.StatusCode, got.body)
		}
		if got := w.send(p.request("POST", path, "")); got.StatusCode != 200 || strings.Contains(got.body, `"JTI":"",`) {
			t.Errorf("POST %s: %d %s; a mutation needs its proof claimed", path, got.StatusCode, got.body)
		}
	}
	enrolling := person{w: w, key: newKey(t)}
	req := enrolling.request("POST", "/v1/proof", "")
	req.Header.Del("Authorization")
	if got := w.send(req); got.StatusCode != 200 || !strings.Contains(got.body, enrolling.key.Thumbprint()) {
		t.Errorf("proof: %d %s", got.StatusCode, got.body)
	}
}

func TestWhoIsRefused(t *testing.T) {
	w := newWorld(t, doors)
	type change = func(*store.Subject)
	for _, c := range []struct {
		name   string
		kind   string
		change change
		path   string
		status int
		say    string
	}{
		{"a session that was ended", store.KindUser, func(s *store.Subject) { s.Session.RevokedAt = w.now.Add(-time.Minute) }, "/v1/user", 401, "ended at 2026-11-01 11:59 UTC"},
		{"a session at its last instant", store.KindUser, func(s *store.Subject) { s.Session.ExpiresAt = w.now }, "/v1/user", 401, "over since"},
		{"a session a moment before", store.KindUser, func(s *store.Subject) { s.Session.ExpiresAt = w.now.Add(1) }, "/v1/user", 200, ""},
		{"a session without an end", store.KindUser, func(s *store.Subject) { s.Session.ExpiresAt = time.Time{} }, "/v1/user", 401, "over"},
		{"a disabled user", store.KindUser, func(s *store.Subject) { s.User.Status = store.Disabled }, "/v1/user", 403, "disabled"},
		{"a user of no status", store.KindUser, func(s *store.Subject) { s.User.Status = "" }, "/v1/user", 403, "account"},
		{"a pending device", store.KindUser, func(s *store.Subject) { s.Device.State = store.Pending }, "/v1/user", 403, "approval"},
		{"a revoked device", store.KindUser, func(s *store.Subject) { s.Device.State = store.Revoked }, "/v1/user", 403, "revoked"},
		{"a revoked device, whose session ended with it", store.KindUser, func(s *store.Subject) {
			s.Device.State, s.Session.RevokedAt = store.Revoked, w.now.Add(-time.Minute)
		}, "/v1/user", 403, "type: cardea device replace"},
		{"a program's revoked key", store.KindUser, func(s *store.Subject) { s.Device.State, s.User.Issuer = store.Revoked, store.ServiceIssuer }, "/v1/user", 403, "key of this program was revoked"},
		{"a program's session that was ended", store.KindUser, func(s *store.Subject) {
			s.Session.RevokedAt, s.User.Issuer = w.now.Add(-time.Minute), store.ServiceIssuer
		}, "/v1/user", 401, "--service-key FILE, or in a job: cardea login"},
		{"a device of no state", store.KindUser, func(s *store.Subject) { s.Device.State = "" }, "/v1/user", 403, "device"},
		{"a user at an administrator's door", store.KindUser, nil, "/v1/admin", 403, "administrator"},
		{"a user at an agent's door", store.KindUser, nil, "/v1/agent", 403, "server agents"},
		{"an administrator at a gateway's door", store.KindUser, func(s *store.Subject) { s.User.Admin = true }, "/v1/gateway", 403, "gateways"},
		{"a disabled administrator", store.KindUser, func(s *store.Subject) { s.User.Admin, s.User.Status = true, store.Disabled }, "/v1/admin", 403, "disabled"},
		{"a server at a user's door", store.KindServer, nil, "/v1/user", 403, "people"},
		{"a server that says it is an administrator", store.KindServer, func(s *store.Subject) { s.User.Admin = true }, "/v1/admin", 403, "people"},
		{"a disabled server", store.KindServer, func(s *store.Subject) { s.Server.State = store.Disabled }, "/v1/agent", 403, "disabled"},
		{"a disabled gateway", store.KindGateway, func(s *store.Subject) { s.Gateway.State = store.Disabled }, "/v1/gateway", 403, "disabled"},
		{"a machine whose credential is over", store.KindServer, func(s *store.Subject) { s.ExpiresAt = w.now }, "/v1/agent", 401, "enrol"},
		{"a subject of no kind", "", nil, "/v1/user", 403, "people"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := w.send(w.join(c.kind, "t", c.change).request("GET", c.path, ""))
			if got.StatusCode != c.status || !strings.Contains(got.body, c.say) {
				t.Errorf("got %d %s, want %d with %q", got.StatusCode, got.body, c.status, c.say)
			}
			if c.status == 401 && !strings.Contains(got.body, "cardea login "+publicURL) && !strings.Contains(got.body, "enrol") {
				t.Errorf("the answer does not say what to type: %s", got.body)
			}
		})
	}
}

// spoiled calls: each is a good one with one thing wrong.
func TestWhatIsNotAGoodCall(t *testing.T) {
	w := newWorld(t, doors)
	alice := w.join(store.KindUser, "alice-token", nil)
	mallory := person{w, newKey(t), alice.token}
	stranger := person{w, alice.key, "another-token"}
	prove := func(key *dpop.Key, method, url, nonce, token string) string {
		s, err := key.Proof(method, url, nonce, token)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const path = "/v1/user"
	here, nonce := publicURL+path, w.nonces.Issue(w.now)
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, c := range []struct {
		name  string
		who   person
		spoil func(*http.Request)
		want  api.Kind
	}{
		{"no token", alice, func(r *http.Request) { r.Header.Del("Authorization") }, api.SignIn},
		{"the token as Bearer, without its key", alice, set("Authorization", "Bearer "+alice.token), api.SignIn},
		{"two tokens", alice, func(r *http.Request) { r.Header.Add("Authorization", "DPoP "+alice.token) }, api.SignIn},
		{"no proof", alice, func(r *http.Request) { r.Header.Del("DPoP") }, api.SignIn},
		{"two proofs", alice, func(r *http.Request) { r.Header.Add("DPoP", alice.proof("GET", path)) }, api.SignIn},
		{"no proof at all", alice, set("DPoP", "x.y.z"), api.SignIn},
		{"a stolen token with the thief's key", mallory, nil, api.SignIn},
		{"an unknown token", stranger, nil, api.SignIn},
		{"a proof for another method", alice, set("DPoP", alice.proof("POST", path)), api.SignIn},
		{"a proof for another path", alice, set("DPoP", alice.proof("GET", "/v1/admin")), api.SignIn},
		{"a proof for another host", alice, set("DPoP", prove(alice.key, "GET", "https://evil.example.com"+path, nonce, alice.token)), api.SignIn},
		{"a proof for another port", alice, set("DPoP", prove(alice.key, "GET", "https://access.example.com:8443"+path, nonce, alice.token)), api.SignIn},
		{"a proof for the address of the Host header", alice, set("DPoP", prove(alice.key, "GET", w.http.URL+path, nonce, alice.token)), api.SignIn},
		{"a proof without the token's hash", alice, set("DPoP", prove(alice.key, "GET", here, nonce, "")), api.SignIn},
		{"a proof with another token's hash", alice, set("DPoP", prove(alice.key, "GET", here, nonce, "other")), api.SignIn},
		{"a proof without a nonce", alice, set("DPoP", prove(alice.key, "GET", here, "", alice.token)), api.UseNonce},
		{"a proof with an old nonce", alice, set("DPoP", prove(alice.key, "GET", here, w.nonces.Issue(w.now.Add(-dpop.NonceTTL-time.Second)), alice.token)), api.UseNonce},
		{"a proof with a nonce of the future", alice, set("DPoP", prove(alice.key, "GET", here, w.nonces.Issue(w.now.Add(time.Minute)), alice.token)), api.UseNonce},
		{"a good call", alice, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := c.who.request("GET", path, "")
			if c.spoil != nil {
				c.spoil(req)
			}
			got := w.send(req)
			if c.want == "" && got.StatusCode != 200 || c.want != "" && (got.StatusCode != 401 || got.problem.Kind != c.want) {
				t.Fatalf("got %d %s, want %q", got.StatusCode, got.body, c.want)
			}
			if c.want != "" && got.Header.Get("WWW-Authenticate") == "" || got.Header.Get(api.HeaderNonce) == "" {
				t.Errorf("the answer lacks its headers: %v", got.Header)
			}
			if strings.Contains(got.body, "alice-token") {
				t.Errorf("the answer repeats the token: %s", got.body)
			}
		})
	}
	if strings.Contains(w.log.String(), "alice-token") {
		t.Error("the log has the token")
	}
}

func TestAStolenTokenAndAnUnknownOneLookTheSame(t *testing.T) {
	w := newWorld(t, doors)
	alice := w.join(store.KindUser, "alice-token", func(s *store.Subject) { s.User.Status = store.Disabled })
	stolen := w.send(person{w, newKey(t), alice.token}.request("GET", "/v1/user", ""))
	unknown := w.send(person{w, newKey(t), "nobodys"}.request("GET", "/v1/user", ""))
	stolen.problem.ID, unknown.problem.ID = "", ""
	if stolen.StatusCode != unknown.StatusCode || stolen.problem != unknown.problem {
		t.Errorf("a thief learns that the token is good: %+v, %+v", stolen.problem, unknown.problem)
	}
}

func TestAWrongClockNeedsOneMoreTry(t *testing.T) {
	w := newWorld(t, doors)
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		alice := w.join(store.KindUser, "t", nil)
		alice.key.Now = func() time.Time { return w.now.Add(skew) }
		req := alice.request("GET", "/v1/user", "")
		bare, _ := alice.key.Proof("GET", publicURL+"/v1/user", "", alice.token)
		req.Header.Set("DPoP", bare)
		first := w.send(req)
		if first.problem.Kind != api.UseNonce {
			t.Fatalf("first try: %s", first.body)
		}
		again, _ := alice.key.Proof("GET", publicURL+"/v1/user", first.Header.Get(api.HeaderNonce), alice.token)
		req.Header.Set("DPoP", again)
		if got := w.send(req); got.StatusCode != 200 {
			t.Errorf("clock off by %s: %d %s", skew, got.StatusCode, got.body)
		}
	}
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t, func(t *table) {
		doors(t)
		handle(t, route{Method: "POST", Path: "/v1/any", Access: User, Doc: "x"},
			func(ctx context.Context, by caller.Caller, _ *body[map[string]string]) (*whoami, error) {
				return echo(ctx, by, nil)
			})
	})
	alice := w.join(store.KindUser, "t", nil)
	send := func(path, body, key string) reply {
		req := alice.request("POST", path, body)
		req.Header.Set(api.HeaderIdempotency, key)
		return w.send(req)
	}
	base := send("/v1/any", `{"a":"1"}`, "k1")
	if base.StatusCode != 200 || !strings.Contains(base.body, `"Scope":"ses_1"`) {
		t.Fatalf("got %d %s", base.StatusCode, base.body)
	}
	hash := func(r reply) string { return r.body[strings.Index(r.body, `"Hash"`):] }
	if again := send("/v1/any", `{"a":"1"}`, "k2"); hash(again) != hash(base) {
		t.Error("the same request has another hash")
	}
	if other := send("/v1/any", `{"a":"2"}`, "k1"); hash(other) == hash(base) {
		t.Error("another body has the same hash")
	}
	if other := send("/v1/user", ``, "k1"); hash(other) == hash(base) {
		t.Error("another path has the same hash")
	}
	for key, want := range map[string]int{
		strings.Repeat("k", maxIdempotencyKey): 200, strings.Repeat("k", maxIdempotencyKey+1): 422,
		"a b": 422, "ä": 422, "6f2c-00_A": 200,
	} {
		if got := send("/v1/user", "", key); got.StatusCode != want {
			t.Errorf("key %q: %d, want %d", key, got.StatusCode, want)
		}
	}
}
