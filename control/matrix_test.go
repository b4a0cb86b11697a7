package control

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// yes is any answer that refuses nothing, in the matrix.
const yes = 200

// theirs says of each route that lets people or gateways in and names one thing, what is
// answered for one's own, and for that of another. An administrator is let in to both as his
// column says; an id that names nothing gives 404 to everybody.
var theirs = map[string]struct{ own, other, admin int }{
	"POST /v1/sessions/{session}/revoke":              {yes, 404, yes},
	"POST /v1/devices/{device}/revoke":                {yes, 404, yes},
	"GET /v1/recordings/{session}":                    {yes, 404, yes},
	"GET /v1/recordings/{session}/segments/{segment}": {403, 404, 404}, // nothing is stored yet
	"GET /v1/recordings/{session}/manifest":           {403, 404, 404},
	"GET /v1/touch/{project}":                         {yes, 404, yes},
	"GET /v1/requests/{request}":                      {yes, 404, yes},
	"POST /v1/requests/{request}/approve":             {403, 404, yes},
	"POST /v1/requests/{request}/deny":                {403, 404, 409}, // approved by then
	"POST /v1/requests/{request}/end":                 {409, 404, 409}, // it is not approved
	"POST /v1/requests/{request}/cancel":              {409, 404, 403},
	"DELETE /v1/preauthorizations/{preauthorization}": {404, 404, yes},
	"POST /v1/gateway/sessions/{session}/end":         {yes, 404, 0},
	"GET /v1/gateway/sessions/{session}/recording":    {yes, 403, 0}, // it is told to whom it might be handed over
	"POST /v1/gateway/sessions/{session}/recording":   {yes, 403, 0},
	"POST /v1/gateway/sessions/{session}/refusals":    {yes, 404, 0},
	"POST /v1/device-codes/{waiting}/approve":         {410, 404, 404}, // over by then
	"POST /v1/device-codes/{waiting}/refuse":          {410, 404, 404},
	"GET /scim/v2/Users/{user}":                       {yes, 404, 0},
	"PUT /scim/v2/Users/{user}":                       {yes, 404, 0},
	"PATCH /scim/v2/Users/{user}":                     {yes, 404, 0},
	"DELETE /scim/v2/Users/{user}":                    {yes, 404, 0},
	"GET /scim/v2/Groups/{group}":                     {yes, 404, 0},
	"PUT /scim/v2/Groups/{group}":                     {yes, 404, 0},
	"PATCH /scim/v2/Groups/{group}":                   {yes, 404, 0},
	"DELETE /scim/v2/Groups/{group}":                  {yes, 404, 0},
	"GET /scim/v2/ResourceTypes/{kind}":               {yes, yes, 0},
	"GET /scim/v2/Schemas/{schema}":                   {yes, yes, 0},
}

