package control

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func TestAliceSignsInThroughThePages(t *testing.T) {
	s := newStack(t)
	s.user("alice")
	d := s.device("alice's laptop")
	b := s.browser(0)

	page := b.open(d.link())
	code := api.ConfirmationCode(d.query.Get("code_challenge"), d.key.Thumbprint())
	if page.StatusCode != 200 || !strings.Contains(page.body, "alice&#39;s laptop") || !strings.Contains(page.body, code) {
		t.Fatalf("sign-in page: %d %s", page.StatusCode, page.body)
	}
	id := request(t, page)
	page = b.post("/signin", url.Values{"request": {id}, "name": {" alice "}, "password": {secret}})
	for _, want := range []string{"alice", "alice&#39;s laptop", "127.0.0.1", code, "demo"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the confirmation page does not show %q", want)
		}
	}
	back := sentBack(t, b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}))
	if back.Get("state") != "the state" || back.Get("iss") != publicURL || back.Get("code") == "" {
		t.Errorf("the answer is %v", back)
	}
	// Another instance redeems the code.
	in, err := d.api(1).Redeem(t.Context(), d.form(back.Get("code")))
	if err != nil {
		t.Fatal(err)
	}
	if in.TokenType != "DPoP" || in.ExpiresIn != 12*3600 || in.Session.UserName != "alice" || in.Session.Admin || in.Session.DeviceTag != "alice's laptop" {
		t.Errorf("signed in: %+v", in)
	}
	d.token = in.AccessToken
	var session api.Session
	if _, err := d.api(0).Get(t.Context(), "/v1/session", nil, &session); err != nil || session != in.Session {
		t.Errorf("session %+v, %v; want %+v", session, err, in.Session)
	}
	e := s.events(audit.SignIn)
	if len(e) != 1 || e[0].Outcome != audit.Allowed || e[0].Actor != in.Session.User || e[0].Source != "127.0.0.1" {
		t.Errorf("audit: %+v", e)
	}
	// A second device in the same browser needs no password, but a yes.
	again := s.device("second")
	if page := b.open(again.link()); !strings.Contains(page.body, "approve") {
		t.Errorf("second device: %d %s", page.StatusCode, page.body)
	}
	// The same device again is the same device.
	same := s.device("renamed")
	same.key, same.query = d.key, d.query
	in2, err := d.api(0).Redeem(t.Context(), d.form(same.approve(b, "alice").Get("code")))
	if err != nil || in2.Session.Device != in.Session.Device || in2.Session.ID == in.Session.ID {
		t.Errorf("again: %+v, %v", in2.Session, err)
	}
}

// The pages must do for the plain browser of the scripts, too.
func TestAPersonGoesThroughThePages(t *testing.T) {
	s := newStack(t)
	s.user("alice")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan url.Values, 1)
	go http.Serve(listener, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { answers <- r.URL.Query() }))
	defer listener.Close()
	for press, want := range map[string]string{"approve": "code", "cancel": "error"} {
		d := s.device("laptop")
		d.query.Set("redirect_uri", "http://"+listener.Addr().String()+"/callback")
		person := browse.Person{Name: "alice", Password: secret, Press: press, HTTP: s.client(0)}
		if _, err := person.Visit(t.Context(), publicURL+d.link()); err != nil {
			t.Fatal(err)
		}
		got := <-answers
		if got.Get(want) == "" || got.Get("iss") != publicURL || got.Get("state") != "the state" {
			t.Errorf("%s: the device got %v", press, got)
		}
	}
	if len(s.events(audit.SignInRefuse)) != 1 {
		t.Error("a no is not audited")
	}
}

