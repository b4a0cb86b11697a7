package control

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// admin signs the administrator in.
func (s *stack) admin() *device {
	s.t.Helper()
	d := s.device("admin's desk")
	in, err := d.api(0).Redeem(s.t.Context(), d.form(d.approve(s.browser(0), "admin").Get("code")))
	if err != nil {
		s.t.Fatal(err)
	}
	d.token, d.session = in.AccessToken, in.Session
	return d
}

// again is the same request once more, bit for bit.
func again(t *testing.T, req *http.Request) *http.Request {
	t.Helper()
	c := req.Clone(t.Context())
	body, err := req.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	c.Body = body
	return c
}

func TestAProofThatChangesSomethingIsGoodOnceEverywhere(t *testing.T) { replay(t, newStack(t)) }

func replay(t *testing.T, s *stack) {
	admin := s.admin()
	req := admin.request(0, "POST", "/v1/groups", `{"name":"ops"}`)
	first := again(t, req)
	if got := s.send(0, first); got.StatusCode != 200 {
		t.Fatalf("first: %d %s", got.StatusCode, got.body)
	}
	// Mallory has recorded the call, and the administrator has undone it.
	if err := admin.api(0).Send(t.Context(), "DELETE", "/v1/groups/ops", nil, nil); err != nil {
		t.Fatal(err)
	}
	refused := func(where string, i int) {
		t.Helper()
		got := s.send(i, again(t, req))
		if got.StatusCode != 401 {
			t.Errorf("replayed %s: %d %s", where, got.StatusCode, got.body)
		}
		if _, err := s.store.GroupByName(t.Context(), "ops"); err == nil {
			t.Errorf("replayed %s: the group is back", where)
		}
	}
	refused("to the same instance", 0)
	refused("to another instance", 1)
	s.restart()
	refused("after a restart", 0)
	if e := s.events(audit.ProofRefused); len(e) == 0 || e[0].Outcome != audit.Denied || e[0].Actor != admin.session.User {
		t.Errorf("audit: %+v", e)
	}
	s.wait(2 * time.Minute) // the claim may be forgotten now; the nonce is over
	if err := s.store.Sweep(t.Context(), s.now()); err != nil {
		t.Fatal(err)
	}
	refused("after the claim is forgotten", 0)
}

func TestAnHonestRepeatHappensOnce(t *testing.T) { repeat(t, newStack(t)) }

func repeat(t *testing.T, s *stack) {
	admin := s.admin()
	send := func(i int, body string) reply {
		req := admin.request(i, "POST", "/v1/groups", body)
		req.Header.Set(api.HeaderIdempotency, "key-1")
		return s.send(i, req)
	}
	first, second := send(0, `{"name":"ops"}`), send(1, `{"name":"ops"}`)
	if first.StatusCode != 200 || second.StatusCode != 200 || first.body != second.body {
		t.Errorf("first %d %s, second %d %s", first.StatusCode, first.body, second.StatusCode, second.body)
	}
	if other := send(1, `{"name":"dev"}`); other.StatusCode != 409 {
		t.Errorf("the key with another request: %d %s", other.StatusCode, other.body)
	}
}

func TestASessionEndsEverywhereAtOnce(t *testing.T) { endSessions(t, newStack(t)) }

