package control

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

// dashboard is a browser in which name has the dashboard open.
func (s *stack) dashboard(i int, name string) *browser {
	s.t.Helper()
	b := s.browser(i)
	if page := b.enter(name); !strings.Contains(page.body, "Waiting for you") {
		s.t.Fatalf("%s did not get to the dashboard: %d %s", name, page.StatusCode, page.body)
	}
	return b
}

// enter signs in where the page that is wanted leads to.
func (b *browser) enter(name string) reply {
	b.s.t.Helper()
	b.s.user(name)
	page := b.open("/requests")
	return b.post("/signin", url.Values{"request": {request(b.s.t, page)}, "name": {name}, "password": {secret}})
}

const dashboardName = "__Host-cardea-dashboard"

// out fails unless the dashboard is not open (any more) in this browser, on each instance.
func (b *browser) out(why string) {
	b.s.t.Helper()
	own := b.http.Transport
	for i := range b.s.instances {
		b.http.Transport = b.s.client(i)
		if page := b.open("/requests"); strings.Contains(page.body, "Waiting for you") {
			b.s.t.Errorf("%s: the dashboard is open on instance %d", why, i)
		}
	}
	b.http.Transport = own
}

// Alice's request is answered in a browser, and lets her in.
func TestARequestIsAnsweredInTheDashboard(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	r := s.asked()
	b := s.dashboard(1, "carol")
	page := b.open("/requests")
	for _, part := range []string{"bob", "web/prod-1", "2h", "the disk is full", r.ID} {
		if !strings.Contains(page.body, part) {
			t.Errorf("the list does not say %q: %s", part, page.body)
		}
	}
	page = b.open("/requests/" + r.ID)
	if !strings.Contains(page.body, "/approve") || !strings.Contains(page.body, "by rule "+r.Rule) {
		t.Errorf("the request: %s", page.body)
	}
	page = b.post("/requests/"+r.ID+"/approve", url.Values{"seconds": {"1800"}, "comment": {"until noon"}})
	if page.StatusCode != 200 || !strings.Contains(page.body, "approved") || !strings.Contains(page.body, "until noon") {
		t.Errorf("approved: %d %s", page.StatusCode, page.body)
	}
	got := must[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID, nil)
	if got.State != "approved" || got.AnsweredByName != "carol" || got.Given != 1800 || got.Answer != "until noon" {
		t.Errorf("bob reads %+v", got)
	}
	s.confirm(s.prod)
	must[api.Connection](t, s.bob, "POST", "/v1/connect", newFresh(t).connect("prod-1", ""))
	e := s.events(audit.RequestApprove)
	if len(e) != 1 || !strings.HasPrefix(e[0].Session, "dsh_") || e[0].Detail["approver_name"] != "carol" || e[0].Detail["user_name"] != "bob" {
		t.Errorf("audit %+v", e)
	}
	if page := b.open("/requests"); !strings.Contains(page.body, "Nothing waits for your answer") || !strings.Contains(page.body, "Lately answered") {
		t.Errorf("afterwards: %s", page.body)
	}
	if page := b.post("/requests/"+r.ID+"/end", nil); page.StatusCode != 200 || !strings.Contains(page.body, "ended") {
		t.Errorf("ended: %d %s", page.StatusCode, page.body)
	}
	denied(t, s.bob, api.Denied, "POST", "/v1/connect", newFresh(t).connect("prod-1", ""))
}

func TestADenialNeedsAWordAndARequestIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	r := s.asked()
	carol, bob := s.dashboard(0, "carol"), s.dashboard(0, "bob")
	if page := carol.post("/requests/"+r.ID+"/deny", nil); page.StatusCode != 400 && page.StatusCode != 422 || !strings.Contains(page.body, "A reason is one line") {
		t.Errorf("without a word: %d %s", page.StatusCode, page.body)
	}
	if page := carol.post("/requests/"+r.ID+"/deny", url.Values{"comment": {"ask the team of db"}}); !strings.Contains(page.body, "denied") {
		t.Errorf("denied: %s", page.body)
	}
	if page := bob.open("/requests/" + r.ID); !strings.Contains(page.body, "ask the team of db") {
		t.Errorf("bob reads %s", page.body)
	}
	r = s.asked()
	page := bob.open("/requests/" + r.ID)
	if !strings.Contains(page.body, "/cancel") || strings.Contains(page.body, "/approve") {
		t.Errorf("his own: %s", page.body)
	}
	if page := bob.post("/requests/"+r.ID+"/cancel", nil); !strings.Contains(page.body, "cancelled") {
		t.Errorf("taken back: %s", page.body)
	}
	// The page that carol left open meanwhile says so.
	if page := carol.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 409 || !strings.Contains(page.body, "The request does not wait any more: it is cancelled.") || strings.Contains(page.body, "/approve") {
		t.Errorf("too late: %d %s", page.StatusCode, page.body)
	}
	r = s.asked()
	s.wait(store.RequestLife)
	carol = s.dashboard(0, "carol")
	if page := carol.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 409 || !strings.Contains(page.body, "it is expired") {
		t.Errorf("expired: %d %s", page.StatusCode, page.body)
	}
}

// What the pages do not offer somebody sends all the same.
func TestTheDashboardGivesNobodyWhatTheDomainDoesNot(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	r := s.asked()
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/bob", api.NewMember{})
	bob := s.dashboard(0, "bob")
	if page := bob.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 403 || !strings.Contains(page.body, "Nobody answers his own request") {
		t.Errorf("his own: %d %s", page.StatusCode, page.body)
	}
	// By his second account: in the same browser, and in that where he signed his laptop in.
	s.user("bob2")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/bob2", api.NewMember{})
	if page := bob.post("/dashboard/signout", nil); strings.Contains(page.body, "Waiting") {
		t.Errorf("signed out: %s", page.body)
	}
	bob.enter("bob2")
	if page := bob.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 403 || !strings.Contains(page.body, "Nobody answers his own request") {
		t.Errorf("his second account: %d %s", page.StatusCode, page.body)
	}
	// Who has nothing to do with it learns nothing, and neither does who was an approver.
	for _, name := range []string{"mallory", "carol"} {
		b := s.dashboard(0, name)
		if name == "carol" {
			b.open("/requests/" + r.ID)
			must[any](t, s.admin, "DELETE", "/v1/groups/leads/members/carol", nil)
		}
		none := strings.Repeat("a", 20)
		for _, path := range []string{"", "/approve", "/deny", "/cancel", "/end"} {
			var got, want reply
			if path == "" {
				got, want = b.open("/requests/"+r.ID), b.open("/requests/rqs_"+none)
			} else {
				form := url.Values{"comment": {"x"}}
				got, want = b.post("/requests/"+r.ID+path, form), b.post("/requests/rqs_"+none+path, form)
			}
			if got.StatusCode != 404 || strings.ReplaceAll(got.body, r.ID, "rqs_"+none) != want.body {
				t.Errorf("%s%s: %d %s", name, path, got.StatusCode, got.body)
			}
		}
	}
	if got := must[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID, nil); got.State != "pending" {
		t.Errorf("it is %+v", got)
	}
}

// Two approvers press at once, on two instances.
func TestARequestIsAnsweredOnceOverAllDashboards(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	s.user("carol2")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/carol2", api.NewMember{})
	r := s.asked()
	codes := make([]int, 8)
	var group sync.WaitGroup
	for i := range codes {
		b := s.dashboard(i%2, []string{"carol", "carol2"}[i%2])
		group.Go(func() {
			req, _ := http.NewRequest("POST", publicURL+"/requests/"+r.ID+"/approve", strings.NewReader(""))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", publicURL)
			codes[i] = b.do(req).StatusCode
		})
	}
	group.Wait()
	yes := 0
	for _, c := range codes {
		if c == http.StatusSeeOther {
			yes++
		} else if c != http.StatusConflict {
			t.Errorf("answers %v", codes)
		}
	}
	if yes != 1 || len(s.events(audit.RequestApprove)) != 1 {
		t.Errorf("answers %v", codes)
	}
}