// bodies are good ones for the routes that take one and name something: so that what is
// answered is about who asks for what, and not about the form.
var bodies = map[string]string{
	"POST /v1/projects/{project}/grants":            `{"group":"ops","role":"user"}`,
	"PATCH /v1/projects/{project}/grants/{grant}":   `{"sudo":[]}`,
	"POST /v1/projects/{project}/break-glass":       `{"group":"ops","seconds":3600,"reason":"x"}`,
	"POST /v1/projects/{project}/request-rules":     `{"group":"ops","approvers":"leads","seconds":3600}`,
	"POST /v1/gateways/{gateway}/hand-over":         `{"to":"gw-1"}`,
	"POST /v1/gateway-sessions/{session}/revoke":    `{"reason":"x"}`,
	"POST /v1/gateway/sessions/{session}/end":       `{"cause":"client","up":1,"down":1}`,
	"POST /v1/gateway/sessions/{session}/recording": `{"state":"recording","segments":0,"bytes":0}`,
	"POST /v1/gateway/sessions/{session}/refusals":  `{"refusals":[]}`,
	"POST /v1/device-codes/{waiting}/approve":       `{"code":"x","code_verifier":"x","redirect_uri":"x"}`,
	"POST /v1/requests/{request}/deny":              `{"reason":"no"}`,
	"PUT /v1/groups/{group}/members/{user}":         `{}`,
	"PATCH /v1/workload-issuers/{workload}":         `{"state":"active"}`,
	"PUT /v1/workload-issuers/{workload}/keys":      `{"jwks":"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"}`,
	"PATCH /v1/service-users/{service}":             `{"key_seconds":3600}`,
	"POST /v1/workload-issuers/{workload}/rules":    `{"user":"deploy-web","claims":{"sub":"x"}}`,
	"POST /v1/service-users/{service}/keys":         `{"name":"x","thumbprint":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
	"POST /v1/scim-clients/{client}/adopt":          `{"user_name":"x@example.com","user":"alice"}`,
	"POST /v1/scim-clients/{client}/release":        `{"user":"alice"}`,
	"PUT /scim/v2/Users/{user}":                     `{"userName":"other@example.com"}`,
	"PATCH /scim/v2/Users/{user}":                   `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"title","value":"x"}]}`,
	"PUT /scim/v2/Groups/{group}":                   `{"displayName":"Other"}`,
	"PATCH /scim/v2/Groups/{group}":                 `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"displayName","value":"x"}]}`,
}

// ids fill the parameters of paths.
type ids map[string]string

var braces = regexp.MustCompile(`\{([a-z]+)\}`)

// fill puts ids into a path.
func (i ids) fill(t testing.TB, r route) string { return i.within(t, r, r.Path) }

// within puts them into a text about a route.
func (i ids) within(t testing.TB, r route, text string) string {
	t.Helper()
	return braces.ReplaceAllStringFunc(text, func(m string) string {
		name := strings.Trim(m, "{}")
		switch { // the path says which kind it is
		case name == "session" && strings.HasPrefix(r.Path, "/v1/sessions/"):
			name = "signed-in"
		case name == "rule" && strings.HasPrefix(r.Path, "/v1/enrolment-rules/"):
			name = "enrolment-rule"
		case (name == "user" || name == "group") && strings.HasPrefix(r.Path, "/scim/"):
			name = "scim-" + name
		}
		id, known := i[name]
		if !known {
			t.Fatalf("%s: the matrix has no id for %s", r, m)
		}
		return id
	})
}

// blank takes out of an answer what differs between two that are alike.
func (i ids) blank(text string) string {
	for _, id := range i {
		if len(id) > 4 { // not the number of a segment
			text = strings.ReplaceAll(text, id, "ID")
		}
	}
	return regexp.MustCompile(`"(id|at)":"[^"]*",?`).ReplaceAllString(text, "")
}

// matrix is a team with two of everything: alice's and project web's, bob's and project db's.
type matrix struct {
	*scene
	alice2, bob2  *device // on another device each
	otherServer   *machine
	otherGateway  *machine
	okta, entra   *device // SCIM clients
	a, b, nothing ids
}

