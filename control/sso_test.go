package control

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/sso/ssotest"
	"github.com/cardea-ssh/cardea/store"
)

// federation is a stack with a provider that does what the test tells it to.
type federation struct {
	*stack
	admin    *device
	provider *ssotest.Provider
}

func newFederation(t testing.TB, settings ...func(*api.NewProvider)) *federation {
	t.Helper()
	f := &federation{stack: newStack(t), provider: ssotest.New(t)}
	f.options.Issuers = sso.New(sso.Options{Roots: f.provider.Roots()})
	f.restart()
	f.admin = f.stack.admin()
	f.add("op", f.provider.URL(), settings...)
	return f
}

func (f *federation) add(name, issuer string, settings ...func(*api.NewProvider)) {
	f.t.Helper()
	in := api.NewProvider{Name: name, Issuer: issuer, ClientSecret: ssotest.ClientSecret,
		ProviderSettings: api.ProviderSettings{ClientID: ssotest.ClientID, Create: true, GroupsClaim: "groups"}}
	for _, change := range settings {
		change(&in)
	}
	must[api.Provider](f.t, f.admin, "POST", "/v1/providers", in)
}

// run is a browser that was sent to a provider, and what that one sends it back with.
type run struct {
	f       *federation
	browser *browser
	device  *device
	request string
	answer  url.Values
}

func (f *federation) run() *run {
	f.t.Helper()
	r := &run{f: f, browser: f.browser(0), device: f.stack.device("laptop")}
	r.request = request(f.t, r.browser.open(r.device.link()))
	r.answer = f.provider.Visit(r.sent("op"))
	return r
}

// sent is where the browser is sent for a provider.
func (r *run) sent(provider string) string {
	r.f.t.Helper()
	got := r.browser.open("/sso/" + provider + "?request=" + r.request)
	if got.StatusCode != http.StatusSeeOther {
		r.f.t.Fatalf("not sent to %s: %d %s", provider, got.StatusCode, got.body)
	}
	return got.Header.Get("Location")
}

// back is the browser at our callback of a provider.
func (r *run) back(provider string) reply {
	r.f.t.Helper()
	return r.browser.open(api.CallbackPath + provider + "?" + r.answer.Encode())
}

func (r *run) refused(t *testing.T, got reply, part string) {
	t.Helper()
	if got.StatusCode < 400 || !strings.Contains(got.body, part) || strings.Contains(got.body, `value="approve"`) {
		text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(got.body, "")
		t.Errorf("got %d %s; want %q", got.StatusCode, strings.Join(strings.Fields(text), " "), part)
	}
	for name := range r.browser.cookies() {
		if strings.Contains(name, "login") {
			t.Errorf("the browser has the cookie %s", name)
		}
	}
}

func TestAPersonIsSentToAProviderAndComesBack(t *testing.T) {
	f := newFederation(t)
	r := f.run()
	if page := r.browser.open("/signin?request=" + r.request); !strings.Contains(page.body, `href="/sso/op?request=`+r.request+`"`) || !strings.Contains(page.body, `type="password"`) {
		t.Errorf("the page does not offer both ways: %s", page.body)
	}
	page := r.back("op")
	if page.StatusCode != 200 || !strings.Contains(page.body, `value="approve"`) || !strings.Contains(page.body, "alice") {
		t.Fatalf("got %d %s", page.StatusCode, page.body)
	}
	// Another instance goes on.
	answer := sentBack(t, r.browser.post("/confirm", url.Values{"request": {r.request}, "decision": {"approve"}}))
	in, err := r.device.api(1).Redeem(t.Context(), r.device.form(answer.Get("code")))
	if err != nil {
		t.Fatal(err)
	}
	if in.Session.UserName != "alice" || in.Session.Admin {
		t.Errorf("signed in: %+v", in.Session)
	}
	e := f.events(audit.SignInFederated)
	if len(e) != 1 || e[0].Detail["amr"] != "pwd otp" || e[0].Detail["subject"] != "alice-at-the-provider" || e[0].Source != "127.0.0.1" || e[0].User != in.Session.User {
		t.Errorf("audit: %+v", e)
	}
	if got := f.events(audit.UserCreate); len(got) == 0 || got[len(got)-1].User != in.Session.User {
		t.Errorf("audit: %+v", got)
	}
	if f.databaseHolds(ssotest.ClientSecret) || !f.databaseHolds(f.provider.URL()) {
		t.Error("the database holds the client secret, or the search is broken")
	}
}