func TestTheDashboardsCookieIsNewAndGuarded(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.browser(0)
	planted := signin.NewSecret()
	u, _ := url.Parse(publicURL + "/")
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: planted, Path: "/", Secure: true}})
	b.out("a planted cookie")
	s.user("alice")
	page := b.open("/requests")
	req, _ := http.NewRequest("POST", publicURL+"/signin", strings.NewReader(url.Values{"request": {request(t, page)}, "name": {"alice"}, "password": {secret}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", publicURL)
	got := b.do(req)
	found := false
	for _, c := range got.Cookies() {
		if c.Name == "__Host-cardea-browser" && (c.MaxAge != browserCookieLife || c.Value != b.cookies()[c.Name]) {
			t.Errorf("the browser's cookie %+v", c)
		}
		if c.Name != dashboardName {
			continue
		}
		found = true
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != int((12*time.Hour).Seconds()) || c.Value == planted || len(c.Value) != signin.SecretLen {
			t.Errorf("cookie %+v", c)
		}
	}
	if !found || got.Header.Get("Location") != "/requests" {
		t.Fatalf("%d to %q with %v", got.StatusCode, got.Header.Get("Location"), got.Cookies())
	}
	page = b.open("/requests")
	policy := page.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("policy %q lacks %s", policy, part)
		}
	}
	if strings.Contains(policy, "script") || page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", page.Header)
	}
	// A new sign-in has a new id, and ends the session that was there.
	old := b.cookies()[dashboardName]
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: "", Path: "/", MaxAge: -1, Secure: true}})
	thief := s.browser(1)
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: old, Path: "/", Secure: true}})
	if page := thief.open("/requests"); !strings.Contains(page.body, "Waiting for you") {
		t.Fatal("the cookie alone opens it")
	}
	thief.post("/dashboard/signout", nil)
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: old, Path: "/", Secure: true}})
	thief.out("signed out")
}

// A cookie of another kind of session opens nothing, in whatever cookie it is sent.
func TestNoOtherSessionOpensTheDashboard(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	alice := s.signIn("alice")
	b := s.dashboard(0, "alice")
	cookies := b.cookies()
	u, _ := url.Parse(publicURL + "/")
	for _, name := range []string{"__Host-cardea-login", "__Host-cardea-browser"} {
		other := s.browser(0)
		other.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: cookies[name], Path: "/", Secure: true}})
		other.out(name)
		other.http.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: cookies[name], Path: "/", Secure: true}})
	}
	other := s.browser(0)
	other.http.Jar.SetCookies(u, []*http.Cookie{{Name: dashboardName, Value: strings.TrimPrefix(alice.token, "cardea_ses_"), Path: "/", Secure: true}})
	other.out("the token of a device")
	// And the dashboard's opens nothing else: not the API, and no device is signed in by it.
	other = s.browser(0)
	other.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-cardea-login", Value: cookies[dashboardName], Path: "/", Secure: true}})
	if page := other.open(s.device("laptop").link()); !strings.Contains(page.body, `type="password"`) {
		t.Errorf("the dashboard's cookie signs a device in: %s", page.body)
	}
	thief := *alice
	for _, token := range []string{cookies[dashboardName], "cardea_ses_" + cookies[dashboardName]} {
		thief.token = token
		denied(t, &thief, api.SignIn, "GET", "/v1/session", nil)
	}
	if got := b.open("/v1/requests"); got.StatusCode != 401 {
		t.Errorf("the API by a cookie: %d", got.StatusCode)
	}
}

func TestADashboardEndsWithItsTimeAndWithoutUse(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	admin := s.signIn("admin")
	must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", api.TeamPatch{IdleSeconds: new(1800), SessionSeconds: new(7200)})
	b := s.dashboard(0, "alice")
	s.wait(29 * time.Minute)
	if page := b.open("/requests"); !strings.Contains(page.body, "Waiting for you") {
		t.Fatal("it is over before its time")
	}
	for range 5 { // what the page does by itself is no use of it
		s.wait(6 * time.Minute)
		b.http.Transport = s.client(1)
		last := b.open("/requests/anew")
		_ = last
	}
	b.out("unused for the idle limit")
	b = s.dashboard(0, "alice")
	for range 11 {
		s.wait(10 * time.Minute)
		if page := b.open("/requests"); !strings.Contains(page.body, "Waiting for you") {
			t.Fatal("it is over before its time")
		}
	}
	s.wait(10 * time.Minute)
	b.out("at the end of its time")
}