func newMatrix(t testing.TB) *matrix {
	m := &matrix{scene: recordedScene(t)}
	send := func(method, path string, in any) string {
		t.Helper()
		return must[api.Named](t, m.admin, method, path, in).ID
	}
	settings := m.project.ProjectSettings
	db := send("POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: settings})
	for _, g := range []string{"dba", "leads", "oncall", "nightly"} {
		send("POST", "/v1/groups", api.NewGroup{Name: g})
	}
	must[api.Member](t, m.admin, "PUT", "/v1/groups/dba/members/bob", api.NewMember{})
	grant := send("POST", "/v1/projects/db/grants", api.NewGrant{Group: "dba", Role: "user"})
	m.otherServer = m.newServer("db", "db-1", nil)
	m.confirm(m.server)
	m.confirm(m.otherServer)
	m.alice2, m.bob2 = m.signIn("alice"), m.signIn("bob")
	m.a = ids{"user": m.alice.session.User, "group": "ops", "project": m.project.ID, "grant": m.grant.ID, "server": m.server.id, "gateway": m.gateway.id,
		"session": m.sessionOf(m.alice, "web-1"), "signed-in": m.alice2.session.ID, "device": m.alice2.session.Device, "segment": "1", "ca": "user%2Fweb"}
	m.b = ids{"user": m.bob.session.User, "group": "dba", "project": db, "grant": grant, "server": m.otherServer.id,
		"session": m.sessionOf(m.bob, "db-1"), "signed-in": m.bob2.session.ID, "device": m.bob2.session.Device, "segment": "1", "ca": "user%2Fdb"}
	m.otherGateway = m.newGateway("gw-2")
	m.records(m.otherGateway, true)
	m.b["gateway"] = m.otherGateway.id
	on := true
	must[api.TeamSettings](t, m.admin, "PATCH", "/v1/team/settings", api.TeamPatch{DeviceCode: &on})
	for i, set := range []ids{m.a, m.b} {
		who := []*device{m.alice, m.bob}[i]
		_, code := m.hasCode()
		set["waiting"] = who.typesHere(code.UserCode).Request
		project, group, askers := []string{"web", "db"}[i], []string{"oncall", "nightly"}[i], []string{"ops", "dba"}[i]
		set["rule"] = send("POST", "/v1/projects/"+project+"/request-rules", api.NewRequestRule{Group: group, Askers: askers, Approvers: "leads", Seconds: 3600})
		set["request"] = must[api.AccessRequest](t, who, "POST", "/v1/requests", api.NewAccessRequest{Target: project, Seconds: 600, Reason: "x"}).ID
		set["preauthorization"] = send("POST", "/v1/preauthorizations", api.NewPreauthorization{Rule: set["rule"], User: set["user"], Seconds: 600, Until: m.now().Add(24 * time.Hour)})
		set["entitlement"] = send("POST", "/v1/entitlements", map[string]any{"name": "list-" + project, "commands": []map[string]any{{"kind": "executable", "path": "/bin/ls"}}})
		set["service"] = send("POST", "/v1/service-users", api.NewServiceUser{Name: "deploy-" + project})
		set["servicekey"] = send("POST", "/v1/service-users/deploy-"+project+"/keys", api.NewServiceKey{Name: "x", Thumbprint: m.device("").key.Thumbprint()})
		set["workload"] = send("POST", "/v1/workload-issuers", api.NewWorkloadIssuer{Name: "jobs-" + project, Issuer: "https://jobs." + project + ".example.com"})
		set["workloadrule"] = send("POST", "/v1/workload-issuers/jobs-"+project+"/rules", api.NewWorkloadRule{User: "deploy-" + project, Claims: map[string]string{"sub": "x"}})
		client, connector := m.connector("scim-" + project)
		set["client"], set["kind"], set["schema"] = client, "User", "urn:ietf:params:scim:schemas:core:2.0:User"
		set["scim-user"] = connector.made("Users", `{"userName":"of-`+project+`@example.com"}`)
		set["scim-group"] = connector.made("Groups", `{"displayName":"scim `+project+`"}`)
		if i == 0 {
			m.okta = connector
		} else {
			m.entra = connector
		}
		set["provider"] = send("POST", "/v1/providers", api.NewProvider{Name: "of-" + project, Issuer: "https://" + project + ".example.com", ProviderSettings: api.ProviderSettings{ClientID: "cardea"}})
		set["token"] = m.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: project}).ID
		set["enrolment-rule"] = send("POST", "/v1/enrolment-rules", map[string]any{"cloud": "aws", "account": fmt.Sprintf("%012d", i+1), "project": project, "server_name": "{instance_id}"})
		set["fingerprint"] = fingerprint(t)
		must[any](t, m.admin, "POST", "/v1/revoked-keys", api.NewRevokedKey{Fingerprint: strings.ReplaceAll(set["fingerprint"], "%2F", "/")})
	}
	m.nothing = ids{"user": ident.New(ident.User), "group": ident.New(ident.UserGroup), "project": ident.New(ident.Project), "grant": ident.New(ident.Grant),
		"server": ident.New(ident.Server), "gateway": ident.New(ident.Gateway), "session": ident.New(ident.GatewaySession), "signed-in": ident.New(ident.Session),
		"device": ident.New(ident.Device), "segment": "1", "ca": "user%2Fnowhere", "rule": ident.New(ident.RequestRule), "request": ident.New(ident.AccessRequest),
		"preauthorization": ident.New(ident.Preauthorization), "entitlement": ident.New(ident.Entitlement), "provider": ident.New(ident.Provider), "token": ident.New(ident.Enrolment),
		"client": ident.New(ident.ScimClient), "scim-user": ident.New(ident.User), "scim-group": ident.New(ident.UserGroup), "kind": "Nobody", "schema": "urn:none",
		"enrolment-rule": ident.New(ident.EnrolmentRule), "service": ident.New(ident.User), "servicekey": ident.New(ident.ServiceKey),
		"workload": ident.New(ident.WorkloadIssuer), "workloadrule": ident.New(ident.WorkloadRule), "waiting": ident.New(ident.AuthRequest), "fingerprint": fingerprint(t)}
	return m
}

// fingerprint is the fingerprint of a fresh key, as it stands in a path.
func fingerprint(t testing.TB) string {
	return strings.ReplaceAll(ssh.FingerprintSHA256(newFresh(t).public), "/", "%2F")
}

// sessionOf is a recorded session of somebody's through the gateway.
func (m *matrix) sessionOf(who *device, server string) string {
	m.t.Helper()
	f := newFresh(m.t)
	claim, _ := m.claimOf(m.gateway, f, must[api.Connection](m.t, who, "POST", "/v1/connect", f.connect(server, "")))
	return must[api.Claimed](m.t, m.gateway.device, "POST", "/v1/gateway/sessions", claim).Session
}