// Nothing but the browser that began it ends a run, once, in time, with the answer of the
// provider that was asked.
func TestAnswersThatAreNotOurs(t *testing.T) {
	f := newFederation(t)
	other := ssotest.New(t)
	f.add("other", other.URL())
	for _, c := range []struct {
		name, part string
		do         func(*run) reply
		asked      bool // the token endpoint may have been
	}{
		{"in another browser", "began in another browser", func(r *run) reply {
			mallory := f.run()
			mallory.answer = r.answer
			return mallory.back("op")
		}, false},
		{"in a browser without a cookie", "began in another browser", func(r *run) reply {
			return f.browser(0).open(api.CallbackPath + "op?" + r.answer.Encode())
		}, false},
		{"the state of another sign-in", "began in another browser", func(r *run) reply {
			r.answer["state"] = f.run().answer["state"]
			return r.back("op")
		}, false},
		{"no state", "began in another browser", func(r *run) reply { r.answer.Del("state"); return r.back("op") }, false},
		{"two states", "began in another browser", func(r *run) reply { r.answer.Add("state", "x"); return r.back("op") }, false},
		{"after ten minutes", "took too long", func(r *run) reply { f.wait(10 * time.Minute); return r.back("op") }, false},
		{"at another provider's address", "began in another browser", func(r *run) reply { return r.back("other") }, false},
		{"with the issuer of another", "not of the identity provider that was asked", func(r *run) reply { r.answer.Set("iss", other.URL()); return r.back("op") }, false},
		{"without the issuer", "does not say of which", func(r *run) reply { r.answer.Del("iss"); return r.back("op") }, false},
		{"at a provider that there is not", "no such identity provider", func(r *run) reply { return r.back("none") }, false},
		{"a code of another sign-in", "invalid_grant", func(r *run) reply { r.answer["code"] = f.run().answer["code"]; return r.back("op") }, true},
		{"cancelled there", "cancelled there", func(r *run) reply { r.answer.Set("error", "access_denied"); return r.back("op") }, false},
		{"for a request that was cancelled here", "finished", func(r *run) reply {
			r.browser.post("/signin", url.Values{"request": {r.request}, "name": {"admin"}, "password": {secret}})
			sentBack(t, r.browser.post("/confirm", url.Values{"request": {r.request}, "decision": {"cancel"}}))
			r.browser.post("/signout", url.Values{"request": {r.request}})
			return r.back("op")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.run()
			before := f.provider.Hits("/token") + other.Hits("/token")
			r.refused(t, c.do(r), c.part)
			if after := f.provider.Hits("/token") + other.Hits("/token"); after != before && !c.asked {
				t.Error("a token endpoint was asked")
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		r := f.run()
		if got := r.back("op"); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		if got := r.back("op"); got.StatusCode != http.StatusGone {
			t.Errorf("got %d %s", got.StatusCode, got.body)
		}
	})
	if len(f.events(audit.SignInFederated)) != 1 {
		t.Error("somebody came in")
	}
	if len(f.events(audit.SignInFailed)) < 10 {
		t.Errorf("audit: %+v", f.events(audit.SignInFailed))
	}
}

func TestWhoMayComeIn(t *testing.T) {
	claims := func(set map[string]any) func(*federation) {
		return func(f *federation) {
			f.provider.Claims(func(c map[string]any) {
				for k, v := range set {
					if c[k] = v; v == nil {
						delete(c, k)
					}
				}
			})
		}
	}
	type setting = func(*api.NewProvider)
	for _, c := range []struct {
		name     string
		settings []setting
		prepare  func(*federation)
		part     string // empty: he comes in
		login    string
	}{
		{"a new person", nil, claims(nil), "", "alice"},
		{"a new person, where the provider makes none", []setting{func(p *api.NewProvider) { p.Create = false }}, claims(nil), "cardea admin users create NAME --provider op --subject alice-at-the-provider", ""},
		{"the name of a local administrator", nil, func(f *federation) {
			must[api.CreatedUser](f.t, f.admin, "POST", "/v1/users", api.NewUser{Name: "alice", Email: "alice@example.com", Admin: true})
		}, "the login alice is taken", ""},
		{"the name of a group", nil, func(f *federation) { must[api.Group](f.t, f.admin, "POST", "/v1/groups", api.NewGroup{Name: "alice"}) }, "the login alice is taken", ""},
		{"the login of a deleted user", nil, func(f *federation) {
			must[api.CreatedUser](f.t, f.admin, "POST", "/v1/users", api.NewUser{Name: "alice"})
			must[api.Named](f.t, f.admin, "DELETE", "/v1/users/alice", nil)
		}, "the login alice is taken, or was once", ""},
		{"root", nil, claims(map[string]any{"preferred_username": "root"}), "the operating system", ""},
		{"no claim to make a login of", nil, claims(map[string]any{"preferred_username": nil}), "does not tell the claim preferred_username", ""},
		{"an e-mail address that was not verified", []setting{func(p *api.NewProvider) {
			p.LoginClaim, p.LoginRule, p.Domains = "email", "local-part", []string{"Example.com"}
		}}, claims(map[string]any{"email_verified": false}), "has not verified", ""},
		{"an e-mail address that was", []setting{func(p *api.NewProvider) {
			p.LoginClaim, p.LoginRule, p.Domains = "email", "local-part", []string{"Example.com"}
		}}, claims(nil), "", "alice"},
		{"a claim that is required, and is there", []setting{func(p *api.NewProvider) { p.Require = map[string]string{"hd": "example.com"} }}, claims(map[string]any{"hd": "example.com"}), "", "alice"},
		{"a claim that is required, and is another", []setting{func(p *api.NewProvider) { p.Require = map[string]string{"hd": "example.com"} }}, claims(map[string]any{"hd": "evil.com"}), "required here", ""},
		{"too many groups for a token", nil, claims(map[string]any{"groups": nil, "_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://x"}}}), "more groups than", ""},
		{"neither auth_time nor amr", nil, claims(map[string]any{"auth_time": nil, "amr": nil}), "", "alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFederation(t, c.settings...)
			c.prepare(f)
			r := f.run()
			got := r.back("op")
			if c.part != "" {
				r.refused(t, got, c.part)
				if !strings.Contains(got.body, `type="password"`) {
					t.Error("the page does not offer the other ways")
				}
				return
			}
			if got.StatusCode != 200 || !strings.Contains(got.body, c.login) {
				t.Fatalf("got %d %s", got.StatusCode, got.body)
			}
			if e := f.events(audit.SignInFederated); strings.HasPrefix(c.name, "neither") && (e[0].Detail["auth_time"] != "unknown" || e[0].Detail["amr"] != "unknown") {
				t.Errorf("audit: %+v", e)
			}
		})
	}
}