func TestAuthorizationRequestsThatAreNotTaken(t *testing.T) {
	s := newStack(t)
	for _, c := range []struct {
		name  string
		spoil func(url.Values)
		back  string // the error at the device; empty: shown here, and no redirect
	}{
		{"an address on another host", func(q url.Values) { q.Set("redirect_uri", "https://evil.example.com/callback") }, ""},
		{"an address that only begins like ours", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:80@evil.example.com/callback") }, ""},
		{"the name localhost", func(q url.Values) { q.Set("redirect_uri", "http://localhost:8080/callback") }, ""},
		{"another path", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:8080/other") }, ""},
		{"a query behind the path", func(q url.Values) { q.Set("redirect_uri", callback+"?x=1") }, ""},
		{"a line end behind it", func(q url.Values) { q.Set("redirect_uri", callback+"\n") }, ""},
		{"no port", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1/callback") }, ""},
		{"port 0", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:0/callback") }, ""},
		{"port 65536", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:65536/callback") }, ""},
		{"TLS", func(q url.Values) { q.Set("redirect_uri", "https://127.0.0.1:8080/callback") }, ""},
		{"another loopback address", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.2:8080/callback") }, ""},
		{"two addresses", func(q url.Values) { q.Add("redirect_uri", callback) }, ""},
		{"no address", func(q url.Values) { q.Del("redirect_uri") }, ""},
		{"another program", func(q url.Values) { q.Set("client_id", "other") }, ""},
		{"no state", func(q url.Values) { q.Del("state") }, "invalid_request"},
		{"two states", func(q url.Values) { q.Add("state", "x") }, "invalid_request"},
		{"a state of 513 bytes", func(q url.Values) { q.Set("state", strings.Repeat("s", 513)) }, "invalid_request"},
		{"another response type", func(q url.Values) { q.Set("response_type", "token") }, "unsupported_response_type"},
		{"no challenge", func(q url.Values) { q.Del("code_challenge") }, "invalid_request"},
		{"a plain challenge", func(q url.Values) { q.Set("code_challenge_method", "plain") }, "invalid_request"},
		{"no method, which means plain", func(q url.Values) { q.Del("code_challenge_method") }, "invalid_request"},
		{"a short challenge", func(q url.Values) { q.Set("code_challenge", strings.Repeat("a", 42)) }, "invalid_request"},
		{"a challenge in another alphabet", func(q url.Values) { q.Set("code_challenge", strings.Repeat("+", 43)) }, "invalid_request"},
		{"no key", func(q url.Values) { q.Del("dpop_jkt") }, "invalid_request"},
		{"a long key", func(q url.Values) { q.Set("dpop_jkt", strings.Repeat("a", 44)) }, "invalid_request"},
		{"a device name of 129 bytes", func(q url.Values) { q.Set("device_name", strings.Repeat("n", 129)) }, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.device("laptop")
			c.spoil(d.query)
			got := s.browser(0).open(d.link())
			if c.back == "" {
				if got.StatusCode < 400 || got.Header.Get("Location") != "" {
					t.Errorf("got %d, redirect to %q", got.StatusCode, got.Header.Get("Location"))
				}
				return
			}
			a := sentBack(t, got)
			if a.Get("error") != c.back || a.Get("iss") != publicURL || a.Get("code") != "" {
				t.Errorf("the device got %v", a)
			}
		})
	}
	for name, change := range map[string]func(url.Values){
		"IPv6":                       func(q url.Values) { q.Set("redirect_uri", "http://[::1]:65535/callback") },
		"a state of 512 bytes":       func(q url.Values) { q.Set("state", strings.Repeat("s", 512)) },
		"a device name of 128 bytes": func(q url.Values) { q.Set("device_name", strings.Repeat("n", 128)) },
		"no device name":             func(q url.Values) { q.Del("device_name") },
	} {
		d := s.device("laptop")
		change(d.query)
		if got := s.browser(0).open(d.link()); got.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
}

// begun is a request at its confirmation page, alice signed in.
func begun(s *stack) (*device, *browser, string) {
	s.t.Helper()
	s.user("alice")
	d, b := s.device("laptop"), s.browser(0)
	id := request(s.t, b.open(d.link()))
	b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}})
	return d, b, id
}

func TestARequestBelongsToItsBrowserAndEnds(t *testing.T) {
	s := newStack(t)
	yes := func(id string) url.Values { return url.Values{"request": {id}, "decision": {"approve"}} }
	refused := func(t *testing.T, got reply) {
		t.Helper()
		if got.StatusCode < 400 || strings.Contains(got.Header.Get("Location"), "code=") {
			t.Errorf("got %d to %q", got.StatusCode, got.Header.Get("Location"))
		}
	}
	t.Run("another browser, signed in as the same person, cannot finish it", func(t *testing.T) {
		_, _, id := begun(s)
		_, other, _ := begun(s)
		refused(t, other.open("/confirm?request="+id))
		refused(t, other.post("/confirm", yes(id)))
	})
	t.Run("nobody is asked for a password for another browser's request", func(t *testing.T) {
		_, _, id := begun(s)
		refused(t, s.browser(0).open("/signin?request="+id))
		refused(t, s.browser(0).post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}}))
	})
	t.Run("it is approved once", func(t *testing.T) {
		_, b, id := begun(s)
		sentBack(t, b.post("/confirm", yes(id)))
		refused(t, b.post("/confirm", yes(id)))
		refused(t, b.open("/confirm?request="+id))
	})
	t.Run("a no is final, and anything but yes is no", func(t *testing.T) {
		_, b, id := begun(s)
		if a := sentBack(t, b.post("/confirm", url.Values{"request": {id}, "decision": {"approve "}})); a.Get("error") != "access_denied" {
			t.Errorf("the device got %v", a)
		}
		refused(t, b.post("/confirm", yes(id)))
	})
	t.Run("it ends after ten minutes and not before", func(t *testing.T) {
		_, b, id := begun(s)
		_, late, lateID := begun(s)
		s.wait(signin.RequestLife - time.Second)
		sentBack(t, b.post("/confirm", yes(id)))
		s.wait(time.Second)
		refused(t, late.post("/confirm", yes(lateID)))
	})
	t.Run("a made-up id is nothing", func(t *testing.T) {
		_, b, _ := begun(s)
		for _, id := range []string{"", "req_aaaaaaaaaaaaaaaaaaaa", "req_", "' OR 1=1 --", strings.Repeat("x", 4000)} {
			refused(t, b.post("/confirm", yes(id)))
			refused(t, b.open("/confirm?request="+url.QueryEscape(id)))
		}
	})
	t.Run("who is signed out is asked again", func(t *testing.T) {
		_, b, id := begun(s)
		if page := b.post("/signout", url.Values{"request": {id}}); !strings.Contains(page.body, `type="password"`) {
			t.Errorf("after signing out: %d %s", page.StatusCode, page.body)
		}
		if page := b.post("/confirm", yes(id)); !strings.Contains(page.body, `type="password"`) {
			t.Errorf("a yes of nobody: %d %s", page.StatusCode, page.body)
		}
	})
	t.Run("who is disabled meanwhile gets no code", func(t *testing.T) {
		_, b, id := begun(s)
		disabled := store.Disabled
		if _, err := s.store.UpdateUser(t.Context(), s.user("alice").ID, store.UserChange{Status: &disabled}, store.Meta{Now: s.now()}); err != nil {
			t.Fatal(err)
		}
		if got := b.post("/confirm", yes(id)); strings.Contains(got.Header.Get("Location"), "code=") {
			t.Errorf("got %q", got.Header.Get("Location"))
		}
	})
}