// call is one of the matrix. Time passes, so that what is tried here is not taken for a flood.
func (m *matrix) call(who *device, r route, with ids) reply {
	m.t.Helper()
	m.wait(2 * time.Second)
	path, body := with.fill(m.t, r), ""
	if r.mutates() {
		if body = bodies[r.String()]; body == "" {
			body = `{}`
		}
	}
	if who == nil {
		req, err := http.NewRequest(r.Method, publicURL+path, strings.NewReader(body))
		if err != nil {
			m.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		return m.send(0, req)
	}
	return m.send(0, who.request(0, r.Method, path, body))
}

// expect compares an answer with what the matrix has.
func (m *matrix) expect(got reply, want int, r route, who, whose string) {
	m.t.Helper()
	status := got.StatusCode
	if status/100 == 2 {
		status = yes
	}
	if status != want {
		m.t.Errorf("%s by %s for %s: %d %s, want %d", r, who, whose, got.StatusCode, got.body, want)
	}
}

// Every route that names something, for every role, with ids of one's own, of another person
// and project, and of nothing. Who is not let in hears the same whatever he names; who is
// let in hears of what is another's as little as of what there is not.
func TestEveryRouteForEveryRoleAndEverybodysIDs(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	ended := m.signIn("alice")
	if err := ended.api(0).Send(t.Context(), "POST", "/v1/logout", nil, nil); err != nil {
		t.Fatal(err)
	}
	roles := map[string]*device{
		"nobody": nil, "a key without a token": m.device(""), "an ended session": ended, "alice": m.alice, "bob": m.bob, "admin": m.admin,
		"web-1's agent": m.server.device, "db-1's agent": m.otherServer.device, "gw-1": m.gateway.device, "gw-2": m.otherGateway.device,
		"okta": m.okta, "entra": m.entra,
	}
	opens := map[string]Access{"alice": User, "bob": User, "web-1's agent": Agent, "db-1's agent": Agent, "gw-1": Gateway, "gw-2": Gateway, "okta": Scim, "entra": Scim}
	sets := map[string]ids{"alice's": m.a, "bob's": m.b, "nothing": m.nothing}
	var named []route
	for _, r := range m.servers[0].routes {
		if r.Access != Public && r.Access != Proof && r.Access != Dashboard && strings.Contains(r.Path, "{") {
			named = append(named, r)
			if _, ok := theirs[r.String()]; !ok && r.Access != Admin {
				t.Errorf("%s has no row in the matrix: say what is answered for one's own, and for another's", r)
			}
		}
	}
	if len(named) < 40 || t.Failed() {
		t.Fatalf("%d routes name something", len(named))
	}
	for _, r := range named {
		for name, who := range roles {
			in := opens[name] == r.Access || name == "admin" && (r.Access == User || r.Access == Admin)
			if in {
				m.expect(m.call(who, r, m.nothing), 404, r, name, "nothing")
				continue
			}
			want := 403
			if r.Access == Scim || opens[name] == Scim || name == "nobody" || name == "a key without a token" || name == "an ended session" && (r.Access == User || r.Access == Admin) {
				want = 401
			}
			first := ""
			for whose, with := range sets {
				got := m.call(who, r, with)
				m.expect(got, want, r, name, whose)
				if text := with.blank(got.body); first == "" {
					first = text
				} else if text != first {
					t.Errorf("%s tells %s whose it is: %s, and %s", r, name, first, text)
				}
			}
		}
	}
	// Those who are let in: first to what is another's, of which nothing may be left.
	for _, r := range named {
		row, ok := theirs[r.String()]
		switch {
		case !ok:
		case r.Access == User:
			for whose, who := range map[string]*device{"bob's": m.alice, "alice's": m.bob} {
				m.expect(m.call(who, r, sets[whose]), row.other, r, "another than "+whose, whose)
			}
		case r.Access == Gateway:
			m.expect(m.call(m.otherGateway.device, r, m.a), row.other, r, "gw-2", "gw-1's session")
		case r.Access == Scim:
			m.expect(m.call(m.okta, r, m.b), row.other, r, "okta", "entra's")
			m.expect(m.call(m.entra, r, m.a), row.other, r, "entra", "okta's")
		}
	}
	for _, r := range named {
		if r.Access == Admin && (r.Method == "GET" || r.Method == "PATCH") {
			for whose, with := range sets {
				if got := m.call(m.admin, r, with); whose != "nothing" && (got.StatusCode == 403 || got.StatusCode == 404 || got.StatusCode == 401) {
					t.Errorf("%s by admin for %s: %d %s", r, whose, got.StatusCode, got.body)
				}
			}
		}
	}
	for _, r := range named {
		if row := theirs[r.String()]; row.admin != 0 {
			m.expect(m.call(m.admin, r, m.b), row.admin, r, "admin", "bob's")
		}
	}
	for _, r := range named {
		row, ok := theirs[r.String()]
		switch {
		case !ok:
		case r.Access == User && strings.HasSuffix(r.Path, "/cancel"):
			m.expect(m.call(m.alice, r, m.a), yes, r, "alice", "her own")
			m.expect(m.call(m.alice, r, m.a), row.own, r, "alice", "her own, again")
		case r.Access == User:
			m.expect(m.call(m.alice, r, m.a), row.own, r, "alice", "her own")
		case r.Access == Gateway:
			m.expect(m.call(m.gateway.device, r, m.a), row.own, r, "gw-1", "its session")
		case r.Access == Scim:
			m.expect(m.call(m.okta, r, m.a), row.own, r, "okta", "its own")
		}
	}
}

// mentions are the routes of people that name something in their query or body, which the
// pattern of a path does not tell: with what they are tried, and what is answered for
// another's. That answer is the one for what there is not.
var mentions = []struct {
	method, path, query, body string
	other                     int
}{
	{"GET", "/v1/why", "?server={server}", "", yes},
	{"GET", "/v1/why", "?server=web-1&user={user}", "", 403},
	{"GET", "/v1/recordings", "?user={user}", "", 403},
	{"GET", "/v1/recordings", "?server={server}", "", yes}, // her own there, of which there are none
	{"POST", "/v1/connect", "", `{"server":"{server}","public_key":"{key}"}`, 404},
	{"POST", "/v1/requests", "", `{"target":"{server}","seconds":600,"reason":"x"}`, 404},
	{"POST", "/v1/requests", "", `{"target":"{project}","seconds":600,"reason":"x"}`, 404},
	{"POST", "/v1/preauthorizations", "", `{"rule":"{rule}","user":"{user}","seconds":600,"until":"{until}"}`, 404},
}

// names tells whether a text holds an id or a name as a word of its own: a short one may well
// be a part of a random id.
func names(text, id string) bool {
	return regexp.MustCompile(`(^|[^a-z0-9])` + regexp.QuoteMeta(id) + `($|[^a-z0-9])`).MatchString(text)
}

// What is not in a path: lists hold nothing of another person's and project's, and who names
// it in a query or a body hears what he hears of nothing.
func TestNothingOfAnotherIsInListsOrTold(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	for _, set := range []ids{m.a, m.b, m.nothing} {
		set["key"] = strings.TrimSpace(newFresh(t).line())
		set["until"] = m.now().Add(time.Hour).Format(time.RFC3339)
	}
	sees := func(who *device, name string, r route, not ids) {
		got := m.call(who, r, nil)
		if got.StatusCode/100 != 2 && got.StatusCode != 304 {
			t.Errorf("%s by %s: %d %s", r, name, got.StatusCode, got.body)
		}
		for kind, id := range not {
			if kind != "gateway" && kind != "ca" && kind != "segment" && names(got.body, id) {
				t.Errorf("%s tells %s the %s of another: %s", r, name, kind, got.body)
			}
		}
	}
	lists := 0
	for _, r := range m.servers[0].routes {
		if r.Method != "GET" || strings.Contains(r.Path, "{") || r.Path == "/v1/why" {
			continue
		}
		switch r.Access {
		case User:
			lists++
			sees(m.alice, "alice", r, m.b)
			sees(m.bob, "bob", r, m.a)
		case Agent:
			sees(m.server.device, "web-1's agent", r, m.b)
			sees(m.otherServer.device, "db-1's agent", r, m.a)
		}
	}
	if lists < 8 {
		t.Errorf("%d lists were looked at", lists)
	}
	for _, c := range mentions {
		r := route{Method: c.method, Path: c.path}
		ask := func(with ids) reply {
			m.wait(2 * time.Second)
			return m.send(0, m.alice.request(0, c.method, c.path+with.within(t, r, c.query), with.within(t, r, c.body)))
		}
		other, none := ask(m.b), ask(m.nothing)
		m.expect(other, c.other, r, "alice", "bob's")
		if a, b := m.b.blank(other.body), m.nothing.blank(none.body); other.StatusCode != none.StatusCode || a != b {
			t.Errorf("%s tells alice what is bob's: %s, of nothing: %s", r, a, b)
		}
	}
}