// The same address at two providers, and here, is three people.
func TestNobodyIsJoinedByAnAddressOrAName(t *testing.T) {
	f := newFederation(t)
	local := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "local", Email: "alice@example.com"})
	if got := f.run().back("op"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	u := must[api.User](t, f.admin, "GET", "/v1/users/alice", nil)
	if u.ID == local.ID || u.Email != "alice@example.com" || u.Issuer != f.provider.URL() {
		t.Errorf("the user is %+v", u)
	}
	// At a second provider, by the same subject, too.
	second := ssotest.New(t)
	second.Claims(func(c map[string]any) { c["preferred_username"] = "alice-too" })
	f.add("second", second.URL())
	r := &run{f: f, browser: f.browser(0), device: f.stack.device("laptop")}
	r.request = request(t, r.browser.open(r.device.link()))
	r.answer = second.Visit(r.sent("second"))
	if got := r.back("second"); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	if other := must[api.User](t, f.admin, "GET", "/v1/users/alice-too", nil); other.ID == u.ID || other.Email != u.Email || other.Subject != u.Subject {
		t.Errorf("the user is %+v", other)
	}
	// Somebody else at the same provider by the same address and name is nobody's heir.
	f.provider.Claims(func(c map[string]any) { c["sub"] = "another" })
	r = f.run()
	r.refused(t, r.back("op"), "the login alice is taken")
}