func TestAFormOfAnotherSiteIsRefused(t *testing.T) {
	s := newStack(t)
	set := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Origin")
			r.Header.Del("Sec-Fetch-Site")
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Add(pairs[i], pairs[i+1])
			}
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*http.Request)
		ok    bool
	}{
		{"our own page", set("Origin", publicURL, "Sec-Fetch-Site", "same-origin"), true},
		{"our own page in an older browser", set("Origin", publicURL), true},
		{"our own page that sends no origin", set("Sec-Fetch-Site", "same-origin"), true},
		{"another site", set("Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site"), false},
		{"another site that says only so", set("Sec-Fetch-Site", "cross-site"), false},
		{"a sister host", set("Origin", "https://blog.example.com", "Sec-Fetch-Site", "same-site"), false},
		{"a sister host in an older browser", set("Origin", "https://blog.example.com"), false},
		{"another port of this host", set("Origin", publicURL+":8443"), false},
		{"the same host without TLS", set("Origin", "http://access.example.com"), false},
		{"an opaque origin", set("Origin", "null"), false},
		{"no word of where it is from", set(), false},
		{"a link typed by hand", set("Sec-Fetch-Site", "none"), false},
		{"two origins", set("Origin", publicURL, "Origin", "https://evil.test"), false},
		{"JSON as text", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, false},
		{"JSON", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, false},
		{"a multipart form", func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, b, id := begun(s)
			got := b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}, c.spoil)
			if ok := strings.Contains(got.Header.Get("Location"), "code="); ok != c.ok {
				t.Errorf("got %d to %q", got.StatusCode, got.Header.Get("Location"))
			}
			_, b, id = begun(s)
			if got := b.post("/signout", url.Values{"request": {id}}, c.spoil); (got.StatusCode == 200) != c.ok {
				t.Errorf("sign out: %d", got.StatusCode)
			}
		})
	}
}