// Whatever ends the sessions of somebody ends his dashboards, on every instance, at once.
func TestDashboardsAreListedAndEndWithAllSessions(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	admin, alice := s.signIn("admin"), s.signIn("alice")
	sessionOf := func(b *browser) api.Session {
		t.Helper()
		all := must[api.List[api.Session]](t, alice, "GET", "/v1/sessions/mine", nil).Items
		last := all[len(all)-1]
		if last.Kind != api.SessionDashboard || last.UserName != "alice" || !strings.HasPrefix(last.DeviceTag, "dashboard, ") {
			t.Fatalf("sessions %+v", all)
		}
		return last
	}
	b := s.dashboard(0, "alice")
	id := sessionOf(b).ID
	bob := s.signIn("bob")
	denied(t, bob, api.NotFound, "POST", "/v1/sessions/"+id+"/revoke", nil)
	b.open("/requests")
	must[any](t, alice, "POST", "/v1/sessions/"+id+"/revoke", nil)
	b.out("revoked by herself")
	if got := sessionOf(b); got.RevokedAt.IsZero() {
		t.Errorf("the list says %+v", got)
	}
	s.wait(time.Second) // the list is in the order of time
	b = s.dashboard(1, "alice")
	must[any](t, admin, "POST", "/v1/sessions/"+sessionOf(b).ID+"/revoke", nil)
	b.out("revoked by an administrator")
	s.wait(time.Second)
	b = s.dashboard(1, "alice")
	if err := admin.api(0).Send(t.Context(), "PATCH", "/v1/users/alice", map[string]string{"status": "disabled"}, nil); err != nil {
		t.Fatal(err)
	}
	b.out("disabled")
	if err := admin.api(0).Send(t.Context(), "PATCH", "/v1/users/alice", map[string]string{"status": "active"}, nil); err != nil {
		t.Fatal(err)
	}
	b.out("enabled again")
	if e := s.events(audit.SignInDashboard); len(e) != 3 || e[0].User != alice.session.User || e[0].Session != id || e[0].Outcome != audit.Allowed {
		t.Errorf("audit %+v", e)
	}
	// Pages of the list run from devices to browsers, and miss nothing.
	seen := map[string]bool{}
	for next := ""; ; {
		page := must[api.List[api.Session]](t, admin, "GET", "/v1/sessions"+query("limit", "1", "cursor", next), nil)
		for _, v := range page.Items {
			if seen[v.ID] {
				t.Errorf("%s is there twice", v.ID)
			}
			seen[v.ID] = true
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d sessions, want three of devices and three of browsers", len(seen))
	}
}

// Mallory's page sends forms to the dashboard of who has it open.
func TestFormsOfOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	r := s.asked()
	b := s.dashboard(0, "carol")
	for name, spoil := range map[string]func(*http.Request){
		"another origin": func(q *http.Request) {
			q.Header.Set("Origin", "https://evil.example")
			q.Header.Set("Sec-Fetch-Site", "cross-site")
		},
		"a sub-domain": func(q *http.Request) {
			q.Header.Set("Origin", "https://x.example.com")
			q.Header.Set("Sec-Fetch-Site", "same-site")
		},
		"no origin":               func(q *http.Request) { q.Header.Del("Origin"); q.Header.Del("Sec-Fetch-Site") },
		"a hidden origin":         func(q *http.Request) { q.Header.Set("Origin", "null"); q.Header.Del("Sec-Fetch-Site") },
		"JSON as plain text":      func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") },
		"a form of several parts": func(q *http.Request) { q.Header.Set("Content-Type", "multipart/form-data; boundary=x") },
	} {
		for _, verb := range []string{"approve", "deny", "again", "end"} {
			if got := b.post("/requests/"+r.ID+"/"+verb, url.Values{"comment": {"x"}}, spoil); got.StatusCode/100 != 4 {
				t.Errorf("%s: %s: %d %s", name, verb, got.StatusCode, got.body)
			}
		}
		b.post("/dashboard/signout", nil, spoil)
	}
	// Who opens the address of a form again is led to its page.
	for method, want := range map[string]int{"GET": 303, "PUT": 405, "PATCH": 405, "DELETE": 405} {
		req, _ := http.NewRequest(method, publicURL+"/requests/"+r.ID+"/approve", nil)
		if got := b.do(req); got.StatusCode != want {
			t.Errorf("%s: %d", method, got.StatusCode)
		}
	}
	if page := b.open("/requests/" + r.ID); !strings.Contains(page.body, "/approve") {
		t.Errorf("afterwards: %s", page.body)
	}
}