func TestASignInAnewChangesTheSecretOfTheBrowser(t *testing.T) {
	f := newFederation(t)
	login := func(b *browser) string {
		for name, v := range b.cookies() {
			if strings.Contains(name, "login") {
				return v
			}
		}
		return ""
	}
	r := f.run()
	r.browser.post("/signin", url.Values{"request": {r.request}, "name": {"admin"}, "password": {secret}})
	before := login(r.browser)
	if got := r.back("op"); !strings.Contains(got.body, "alice") {
		t.Fatal(got.body)
	}
	if after := login(r.browser); before == "" || after == before {
		t.Errorf("the secret was %q and is %q", before, after)
	}
	if _, _, err := f.store.BrowserSession(t.Context(), hash(before), f.now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what the browser had before is worth something: %v", err)
	}
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func TestAProviderThatIsDisabledLetsNobodyIn(t *testing.T) {
	f := newFederation(t)
	r := f.run()
	state := store.Disabled
	must[api.Provider](t, f.admin, "PATCH", "/v1/providers/op", api.ProviderPatch{State: &state})
	r.refused(t, r.back("op"), "no such identity provider")
	r.refused(t, r.browser.open("/sso/op?request="+r.request), "no such identity provider")
	if page := r.browser.open("/signin?request=" + r.request); strings.Contains(page.body, "/sso/op") {
		t.Error("the page offers it")
	}
	denied(t, f.admin, api.NotFound, "DELETE", "/v1/providers/none", nil)
	must[api.Group](t, f.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre", Provider: "op", External: "SRE Team"})
	denied(t, f.admin, api.Conflict, "DELETE", "/v1/providers/op", nil)
	hands := ""
	must[api.Group](t, f.admin, "PATCH", "/v1/groups/sre", api.GroupPatch{Provider: &hands})
	must[api.Named](t, f.admin, "DELETE", "/v1/providers/op", nil)
}

func TestGroupsFollowTheProvider(t *testing.T) {
	f := newFederation(t)
	sre := must[api.Group](t, f.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre", Provider: "op", External: "SRE Team"})
	must[api.Group](t, f.admin, "POST", "/v1/groups", api.NewGroup{Name: "ops"})
	members := func(group string) (names []string) {
		for _, m := range must[api.List[api.Member]](t, f.admin, "GET", "/v1/groups/"+group+"/members", nil).Items {
			names = append(names, m.UserName)
		}
		return names
	}
	f.run().back("op")
	if got := members("sre"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("members %v", got)
	}
	e := denied(t, f.admin, api.Conflict, "DELETE", "/v1/groups/sre/members/alice", nil)
	if !strings.Contains(e.Hint, "cardea admin groups update sre --provider ''") {
		t.Errorf("hint %q", e.Hint)
	}
	denied(t, f.admin, api.Conflict, "PUT", "/v1/groups/sre/members/admin", api.NewMember{})
	// A group of people is given to the provider: who is not of it leaves.
	for _, name := range []string{"alice", "admin"} {
		must[api.Member](t, f.admin, "PUT", "/v1/groups/ops/members/"+name, api.NewMember{})
	}
	op, taken := "op", "SRE Team"
	denied(t, f.admin, api.Conflict, "PATCH", "/v1/groups/ops", api.GroupPatch{Provider: &op, External: &taken})
	if got := must[api.Group](t, f.admin, "PATCH", "/v1/groups/ops", api.GroupPatch{Provider: &op}); got.Provider != sre.Provider || got.External != "ops" {
		t.Errorf("group %+v", got)
	}
	if got := members("ops"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("members %v", got)
	}
	f.run().back("op")
	if got := members("ops"); got != nil {
		t.Errorf("members %v", got)
	}
	f.provider.Claims(func(c map[string]any) { delete(c, "groups") })
	f.run().back("op")
	if got := members("sre"); got != nil {
		t.Errorf("no claim, and members %v", got)
	}
}

func TestSettingsOfAProviderThatAreRefused(t *testing.T) {
	f := newFederation(t)
	good := api.NewProvider{Name: "next", Issuer: "https://next.example.com", ProviderSettings: api.ProviderSettings{ClientID: "cardea"}}
	for name, change := range map[string]func(*api.NewProvider){
		"no TLS":                        func(p *api.NewProvider) { p.Issuer = "http://next.example.com" },
		"no TLS on this machine":        func(p *api.NewProvider) { p.Issuer = "http://127.0.0.1:8080" },
		"metadata of a cloud":           func(p *api.NewProvider) { p.Issuer = "http://169.254.169.254" },
		"no issuer":                     func(p *api.NewProvider) { p.Issuer = "" },
		"a query":                       func(p *api.NewProvider) { p.Issuer += "?x" },
		"a name with a slash":           func(p *api.NewProvider) { p.Name = "a/b" },
		"a name in capital letters":     func(p *api.NewProvider) { p.Name = "Next" },
		"no client id":                  func(p *api.NewProvider) { p.ClientID = "" },
		"a client id with a line end":   func(p *api.NewProvider) { p.ClientID = "a\nb" },
		"a title that moves the cursor": func(p *api.NewProvider) { p.Title = "a\x1b[2J" },
		"a title of 61 bytes":           func(p *api.NewProvider) { p.Title = strings.Repeat("t", 61) },
		"local-part without a domain":   func(p *api.NewProvider) { p.LoginRule = "local-part" },
		"a domain that is none":         func(p *api.NewProvider) { p.Domains = []string{"example"} },
		"a scope of two words":          func(p *api.NewProvider) { p.Scopes = []string{"a b"} },
		"a secret with a line end":      func(p *api.NewProvider) { p.ClientSecret = "a\nb" },
		"a secret of 1,025 bytes":       func(p *api.NewProvider) { p.ClientSecret = strings.Repeat("s", 1025) },
		"a required claim of nothing":   func(p *api.NewProvider) { p.Require = map[string]string{"hd": ""} },
		"21 scopes":                     func(p *api.NewProvider) { p.Scopes = slices.Repeat([]string{"s"}, 21) },
	} {
		in := good
		change(&in)
		if _, err := try[api.Provider](t, f.admin, "POST", "/v1/providers", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	same := good
	same.Issuer = f.provider.URL()
	denied(t, f.admin, api.Conflict, "POST", "/v1/providers", same)
	same = good
	same.Name = "op"
	denied(t, f.admin, api.Conflict, "POST", "/v1/providers", same)
	if p := must[api.Provider](t, f.admin, "POST", "/v1/providers", good); p.HasSecret || p.Title != "next" || len(p.Scopes) != 3 || p.LoginClaim != "preferred_username" {
		t.Errorf("made %+v", p)
	}
	rule, none := "local-part", []string{}
	denied(t, f.admin, api.Invalid, "PATCH", "/v1/providers/op", api.ProviderPatch{LoginRule: &rule, Domains: &none})
	fresh := "a new secret"
	must[api.Provider](t, f.admin, "PATCH", "/v1/providers/op", api.ProviderPatch{ClientSecret: &fresh})
	r := f.run()
	r.refused(t, r.back("op"), "invalid_client")
	if raw := f.send(0, f.admin.request(0, "GET", "/v1/providers", "")); strings.Contains(raw.body, fresh) {
		t.Error("the API tells a secret")
	}
	for _, e := range f.events(audit.ProviderUpdate) {
		for _, v := range e.Detail {
			if strings.Contains(v, fresh) {
				t.Error("the audit tells a secret")
			}
		}
	}
}

func TestAUserIsMadeForASubject(t *testing.T) {
	f := newFederation(t, func(p *api.NewProvider) { p.Create = false })
	for name, in := range map[string]api.NewUser{
		"a password":             {Name: "bob", Provider: "op", Subject: "x", Password: "correct horse battery"},
		"no subject":             {Name: "bob", Provider: "op"},
		"no provider":            {Name: "bob", Subject: "x"},
		"a subject with an end":  {Name: "bob", Provider: "op", Subject: "a\nb"},
		"a subject of 256 bytes": {Name: "bob", Provider: "op", Subject: strings.Repeat("s", 256)},
	} {
		if _, err := try[api.CreatedUser](t, f.admin, "POST", "/v1/users", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "bob", Provider: "op", Subject: "alice-at-the-provider", Admin: true})
	if got.Password != "" || got.Issuer != f.provider.URL() {
		t.Errorf("made %+v", got)
	}
	e := denied(t, f.admin, api.Conflict, "POST", "/v1/users", api.NewUser{Name: "carol", Provider: "op", Subject: "alice-at-the-provider"})
	if !strings.Contains(e.Detail, "bob") {
		t.Errorf("told %q", e.Detail)
	}
	if page := f.run().back("op"); page.StatusCode != 200 || !strings.Contains(page.body, "bob") {
		t.Errorf("got %d %s", page.StatusCode, page.body)
	}
	reset := ""
	denied(t, f.admin, api.Invalid, "PATCH", "/v1/users/bob", api.UserPatch{Password: &reset})
}

func TestAProviderIsCompared(t *testing.T) {
	f := newFederation(t)
	test := func(change func(map[string]any)) api.ProviderTest {
		f.provider.Metadata(change)
		return must[api.ProviderTest](t, f.admin, "POST", "/v1/providers/op/test", nil)
	}
	if got := test(nil); !got.Works || got.Problems != nil || got.Keys != 1 {
		t.Errorf("good: %+v", got)
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		says   string
		works  bool
	}{
		"no S256":                 {func(m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }, "PKCE", false},
		"shared secrets":          {func(m map[string]any) { m["id_token_signing_alg_values_supported"] = []string{"HS256"} }, "HS256", false},
		"another issuer":          {func(m map[string]any) { m["issuer"] = "https://evil.example.com\x1b" }, "calls itself", false},
		"keys that are not there": {func(m map[string]any) { m["jwks_uri"] = f.provider.URL() + "/nowhere" }, "keys", false},
		"no iss":                  {func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }, "RFC 9207", true},
		"no amr":                  {func(m map[string]any) { m["claims_supported"] = []string{"sub", "auth_time", "groups"} }, "claim amr", true},
	} {
		got := test(c.change)
		said := strings.Join(append(got.Problems, got.Notes...), "; ")
		if got.Works != c.works || (got.Problems == nil) != c.works || !strings.Contains(said, c.says) || strings.Contains(said, "\x1b") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A firm signs in on Monday at nine.
func BenchmarkFederatedSignIn(b *testing.B) {
	f := newFederation(b)
	f.run().back("op")
	b.ResetTimer()
	for b.Loop() {
		f.wait(time.Second) // they come from one address
		if got := f.run().back("op"); got.StatusCode != 200 {
			b.Fatal(got.body)
		}
	}
}

// What only a broken or hostile provider does ends at the page, and gives nobody anything.
func TestAHostileProvider(t *testing.T) {
	f := newFederation(t)
	for name, spoil := range map[string]func(){
		"a token without a signature": func() {
			f.provider.Sign(func(c map[string]any, _ jose.JSONWebKey) string { return ssotest.Unsigned(c) })
		},
		"another nonce":      func() { f.provider.Claims(func(c map[string]any) { c["nonce"] = "x" }) },
		"an empty subject":   func() { f.provider.Claims(func(c map[string]any) { c["sub"] = "" }) },
		"the local issuer":   func() { f.provider.Claims(func(c map[string]any) { c["iss"] = "local" }) },
		"keys of 100 MiB":    func() { f.provider.Serve("/jwks", ssotest.Endless(100<<20)) },
		"a token of 100 MiB": func() { f.provider.Serve("/token", ssotest.Endless(100<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			f.provider.Behave()
			f.options.Issuers = sso.New(sso.Options{Roots: f.provider.Roots()})
			f.restart()
			spoil()
			r := f.run()
			r.refused(t, r.back("op"), "Op: ")
		})
	}
	if n := len(f.events(audit.SignInFederated)); n != 0 {
		t.Errorf("%d came in", n)
	}
}

// Who has to show again who he is, for a project, is asked at the provider although he is
// signed in there, and what he showed before does not count.
func TestWhoIsAskedAgainIsAskedAtTheProvider(t *testing.T) {
	f := newFederation(t)
	f.run().back("op")
	must[api.Project](t, f.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	anew := func() *run {
		r := &run{f: f, browser: f.browser(0), device: f.stack.device("laptop")}
		r.device.query.Set("project", "web")
		r.request = request(t, r.browser.open(r.device.link()))
		to := r.sent("op")
		if u, err := url.Parse(to); err != nil || u.Query().Get("prompt") != "login" || u.Query().Get("max_age") != "0" {
			t.Errorf("sent to %q, %v", to, err)
		}
		r.answer = f.provider.Visit(to)
		return r
	}
	f.provider.Claims(func(c map[string]any) { c["auth_time"] = time.Now().Add(-time.Hour).Unix() })
	r := anew()
	r.refused(t, r.back("op"), "did not ask you anew")
	// Neither a clock that lags by seconds nor a provider that does not tell keeps anybody out.
	for _, change := range []func(map[string]any){
		func(c map[string]any) { c["auth_time"] = time.Now().Add(-20 * time.Second).Unix() },
		func(c map[string]any) { delete(c, "auth_time") },
	} {
		f.provider.Claims(change)
		if got := anew().back("op"); !strings.Contains(got.body, `value="approve"`) || !strings.Contains(got.body, "web") {
			t.Errorf("got %d %s", got.StatusCode, got.body)
		}
	}
	e := f.events(audit.SignInFederated)
	if last := e[len(e)-1]; last.Detail["reauth"] != "asked" || last.Detail["auth_time"] != "unknown" {
		t.Errorf("audit: %+v", last)
	}
}

// A browser that is signed in at a provider which does not tell auth_time shows nothing of who
// sits there. So it satisfies no project that asks again: neither by a sign-in for something
// else, made after the project's question, nor by a new session.
func TestASilentSignInShowsNobody(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	s := &scene{stack: f.stack, admin: f.admin}
	f.run().back("op")
	must[api.Project](t, f.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none", ReauthSeconds: 600}})
	must[api.Group](t, f.admin, "POST", "/v1/groups", api.NewGroup{Name: "ops"})
	must[api.Member](t, f.admin, "PUT", "/v1/groups/ops/members/alice", api.NewMember{})
	must[api.Grant](t, f.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "user"})
	s.confirm(s.newServer("web", "web-1", nil))
	silent := func(b *browser) *run {
		r := &run{f: f, browser: b, device: f.stack.device("laptop")}
		r.request = request(t, b.open(r.device.link()))
		r.answer = f.provider.Visit(r.sent("op"))
		r.back("op")
		return r
	}
	for name, tells := range map[string]bool{"a provider that does not tell": false, "one that tells": true} {
		f.provider.Claims(func(c map[string]any) {
			if c["auth_time"] = f.now().Unix(); !tells {
				delete(c, "auth_time")
			}
		})
		b, d := f.browser(0), f.stack.device("desk")
		d.query.Set("project", "web")
		asked := request(t, b.open(d.link()))
		f.wait(time.Second)
		r := silent(b)
		got := b.post("/confirm", url.Values{"request": {asked}, "decision": {"approve"}})
		if !strings.Contains(got.body, `type="password"`) && !tells {
			t.Errorf("%s: the project's question is answered: %d %s", name, got.StatusCode, got.Header.Get("Location"))
		}
		in, err := r.device.api(0).Redeem(t.Context(), r.device.form(sentBack(t, b.says(r.request, "approve")).Get("code")))
		if err != nil {
			t.Fatal(err)
		}
		r.device.token = in.AccessToken
		if _, err := try[api.Connection](t, r.device, "POST", "/v1/connect", connectTo(t, "web-1")); tells != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