func TestTheCookies(t *testing.T) {
	s := newStack(t)
	s.user("alice")
	d, b := s.device("laptop"), s.browser(0)
	req, _ := http.NewRequest("GET", publicURL+d.link(), nil)
	first := b.do(req).Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-cardea-browser=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(first, want) || strings.Contains(first, "Domain") {
			t.Errorf("the cookie %q has no %s", first, want)
		}
	}
	// A value that somebody planted before is not the one that is signed in.
	planted := signin.NewSecret()
	u, _ := url.Parse(publicURL)
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-cardea-login", Value: planted, Path: "/", Secure: true}})
	id := request(t, b.open(d.link()))
	b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}})
	login := b.cookies()["__Host-cardea-login"]
	if login == planted || len(login) != signin.SecretLen {
		t.Errorf("the login cookie is %q", login)
	}
	// Who signs in anew leaves no old login behind.
	b.post("/signin", url.Values{"request": {request(t, b.open(s.device("x").link()))}, "name": {"alice"}, "password": {secret}})
	now := b.cookies()["__Host-cardea-login"]
	if now == login {
		t.Error("the login cookie is the same after a second sign-in")
	}
	thief := s.browser(0)
	thief.open(d.link())
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-cardea-login", Value: login, Path: "/", Secure: true}})
	if page := thief.open(s.device("x").link()); !strings.Contains(page.body, `type="password"`) {
		t.Error("the old login cookie is good still")
	}
	// The login ends.
	s.wait(signin.BrowserLife)
	if page := b.open(s.device("x").link()); !strings.Contains(page.body, `type="password"`) {
		t.Error("the login lasts for ever")
	}
}

func TestPagesForbidWhatTheyDoNotNeed(t *testing.T) {
	s := newStack(t)
	d, b, _ := begun(s)
	confirm := b.open(s.device("x").link())
	for name, page := range map[string]reply{"sign in": s.browser(0).open(d.link()), "confirm": confirm, "home": b.open("/"), "docs": b.open("/docs")} {
		policy := page.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q has no %s", name, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: policy %q", name, policy)
		}
		if page.Header.Get("X-Frame-Options") != "DENY" || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", name, page.Header)
		}
	}
	if policy := confirm.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "form-action 'self' http://127.0.0.1:43210") {
		t.Errorf("the confirmation cannot lead back to the device: %s", policy)
	}
}

func TestWrongPasswords(t *testing.T) { wrongPasswords(t, newStack(t)) }