func TestTextOfStrangersIsInertInTheDashboard(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	const evil = `"><script>alert(1)</script><img src=x onerror='alert(1)'>{{.Team}}`
	r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "prod-1", Seconds: 3600, Reason: evil})
	b := s.dashboard(0, "carol")
	for _, page := range []reply{b.open("/requests"), b.open("/requests/" + r.ID), b.post("/requests/"+r.ID+"/approve", url.Values{"comment": {evil + "\n"}, "seconds": {evil}})} {
		if strings.Contains(page.body, "<script") || strings.Contains(page.body, "<img src=x") || !strings.Contains(page.body, "&lt;script&gt;") {
			t.Errorf("page %s", page.body)
		}
	}
}

// In a project that asks again who people are, it asks those who let others in, too.
func TestAnApproverShowsWhoHeIsWhereTheProjectDemandsIt(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", map[string]any{"reauth_seconds": 600})
	b := s.dashboard(0, "carol")
	old := b.cookies()[dashboardName]
	s.wait(10 * time.Minute)
	r := s.asked()
	page := b.post("/requests/"+r.ID+"/approve", nil)
	if page.StatusCode != 401 || !strings.Contains(page.body, "/again") || strings.Contains(page.body, "/approve") {
		t.Fatalf("without proof: %d %s", page.StatusCode, page.body)
	}
	if !strings.Contains(page.body, "/requests/"+r.ID+"/deny") {
		t.Errorf("the page offers no no: %s", page.body)
	}
	if page := b.open("/requests/" + r.ID + "/approve"); page.StatusCode != 200 || page.Request.URL.Path != "/requests/"+r.ID || !strings.Contains(page.body, "/requests/"+r.ID+"/approve") {
		t.Errorf("that address opened again: %d %s %s", page.StatusCode, page.Request.URL, page.body)
	}
	if page := b.post("/requests/"+r.ID+"/deny", url.Values{"comment": {"no"}}); page.StatusCode != 200 {
		t.Errorf("to say no needs none: %d %s", page.StatusCode, page.body)
	}
	r = s.asked()
	page = b.post("/requests/"+r.ID+"/again", url.Values{"project": {"web"}})
	if !strings.Contains(page.body, `type="password"`) || !strings.Contains(page.body, "<strong>web</strong>") {
		t.Fatalf("asked again: %d %s", page.StatusCode, page.body)
	}
	page = b.post("/signin", url.Values{"request": {request(t, page)}, "name": {"carol"}, "password": {secret}})
	if !strings.Contains(page.body, "/requests/"+r.ID+"/approve") {
		t.Fatalf("back at the request: %d %s", page.StatusCode, page.body)
	}
	if b.cookies()[dashboardName] == old {
		t.Error("the session is the one from before")
	}
	if page := b.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 200 || !strings.Contains(page.body, "approved") {
		t.Errorf("with it: %d %s", page.StatusCode, page.body)
	}
	// The same holds for the CLI, and for a yes in advance.
	must[any](t, s.bob, "POST", "/v1/requests/"+r.ID+"/end", nil)
	r = s.asked()
	e := denied(t, s.carol, api.SignIn, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
	if e.Reauth != "web" || e.Hint != "type: cardea login --project web" {
		t.Errorf("carol hears %+v", e)
	}
	denied(t, s.carol, api.SignIn, "POST", "/v1/preauthorizations", api.NewPreauthorization{Rule: s.rule.ID, User: "bob", Seconds: 600, Until: s.now().Add(time.Hour)})
	must[api.Touched](t, s.carol, "POST", "/v1/touch", s.carol.touch(s.carol.shows(s.browser(0), "carol", "web"), "web"))
	if err := s.approve(s.carol, r.ID); err != nil {
		t.Errorf("after she showed who she is: %v", err)
	}
}

// A sign-in to the dashboard is none of a device, and the other way round.
func TestASignInToTheDashboardGivesNoCode(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.user("alice")
	b := s.browser(0)
	id := request(t, b.open("/requests"))
	other := s.browser(0)
	other.open("/requests")
	if page := other.post("/signin", url.Values{"request": {id}, "name": {"alice"}, "password": {secret}}); page.StatusCode != 410 {
		t.Errorf("in another browser: %d %s", page.StatusCode, page.body)
	}
	device := request(t, b.open(s.device("laptop").link()))
	page := b.post("/signin", url.Values{"request": {device}, "name": {"alice"}, "password": {secret}})
	if !strings.Contains(page.body, "approve") {
		t.Fatalf("the device's: %s", page.body)
	}
	if page := b.post("/confirm", url.Values{"request": {id}, "decision": {"approve"}}); page.StatusCode != 410 {
		t.Errorf("a yes to the dashboard's: %d %s", page.StatusCode, page.body)
	}
	if page := b.post("/confirm", url.Values{"request": {device}, "decision": {"dashboard"}}); strings.Contains(page.body, "Waiting for you") {
		t.Errorf("the device's opens the dashboard: %s", page.body)
	}
	b.out("a device's sign-in")
	// Who signed in a moment ago is asked before it opens, and not by a link alone.
	page = b.open("/requests")
	if !strings.Contains(page.body, "Open the dashboard?") {
		t.Fatalf("asked %s", page.body)
	}
	again := request(t, page)
	if page := b.post("/confirm", url.Values{"request": {again}, "decision": {"dashboard"}}); !strings.Contains(page.body, "Waiting for you") {
		t.Errorf("went on: %d %s", page.StatusCode, page.body)
	}
	if page := b.post("/confirm", url.Values{"request": {again}, "decision": {"dashboard"}}); page.StatusCode != 410 {
		t.Errorf("a second time: %d %s", page.StatusCode, page.body)
	}
}

// dashboardRows are the routes of the dashboard: what is answered for one's own request,
// for one that somebody may answer, and for that of another.
var dashboardRows = map[string]struct{ own, answers, other int }{
	"GET /requests":                    {200, 200, 200},
	"GET /requests/anew":               {200, 200, 200},
	"GET /requests/{request}":          {200, 200, 404},
	"POST /requests/{request}/deny":    {403, 303, 404},
	"POST /requests/{request}/approve": {403, 409, 404}, // denied by then
	"POST /requests/{request}/cancel":  {409, 403, 404},
	"POST /requests/{request}/end":     {409, 409, 404},
	"POST /requests/{request}/again":   {303, 303, 303}, // tells nothing of it: he signs in, and may look then
	"GET /requests/{request}/approve":  {303, 303, 303}, // to the page that tells of it
	"GET /requests/{request}/deny":     {303, 303, 303},
	"GET /requests/{request}/cancel":   {303, 303, 303},
	"GET /requests/{request}/end":      {303, 303, 303},
	"GET /requests/{request}/again":    {303, 303, 303},
	"POST /dashboard/signout":          {303, 303, 303},
}

func TestEveryRouteOfTheDashboardForEveryRole(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	r := s.asked()
	send := func(b *browser, route route, spoil func(*http.Request)) reply {
		t.Helper()
		body := ""
		if route.mutates() {
			body = url.Values{"comment": {"x"}, "project": {"web"}}.Encode()
		}
		req, _ := http.NewRequest(route.Method, publicURL+strings.ReplaceAll(route.Path, "{request}", r.ID), strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", publicURL)
		if spoil != nil {
			spoil(req)
		}
		return b.do(req)
	}
	machines := map[string]*device{"bob": s.bob, "admin": s.admin, "an agent": s.server.device}
	n := 0
	for _, order := range []string{"deny", ""} { // that first, so that what comes after finds it answered
		for _, route := range s.servers[0].routes {
			if route.Access != Dashboard || (order == "deny") != strings.HasSuffix(route.Path, "/deny") {
				continue
			}
			n++
			row, ok := dashboardRows[route.String()]
			if !ok {
				t.Errorf("%s has no row", route)
				continue
			}
			// Neither nobody nor any token of the API is let in: they are sent to sign in.
			if got := send(s.browser(0), route, nil); got.StatusCode != 303 || !strings.HasPrefix(got.Header.Get("Location"), "/confirm?") {
				t.Errorf("%s by nobody: %d %s", route, got.StatusCode, got.Header.Get("Location"))
			}
			for name, d := range machines {
				with := d.request(0, route.Method, strings.ReplaceAll(route.Path, "{request}", r.ID), "")
				got := send(s.browser(0), route, func(q *http.Request) {
					q.Header.Set("Authorization", with.Header.Get("Authorization"))
					q.Header.Set("DPoP", with.Header.Get("DPoP"))
				})
				if got.StatusCode != 303 || !strings.HasPrefix(got.Header.Get("Location"), "/confirm?") {
					t.Errorf("%s by the token of %s: %d", route, name, got.StatusCode)
				}
			}
			for who, want := range map[string]int{"mallory": row.other, "bob": row.own, "carol": row.answers} {
				b := s.dashboard(0, who)
				if got := send(b, route, nil); got.StatusCode != want {
					t.Errorf("%s by %s: %d, want %d: %s", route, who, got.StatusCode, want, got.body)
				}
			}
		}
	}
	if n != len(dashboardRows) {
		t.Errorf("%d routes, %d rows: %s", n, len(dashboardRows), fmt.Sprint(dashboardRows))
	}
}

// A team that wants devices approved has a thief with a password wait for an administrator; he
// does not let others in meanwhile, from a browser that nobody knows.
func TestNobodyIsLetInFromABrowserWhereDevicesAreApproved(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	must[api.TeamSettings](t, s.admin, "PATCH", "/v1/team/settings", api.TeamPatch{DeviceApproval: ptr(true)})
	b, r := s.dashboard(0, "carol"), s.asked()
	refused := func(what string) {
		t.Helper()
		page := b.open("/requests/" + r.ID)
		if strings.Contains(page.body, "/approve\"") || !strings.Contains(page.body, "cardea requests approve "+r.ID) || !strings.Contains(page.body, "a browser is none") || !strings.Contains(page.body, "/deny") {
			t.Errorf("%s: the page offers what it refuses: %s", what, page.body)
		}
		if page := b.post("/requests/"+r.ID+"/approve", nil); page.StatusCode != 403 || !strings.Contains(page.body, "approved device") {
			t.Errorf("%s: %d %s", what, page.StatusCode, page.body)
		}
	}
	refused("the team demands it")
	if err := s.approve(s.carol, r.ID); err != nil {
		t.Errorf("her device from before: %v", err)
	}
	must[any](t, s.bob, "POST", "/v1/requests/"+r.ID+"/end", nil)
	must[api.TeamSettings](t, s.admin, "PATCH", "/v1/team/settings", api.TeamPatch{DeviceApproval: ptr(false)})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", map[string]any{"device_approval": true})
	r = s.asked()
	refused("the project demands it")
	denied(t, s.carol, api.Denied, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
	denied(t, s.carol, api.Denied, "POST", "/v1/preauthorizations", api.NewPreauthorization{Rule: s.rule.ID, User: "bob", Seconds: 600, Until: s.now().Add(time.Hour)})
	must[api.Device](t, s.admin, "POST", "/v1/devices/"+s.carol.session.Device+"/approve", nil)
	if err := s.approve(s.carol, r.ID); err != nil {
		t.Errorf("with an approved device: %v", err)
	}
	must[any](t, s.bob, "POST", "/v1/requests/"+r.ID+"/end", nil)
	r = s.asked()
	if page := b.post("/requests/"+r.ID+"/deny", url.Values{"comment": {"no"}}); page.StatusCode != 200 {
		t.Errorf("to say no needs nothing: %d %s", page.StatusCode, page.body)
	}
}