func endSessions(t *testing.T, s *stack) {
	admin := s.admin()
	for _, c := range []struct {
		name string
		end  func(alice *device) error
		say  string
	}{
		{"by its owner's logout", func(d *device) error { return d.api(0).Send(t.Context(), "POST", "/v1/logout", nil, nil) }, "ended"},
		{"by a renewal with a session of another device", func(d *device) error {
			return d.api(0).Send(t.Context(), "POST", "/v1/logout?next="+s.signIn("alice").session.ID, nil, nil)
		}, "ended"},
		{"by its owner from another device", func(d *device) error {
			return s.signIn("alice").api(1).Send(t.Context(), "POST", "/v1/sessions/"+d.session.ID+"/revoke", nil, nil)
		}, "ended"},
		{"by an administrator", func(d *device) error {
			return admin.api(1).Send(t.Context(), "POST", "/v1/sessions/"+d.session.ID+"/revoke", nil, nil)
		}, "ended"},
		{"with its device", func(d *device) error {
			return admin.api(1).Send(t.Context(), "POST", "/v1/devices/"+d.session.Device+"/revoke", nil, nil)
		}, ""},
		// Mallory has stolen the session and its key; alice has her password reset.
		{"by a new password of its user", func(*device) error {
			password := secret
			return admin.api(1).Send(t.Context(), "PATCH", "/v1/users/alice", api.UserPatch{Password: &password}, nil)
		}, "ended"},
		{"with its user", func(*device) error {
			status := store.Disabled
			return admin.api(1).Send(t.Context(), "PATCH", "/v1/users/alice", api.UserPatch{Status: &status}, nil)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			alice := s.signIn("alice")
			if err := c.end(alice); err != nil {
				t.Fatal(err)
			}
			for i := range s.instances {
				got := s.send(i, alice.request(i, "GET", "/v1/session", ""))
				if got.StatusCode != 401 && got.StatusCode != 403 || !strings.Contains(got.body, c.say) {
					t.Errorf("instance %d: %d %s", i, got.StatusCode, got.body)
				}
			}
		})
	}
	if e := s.events(audit.UserPassword); len(e) != 1 || e[0].Detail["sessions"] != "ended" {
		t.Errorf("audit: %+v", e)
	}
}

func TestASessionEndsByItsClock(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	s.wait(12*time.Hour - time.Second)
	if got := s.send(0, alice.request(0, "GET", "/v1/session", "")); got.StatusCode != 200 {
		t.Errorf("a second before: %d %s", got.StatusCode, got.body)
	}
	s.wait(time.Second)
	got := s.send(0, alice.request(0, "GET", "/v1/session", ""))
	if got.StatusCode != 401 || !strings.Contains(got.body, "over since") || !strings.Contains(got.body, "cardea login") {
		t.Errorf("after twelve hours: %d %s", got.StatusCode, got.body)
	}
}

func TestARevokedDeviceStaysOut(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	if err := s.admin().api(0).Send(t.Context(), "POST", "/v1/devices/"+alice.session.Device+"/revoke", nil, nil); err != nil {
		t.Fatal(err)
	}
	form := alice.form(alice.approve(s.browser(0), "alice").Get("code"))
	if got := s.redeem(alice, form); got.StatusCode != 400 || !strings.Contains(got.body, api.LockedOut) || !strings.Contains(got.body, "cardea device replace") {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	// Whoever has its code and not its key does not learn what became of it.
	form = alice.form(alice.approve(s.browser(0), "alice").Get("code"))
	if got := s.redeem(s.signIn("mallory"), form); got.StatusCode != 400 || !strings.Contains(got.body, "invalid_grant") {
		t.Errorf("another device: %d %s", got.StatusCode, got.body)
	}
}

func TestAnUnknownIdNamesTheListThatTheCallerMaySee(t *testing.T) {
	s := newStack(t)
	for _, c := range []struct {
		who  *device
		path string
		want string
	}{
		{s.signIn("alice"), "/v1/sessions/ses_x/revoke", "cardea sign-ins list"},
		{s.signIn("bob"), "/v1/devices/laptop/revoke", "cardea device list"},
		{s.admin(), "/v1/devices/laptop/revoke", "cardea admin devices list"},
	} {
		if got := s.send(0, c.who.request(0, "POST", c.path, "")); got.StatusCode != 404 || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: %d %s", c.path, got.StatusCode, got.body)
		}
	}
}

func TestLimitsOfTimesAreSaidAsTheyAreTyped(t *testing.T) {
	s := newStack(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"PATCH", "/v1/team/settings", `{"session_seconds":90001}`, "session_seconds: give at most 25h"},
		{"PATCH", "/v1/team/settings", `{"session_seconds":3599}`, "session_seconds: give at least 1h"},
		{"POST", "/v1/enrolment-tokens", `{"kind":"device","seconds":2592001}`, "seconds: give at most 720h"},
		{"POST", "/v1/enrolment-tokens", `{"kind":"device","uses":10001}`, "uses: expected number"},
		{"PATCH", "/v1/team/settings", `{"session_seconds":"8h"}`, "session_seconds: expected integer"},
	} {
		if got := s.send(0, s.admin().request(0, c.method, c.path, c.body)); got.StatusCode != 422 || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: %d %s", c.body, got.StatusCode, got.body)
		}
	}
}