func wrongPasswords(t *testing.T, s *stack) {
	s.user("alice")
	try := func(b *browser, id, name, secret string) reply {
		return b.post("/signin", url.Values{"request": {id}, "name": {name}, "password": {secret}})
	}
	b := s.browser(0)
	id := request(t, b.open(s.device("x").link()))
	known, unknown := try(b, id, "alice", "wrong"), try(b, id, "nobody", "wrong")
	same := strings.ReplaceAll(unknown.body, "nobody", "alice")
	if known.StatusCode != 401 || unknown.StatusCode != 401 || known.body != same {
		t.Errorf("a page tells who exists: %d %s, %d %s", known.StatusCode, known.body, unknown.StatusCode, unknown.body)
	}
	// One was used; nine more are allowed, from any instance.
	for i := range signin.Tries - 1 {
		if got := try(s.browserFrom(b, i%2), id, "ALICE", "wrong"); got.StatusCode != 401 {
			t.Fatalf("try %d: %d", i+2, got.StatusCode)
		}
	}
	if got := try(b, id, "alice", secret); got.StatusCode != 429 || got.Header.Get("Retry-After") == "" {
		t.Errorf("one try too many, with the right password: %d", got.StatusCode)
	}
	if n := len(s.events(audit.SignInLimited)); n != 1 {
		t.Errorf("%d events tell of it", n)
	}
	if n := len(s.events(audit.SignInFailed)); n != signin.Tries+1 {
		t.Errorf("%d failed tries are audited, want %d", n, signin.Tries+1)
	}
	s.user("bob")
	if got := try(b, id, "bob", secret); !strings.Contains(got.body, "approve") {
		t.Errorf("another account is locked out, too: %d", got.StatusCode)
	}
	s.wait(signin.TryWindow)
	id = request(t, s.reopen(b, s.device("x")))
	if got := try(b, id, "alice", secret); !strings.Contains(got.body, "approve") {
		t.Errorf("after the window: %d %s", got.StatusCode, got.body)
	}
}

func TestOneSourceCannotKeepAllOthersFromSigningIn(t *testing.T) {
	s := newStack(t)
	s.user("alice")
	b := s.browser(0)
	id := request(t, b.open(s.device("x").link()))
	for range passwordBurst - 1 {
		s.servers[0].limits.passwords.take("127.0.0.1", s.now())
	}
	try := func(secret string) reply {
		return b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}})
	}
	if got := try("wrong"); got.StatusCode != 401 {
		t.Errorf("the last of its tries: %d", got.StatusCode)
	}
	if got := try(secret); got.StatusCode != 429 {
		t.Errorf("one more: %d", got.StatusCode)
	}
	s.wait(time.Second)
	if got := try(secret); !strings.Contains(got.body, "approve") {
		t.Errorf("a second later: %d %s", got.StatusCode, got.body)
	}
	if got := try(secret); got.StatusCode == 429 {
		t.Error("a right password counts as a wrong one")
	}
}

// browserFrom is the same browser, led to another instance.
func (s *stack) browserFrom(b *browser, i int) *browser {
	c := *b.http
	c.Transport = s.client(i)
	return &browser{s, &c, b.at}
}

// reopen opens a device's link signed out.
func (s *stack) reopen(b *browser, d *device) reply {
	s.t.Helper()
	page := b.open(d.link())
	return b.post("/signout", url.Values{"request": {request(s.t, page)}})
}

func TestAPersonWhoMayNot(t *testing.T) {
	s := newStack(t)
	alice := s.user("alice")
	disabled := store.Disabled
	if _, err := s.store.UpdateUser(t.Context(), alice.ID, store.UserChange{Status: &disabled}, store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	b := s.browser(0)
	id := request(t, b.open(s.device("x").link()))
	right := b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}})
	wrong := b.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {"wrong"}})
	if right.StatusCode != 403 || !strings.Contains(right.body, "disabled") {
		t.Errorf("the owner is not told why: %d %s", right.StatusCode, right.body)
	}
	if wrong.StatusCode != 401 || strings.Contains(wrong.body, "disabled") {
		t.Errorf("a stranger is told: %d %s", wrong.StatusCode, wrong.body)
	}
}

func TestACodeIsGoodOnceForItsOwnDevice(t *testing.T) { redeemCodes(t, newStack(t)) }