func TestNobodyEndsWhatIsAnothers(t *testing.T) {
	s := newStack(t)
	alice, mallory := s.signIn("alice"), s.signIn("mallory")
	for _, path := range []string{"/v1/sessions/" + alice.session.ID, "/v1/devices/" + alice.session.Device} {
		made := strings.ReplaceAll(path, alice.session.ID, ident.New(ident.Session))
		made = strings.ReplaceAll(made, alice.session.Device, ident.New(ident.Device))
		others := s.send(0, mallory.request(0, "POST", path+"/revoke", ""))
		nones := s.send(0, mallory.request(0, "POST", made+"/revoke", ""))
		if others.StatusCode != 404 || nones.StatusCode != 404 {
			t.Errorf("%s: %d %s; a made-up one: %d", path, others.StatusCode, others.body, nones.StatusCode)
		}
	}
	if got := s.send(0, alice.request(0, "GET", "/v1/session", "")); got.StatusCode != 200 {
		t.Errorf("alice: %d %s", got.StatusCode, got.body)
	}
	denied := 0
	for _, e := range append(s.events(audit.SessionRevoke), s.events(audit.DeviceRevoke)...) {
		if e.Outcome == audit.Denied && e.Actor == mallory.session.User && e.User == alice.session.User {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("%d tries are audited, want 2", denied)
	}
}

func TestListsOfSessionsAndDevices(t *testing.T) {
	s := newStack(t)
	admin, alice, _ := s.admin(), s.signIn("alice"), s.signIn("bob")
	for _, c := range []struct {
		name  string
		who   *device
		path  string
		query url.Values
		want  int
	}{
		{"all sessions", admin, "/v1/sessions", nil, 3},
		{"sessions of a user by name", admin, "/v1/sessions", url.Values{"user": {"alice"}}, 1},
		{"sessions of a user by id", admin, "/v1/sessions", url.Values{"user": {alice.session.User}}, 1},
		{"one's own sessions", alice, "/v1/sessions/mine", nil, 1},
		{"all devices", admin, "/v1/devices", nil, 3},
		{"devices of a user", admin, "/v1/devices", url.Values{"user": {"bob"}}, 1},
		{"one's own devices", alice, "/v1/devices/mine", nil, 1},
		{"a page", admin, "/v1/devices", url.Values{"limit": {"2"}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got api.List[map[string]any]
			if _, err := c.who.api(0).Get(t.Context(), c.path, c.query, &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Items) != c.want || (got.Next != "") != (c.query.Get("limit") != "") {
				t.Errorf("%d rows, next %q: %v", len(got.Items), got.Next, got.Items)
			}
		})
	}
	if _, err := admin.api(0).Get(t.Context(), "/v1/sessions", url.Values{"user": {"nobody"}}, nil); api.KindOf(err) != api.NotFound {
		t.Errorf("sessions of nobody: %v", err)
	}
}

func TestASecondTryWithTheServersNonceSucceedsWhateverTheClock(t *testing.T) {
	s := newStack(t)
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		alice := s.signIn("alice")
		alice.key.Now = func() time.Time { return s.now().Add(skew) }
		if _, err := alice.api(1).Get(t.Context(), "/v1/session", nil, nil); err != nil {
			t.Errorf("clock off by %s: %v", skew, err)
		}
	}
}

// machines enrols a server and a gateway over the API.
func (s *stack) machines(admin *device) (agent, gateway *device) {
	s.t.Helper()
	send := func(path string, in, out any) {
		s.t.Helper()
		if err := admin.api(0).Send(s.t.Context(), "POST", path, in, out); err != nil {
			s.t.Fatal(err)
		}
	}
	send("/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed"}}, nil)
	var token api.EnrolmentToken
	send("/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Name: "web-1", Address: "192.0.2.7:22"}, &token)
	agent, gateway = s.device(""), s.device("")
	var server api.EnrolledServer
	if err := agent.api(0).Send(s.t.Context(), "POST", "/v1/servers/enrol", api.ServerEnrolment{Secret: token.Secret}, &server); err != nil {
		s.t.Fatal(err)
	}
	agent.token = server.AccessToken
	send("/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: store.KindGateway, Name: "gw-1", Address: "192.0.2.8:7234"}, &token)
	var gw api.EnrolledGateway
	if err := gateway.api(0).Send(s.t.Context(), "POST", "/v1/gateways/enrol", api.GatewayEnrolment{Secret: token.Secret}, &gw); err != nil {
		s.t.Fatal(err)
	}
	gateway.token = gw.AccessToken
	return agent, gateway
}

// rights is the role matrix: every route and who may call it. A route that is
// not here fails the test, so that nobody adds one without a thought.
var rights = map[string]Access{
	"GET /{$}": Public, "GET /static/": Public, "GET /docs": Public, "GET /openapi.json": Public,
	"GET /healthz": Public, "GET /readyz": Public, "GET /v1/team": Public,
	"GET /oauth/authorize": Public, "GET /signin": Public, "POST /signin": Public,
	"GET /confirm": Public, "POST /confirm": Public, "POST /signout": Public,
	"GET /sso/{provider}": Public, "GET /oauth/callback/{provider}": Public,

	"POST /v1/servers/enrol/challenge": Proof, "POST /v1/servers/enrol/instance": Proof,
	"POST /v1/enrolment-rules": Admin, "GET /v1/enrolment-rules": Admin, "DELETE /v1/enrolment-rules/{rule}": Admin,
	"GET /device": Public, "POST /device": Public, "GET /device/done": Public, "POST /oauth/device": Proof, "POST /v1/device-codes": User, "POST /v1/device-codes/{waiting}/approve": User, "POST /v1/device-codes/{waiting}/refuse": User, "POST /v1/devices/{device}/approve": Admin,
	"POST /oauth/token": Proof, "POST /v1/servers/enrol": Proof, "POST /v1/gateways/enrol": Proof,

	"GET /factor": Public, "POST /factor": Public, "GET /account": Public, "POST /account/totp": Public, "POST /account/totp/confirm": Public,
	"POST /account/passkey": Public, "POST /account/passkey/confirm": Public, "POST /account/recovery": Public, "POST /account/remove": Public,
	"GET /account/password": Public, "POST /account/password": Public,
	"POST /v1/users/{user}/reset-factors": Admin,
	"GET /setup":                          Public, "POST /setup": Public,
	"POST /v1/session/token": User, "POST /v1/touch": User, "GET /v1/touch/{project}": User, "GET /v1/team/settings": Admin, "PATCH /v1/team/settings": Admin,
	"GET /v1/session": User, "POST /v1/logout": User, "GET /v1/sessions/mine": User, "GET /v1/devices/mine": User,
	"POST /v1/sessions/{session}/revoke": User, "POST /v1/devices/{device}/revoke": User,
	"POST /v1/requests": User, "GET /v1/requests": User, "GET /v1/requests/pending": User, "GET /v1/requests/{request}": User,
	"POST /v1/requests/{request}/cancel": User, "POST /v1/requests/{request}/end": User, "POST /v1/requests/{request}/approve": User, "POST /v1/requests/{request}/deny": User,
	"POST /v1/projects/{project}/request-rules": Admin, "GET /v1/request-rules": User, "DELETE /v1/request-rules/{rule}": Admin,
	"POST /v1/preauthorizations": User, "GET /v1/preauthorizations": User, "DELETE /v1/preauthorizations/{preauthorization}": User,
	"POST /v1/connect": User, "POST /v1/impostors": User, "GET /v1/catalog": User, "GET /v1/why": User, "GET /v1/what-if": Admin,
	"GET /v1/recording-keys": User, "GET /v1/recordings": User, "GET /v1/recordings/{session}": User,
	"GET /v1/recordings/{session}/segments/{segment}": User, "GET /v1/recordings/{session}/manifest": User,
	"GET /v1/gateway/sessions/{session}/recording": Gateway, "POST /v1/gateways/{gateway}/hand-over": Admin,
	"POST /v1/gateway/sessions/{session}/recording": Gateway, "POST /v1/gateway/sessions/{session}/refusals": Gateway,

	"GET /v1/sessions": Admin, "GET /v1/devices": Admin, "GET /v1/gateway-sessions": Admin, "POST /v1/gateway-sessions/{session}/revoke": Admin, "POST /v1/gateway-sessions/revoke": Admin, "GET /v1/audit": Admin,
	"POST /v1/users": Admin, "GET /v1/users": Admin, "GET /v1/users/{user}": Admin, "PATCH /v1/users/{user}": Admin, "DELETE /v1/users/{user}": Admin,
	"POST /v1/providers": Admin, "GET /v1/providers": Admin, "GET /v1/providers/{provider}": Admin, "PATCH /v1/providers/{provider}": Admin,
	"DELETE /v1/providers/{provider}": Admin, "POST /v1/providers/{provider}/test": Admin, "PATCH /v1/groups/{group}": Admin,
	"POST /v1/groups": Admin, "GET /v1/groups": Admin, "GET /v1/groups/{group}": Admin, "DELETE /v1/groups/{group}": Admin,
	"GET /v1/groups/{group}/members": Admin, "PUT /v1/groups/{group}/members/{user}": Admin, "DELETE /v1/groups/{group}/members/{user}": Admin,
	"POST /v1/projects": Admin, "GET /v1/projects": Admin, "GET /v1/projects/{project}": Admin, "PATCH /v1/projects/{project}": Admin, "DELETE /v1/projects/{project}": Admin,
	"POST /v1/projects/{project}/grants": Admin, "GET /v1/projects/{project}/grants": Admin, "DELETE /v1/projects/{project}/grants/{grant}": Admin,
	"PATCH /v1/projects/{project}/grants/{grant}": Admin,
	"POST /v1/projects/{project}/break-glass":     Admin, "DELETE /v1/projects/{project}/break-glass": Admin, "GET /v1/break-glass": Admin,
	"POST /v1/entitlements": Admin, "GET /v1/entitlements": Admin, "GET /v1/entitlements/{entitlement}": Admin,
	"PATCH /v1/entitlements/{entitlement}": Admin, "DELETE /v1/entitlements/{entitlement}": Admin,
	"GET /v1/servers": Admin, "GET /v1/servers/{server}": Admin, "PATCH /v1/servers/{server}": Admin, "DELETE /v1/servers/{server}": Admin,
	"POST /v1/servers/{server}/release": Admin,
	"GET /v1/gateways":                  Admin, "GET /v1/gateways/{gateway}": Admin, "PATCH /v1/gateways/{gateway}": Admin, "DELETE /v1/gateways/{gateway}": Admin,
	"GET /v1/cas": Admin, "GET /v1/cas/{ca}": Admin, "POST /v1/cas/{ca}/rotate": Admin, "POST /v1/cas/{ca}/switch": Admin,
	"POST /v1/cas/{ca}/retire": Admin, "POST /v1/cas/{ca}/abort": Admin,
	"GET /v1/revoked-keys": Admin, "POST /v1/revoked-keys": Admin, "DELETE /v1/revoked-keys/{fingerprint}": Admin,
	"POST /v1/enrolment-tokens": Admin, "GET /v1/enrolment-tokens": Admin, "DELETE /v1/enrolment-tokens/{token}": Admin,

	"POST /v1/service-users": Admin, "GET /v1/service-users": Admin, "GET /v1/service-users/{service}": Admin,
	"POST /v1/service-users/{service}/keys": Admin, "DELETE /v1/service-users/{service}/keys/{servicekey}": Admin,
	"PATCH /v1/service-users/{service}": Admin, "POST /v1/service-keys/next": User, "POST /v1/service-keys/retire": User,
	"PUT /v1/workload-issuers/{workload}/keys": Admin, "POST /v1/workload-tests": Admin,
	"POST /v1/workload-issuers": Admin, "GET /v1/workload-issuers": Admin, "GET /v1/workload-issuers/{workload}": Admin, "PATCH /v1/workload-issuers/{workload}": Admin,
	"DELETE /v1/workload-issuers/{workload}": Admin, "POST /v1/workload-issuers/{workload}/rules": Admin, "DELETE /v1/workload-issuers/{workload}/rules/{workloadrule}": Admin,

	"POST /v1/scim-clients": Admin, "GET /v1/scim-clients": Admin, "GET /v1/scim-clients/{client}": Admin, "PATCH /v1/scim-clients/{client}": Admin,
	"POST /v1/scim-clients/{client}/rotate": Admin, "POST /v1/scim-clients/{client}/resume": Admin, "DELETE /v1/scim-clients/{client}": Admin,
	"GET /v1/scim-clients/{client}/waiting": Admin, "POST /v1/scim-clients/{client}/adopt": Admin, "POST /v1/scim-clients/{client}/release": Admin,
	"GET /scim/v2/Users": Scim, "POST /scim/v2/Users": Scim, "GET /scim/v2/Users/{user}": Scim, "PUT /scim/v2/Users/{user}": Scim, "PATCH /scim/v2/Users/{user}": Scim,
	"DELETE /scim/v2/Users/{user}": Scim, "GET /scim/v2/Groups": Scim, "POST /scim/v2/Groups": Scim, "GET /scim/v2/Groups/{group}": Scim,
	"PUT /scim/v2/Groups/{group}": Scim, "PATCH /scim/v2/Groups/{group}": Scim, "DELETE /scim/v2/Groups/{group}": Scim, "POST /scim/v2/Bulk": Scim,
	"GET /scim/v2/ServiceProviderConfig": Scim, "GET /scim/v2/ResourceTypes": Scim, "GET /scim/v2/ResourceTypes/{kind}": Scim,
	"GET /scim/v2/Schemas": Scim, "GET /scim/v2/Schemas/{schema}": Scim,

	"GET /v1/agent/state": Agent, "POST /v1/agent/report": Agent, "POST /v1/agent/events": Agent,
	"POST /v1/agent/host-certificate": Agent, "POST /v1/agent/canary": Agent,

	"POST /v1/gateway/report": Gateway, "GET /v1/gateway/watch": Gateway,
	"POST /v1/gateway/sessions": Gateway, "POST /v1/gateway/sessions/{session}/end": Gateway,
	"GET /requests": Dashboard, "GET /requests/anew": Dashboard, "GET /requests/{request}": Dashboard,
	"POST /requests/{request}/approve": Dashboard, "POST /requests/{request}/deny": Dashboard, "POST /requests/{request}/cancel": Dashboard,
	"POST /requests/{request}/end": Dashboard, "POST /requests/{request}/again": Dashboard,
	"GET /requests/{request}/approve": Dashboard, "GET /requests/{request}/deny": Dashboard, "GET /requests/{request}/cancel": Dashboard,
	"GET /requests/{request}/end": Dashboard, "GET /requests/{request}/again": Dashboard, "POST /dashboard/signout": Dashboard,
}

// pageForms take forms of our own pages alone, from whomever.
var pageForms = []string{"/device", "/confirm", "/signin", "/signout", "/factor", "/setup", "/account/totp", "/account/totp/confirm",
	"/account/passkey", "/account/passkey/confirm", "/account/recovery", "/account/remove", "/account/password"}

// may is the matrix in words: which role opens which door.
var may = map[string][]Access{
	"nobody": {Public}, "a key without a token": {Public, Proof},
	"alice": {Public, Proof, User}, "admin": {Public, Proof, User, Admin},
	"server": {Public, Proof, Agent}, "gateway": {Public, Proof, Gateway},
	"an ended session": {Public, Proof}, "okta": {Public, Scim},
}

func TestEveryRouteForEveryRole(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	agent, gateway := s.machines(admin)
	ended := s.signIn("alice")
	if err := ended.api(0).Send(t.Context(), "POST", "/v1/logout", nil, nil); err != nil {
		t.Fatal(err)
	}
	_, okta := (&scene{stack: s, admin: admin}).connector("okta")
	roles := map[string]*device{
		"nobody": nil, "a key without a token": s.device(""), "alice": s.signIn("alice"), "okta": okta,
		"admin": admin, "server": agent, "gateway": gateway, "an ended session": ended,
	}
	seen := map[string]bool{}
	for _, r := range s.servers[0].routes {
		seen[r.String()] = true
		if want, ok := rights[r.String()]; !ok || want != r.Access {
			t.Errorf("%s is for %s; the matrix says %s", r, r.Access, want)
		}
		if r.Path == "/v1/logout" {
			continue // would end the sessions of the rest; tried above
		}
		s.wait(time.Second) // or refusals would be taken for a flood
		for name, who := range roles {
			open := false
			for _, a := range may[name] {
				open = open || a == r.Access
			}
			got := s.try(who, r)
			closed := got.StatusCode == 401 || got.StatusCode == 403 || strings.HasPrefix(r.Path, "/oauth/") && strings.Contains(got.body, "invalid_dpop_proof") ||
				r.Access == Dashboard && got.Request.URL.Path == "/confirm" // sent to sign in
			switch {
			case open && closed && !slices.Contains(pageForms, r.Path):
				t.Errorf("%s is closed to %s: %d %s", r, name, got.StatusCode, got.body)
			case !open && !closed:
				t.Errorf("%s is open to %s: %d %s", r, name, got.StatusCode, got.body)
			}
		}
	}
	for r := range rights {
		if !seen[r] {
			t.Errorf("the matrix has %s, which is no route", r)
		}
	}
}

// try calls a route with ids that name nothing. A Proof route is called
// without the token.
func (s *stack) try(who *device, r route) reply {
	s.t.Helper()
	path := strings.NewReplacer("{$}", "", "{user}", ident.New(ident.User), "{group}", ident.New(ident.UserGroup),
		"{project}", ident.New(ident.Project), "{grant}", ident.New(ident.Grant), "{entitlement}", ident.New(ident.Entitlement), "{server}", ident.New(ident.Server),
		"{gateway}", ident.New(ident.Gateway), "{token}", ident.New(ident.Enrolment), "{session}", ident.New(ident.Session),
		"{device}", ident.New(ident.Device), "{provider}", ident.New(ident.Provider), "{ca}", "none", "{fingerprint}", "none").Replace(r.Path)
	body := ""
	if r.mutates() {
		body = `{}`
	}
	if who == nil {
		req, _ := http.NewRequest(r.Method, publicURL+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		return s.send(0, req)
	}
	d := *who
	if r.Access == Proof {
		d.token = ""
	}
	req := d.request(0, r.Method, path, body)
	if r.Access == Proof && strings.HasPrefix(r.Path, "/oauth/") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Body = io.NopCloser(strings.NewReader(body))
	}
	return s.send(0, req)
}

func TestRevokingWhatThereIsNotSaysWhereToLook(t *testing.T) {
	s := newStack(t)
	for _, kind := range []string{"sessions", "devices"} {
		err := s.admin().api(0).Send(t.Context(), "POST", "/v1/"+kind+"/nope/revoke", nil, nil)
		if api.KindOf(err) != api.NotFound || !strings.Contains(err.Error(), "type: cardea admin "+kind+" list") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Who signs in again before the end keeps what is open, and the sign-in before is over.
func TestASessionThatWasRenewedIsOverAndTheNextOneStays(t *testing.T) {
	s := newStack(t)
	alice := s.signIn("alice")
	next := *alice
	in, err := next.api(0).Redeem(t.Context(), next.form(next.approve(s.browser(0), "alice").Get("code")))
	if err != nil {
		t.Fatal(err)
	}
	next.token, next.session = in.AccessToken, in.Session
	if err := alice.api(0).Send(t.Context(), "POST", "/v1/logout?next="+next.session.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	for i := range s.instances {
		if got := s.send(i, alice.request(i, "GET", "/v1/session", "")); got.StatusCode != 401 || !strings.Contains(got.body, "ended") {
			t.Errorf("instance %d: the one before: %d %s", i, got.StatusCode, got.body)
		}
		if got := s.send(i, next.request(i, "GET", "/v1/session", "")); got.StatusCode != 200 {
			t.Errorf("instance %d: the next one: %d %s", i, got.StatusCode, got.body)
		}
	}
}