func redeemCodes(t *testing.T, s *stack) {
	s.user("alice")
	for _, c := range []struct {
		name  string
		spoil func(*device, url.Values)
		code  string
	}{
		{"a wrong verifier", func(_ *device, f url.Values) { f.Set("code_verifier", strings.Repeat("w", 43)) }, "invalid_grant"},
		{"no verifier", func(_ *device, f url.Values) { f.Del("code_verifier") }, "invalid_request"},
		{"the challenge as verifier", func(d *device, f url.Values) { f.Set("code_verifier", d.query.Get("code_challenge")) }, "invalid_grant"},
		{"a verifier of 42", func(_ *device, f url.Values) { f.Set("code_verifier", strings.Repeat("v", 42)) }, "invalid_request"},
		{"another key", func(d *device, _ url.Values) { d.key = newKey(t) }, "invalid_grant"},
		{"another address", func(_ *device, f url.Values) { f.Set("redirect_uri", "http://127.0.0.1:1/callback") }, "invalid_grant"},
		{"another program", func(_ *device, f url.Values) { f.Set("client_id", "x") }, "invalid_client"},
		{"another grant", func(_ *device, f url.Values) { f.Set("grant_type", "password") }, "unsupported_grant_type"},
		{"a changed time of sign-in", func(_ *device, f url.Values) {
			parts := strings.Split(f.Get("code"), ".")
			f.Set("code", parts[0]+".99999999999."+parts[2])
		}, "invalid_grant"},
		{"a made-up code", func(_ *device, f url.Values) { f.Set("code", "x") }, "invalid_grant"},
		{"two codes", func(_ *device, f url.Values) { f.Add("code", "x") }, "invalid_request"},
		{"too late", func(*device, url.Values) { s.wait(signin.CodeLife) }, "invalid_grant"},
		{"at the last moment", func(*device, url.Values) { s.wait(signin.CodeLife - time.Second) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.device("laptop")
			form := d.form(d.approve(s.browser(0), "alice").Get("code"))
			c.spoil(d, form)
			got := s.redeem(d, form)
			if c.code == "" && got.StatusCode != 200 || c.code != "" && (got.StatusCode != 400 || !strings.Contains(got.body, `"`+c.code+`"`)) {
				t.Errorf("got %d %s, want %q", got.StatusCode, got.body, c.code)
			}
		})
	}
	t.Run("after a mismatch it is good for nobody", func(t *testing.T) {
		d := s.device("laptop")
		form := d.form(d.approve(s.browser(0), "alice").Get("code"))
		thief := *d
		thief.key = newKey(t)
		s.redeem(&thief, form)
		if got := s.redeem(d, form); got.StatusCode != 400 {
			t.Errorf("got %d %s", got.StatusCode, got.body)
		}
	})
	t.Run("used twice it ends the session that it made", func(t *testing.T) {
		d := s.device("laptop")
		form := d.form(d.approve(s.browser(0), "alice").Get("code"))
		in, err := d.api(0).Redeem(t.Context(), form)
		if err != nil {
			t.Fatal(err)
		}
		d.token = in.AccessToken
		if got := s.redeem(d, form); got.StatusCode != 400 {
			t.Errorf("second use: %d %s", got.StatusCode, got.body)
		}
		if got := s.send(1, d.request(1, "GET", "/v1/session", "")); got.StatusCode != 401 {
			t.Errorf("the session of the first use: %d %s", got.StatusCode, got.body)
		}
		if len(s.events(audit.SignInReuse)) == 0 {
			t.Error("it is not audited")
		}
	})
	t.Run("of fifty at once one gets it", func(t *testing.T) {
		d := s.device("laptop")
		form := d.form(d.approve(s.browser(0), "alice").Get("code"))
		var mu sync.Mutex
		won := 0
		var wait sync.WaitGroup
		for i := range 50 {
			wait.Go(func() {
				if got := s.redeemAt(i%2, d, form); got.StatusCode == 200 {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		if won != 1 {
			t.Errorf("%d got it", won)
		}
	})
}

// TestJunkDoesNotHideWhatIsTriedOfAPerson: mallory makes codes up until no more rows are made of
// them, and then tries one that she has stolen.
func TestJunkDoesNotHideWhatIsTriedOfAPerson(t *testing.T) {
	s := newStack(t)
	alice := s.user("alice")
	d := s.device("laptop")
	form := d.form(d.approve(s.browser(0), "alice").Get("code"))
	stolen := form.Get("code")
	_, rest, _ := strings.Cut(stolen, ".")
	form.Set("code", ident.New(ident.AuthRequest)+"."+rest)
	for range auditBurst + 1 {
		if got := s.redeem(d, form); got.StatusCode != 400 {
			t.Fatalf("got %d %s", got.StatusCode, got.body)
		}
	}
	if n := len(s.events(audit.SignInReuse)); n != auditBurst {
		t.Errorf("%d rows of made-up codes, want %d", n, auditBurst)
	}
	form.Set("code", stolen)
	d.key = newKey(t)
	s.redeem(d, form)
	if e := s.events(audit.SignInFailed); len(e) != 1 || e[0].User != alice.ID {
		t.Errorf("of the stolen one: %+v", e)
	}
}

// redeem posts the form with a fresh proof.
func (s *stack) redeem(d *device, form url.Values) reply { return s.redeemAt(0, d, form) }

func (s *stack) redeemAt(i int, d *device, form url.Values) reply {
	s.t.Helper()
	bare := *d
	bare.token = ""
	req := bare.request(i, "POST", "/oauth/token", form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.send(i, req)
}

func TestTheTokenEndpointSpeaksOAuth(t *testing.T) {
	s := newStack(t)
	s.user("alice")
	d := s.device("laptop")
	form := d.form(d.approve(s.browser(0), "alice").Get("code"))
	send := func(change func(*http.Request)) reply {
		req := d.request(0, "POST", "/oauth/token", form.Encode())
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(req)
		return s.send(0, req)
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		code   string
	}{
		{"no nonce", func(r *http.Request) {
			p, _ := d.key.Proof("POST", publicURL+"/oauth/token", "", "")
			r.Header.Set("DPoP", p)
		}, "use_dpop_nonce"},
		{"no proof", func(r *http.Request) { r.Header.Del("DPoP") }, "invalid_dpop_proof"},
		{"JSON", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, "invalid_request"},
		{"everything right", func(*http.Request) {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := send(c.change)
			if c.code == "" {
				if got.StatusCode != 200 || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("got %d %v", got.StatusCode, got.Header)
				}
				return
			}
			if got.StatusCode != 400 || !strings.Contains(got.body, `{"error":"`+c.code+`"`) || got.Header.Get(api.HeaderNonce) == "" || got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %v %s", got.StatusCode, got.Header, got.body)
			}
		})
	}
}

func TestWhatIsNotThere(t *testing.T) {
	s := newStack(t)
	b := s.browser(0)
	for _, c := range []struct{ method, path, kind string }{
		{"GET", "/v1/nothing", problemType}, {"POST", "/v1/nothing", problemType}, {"GET", "/oauth/nothing", problemType},
		{"GET", "/nothing", "text/html; charset=utf-8"}, {"GET", "/static/0/cardea.css", "text/html; charset=utf-8"},
		{"GET", "/<script>", "text/html; charset=utf-8"},
	} {
		req, _ := http.NewRequest(c.method, publicURL+c.path, nil)
		got := b.do(req)
		if got.StatusCode != 404 || got.Header.Get("Content-Type") != c.kind || strings.Contains(got.body, "<script") || got.Header.Get(api.HeaderNonce) == "" {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, got.StatusCode, got.Header, got.body)
		}
	}
}

// Whoever has an IPv6 address has 2^64 of them, and they are one source.
func TestTheAddressesOfOneNetworkAreOneSource(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.options.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s.restart()
	s.user("alice")
	b := s.browser(0)
	id := request(t, b.open(s.device("x").link()))
	try := func(from, password string) reply {
		return b.post("/signin", with(id, "name", "alice", "password", password), func(r *http.Request) { r.Header.Set("X-Forwarded-For", from) })
	}
	for i := range signin.Tries {
		if got := try(fmt.Sprintf("2001:db8:0:1::%x", i+1), "wrong"); got.StatusCode != 401 {
			t.Fatalf("try %d: %d", i+1, got.StatusCode)
		}
	}
	if got := try("2001:db8:0:1:ffff::1", secret); got.StatusCode != 429 {
		t.Errorf("from one more address: %d", got.StatusCode)
	}
	if got := try("2001:db8:0:2::1", secret); !strings.Contains(got.body, "approve") {
		t.Errorf("from another network: %d %s", got.StatusCode, got.body)
	}
}
