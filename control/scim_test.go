package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// connector makes a SCIM client, and what speaks with its token.
func (s *scene) connector(name string) (id string, d *device) {
	s.t.Helper()
	got := must[api.ScimToken](s.t, s.admin, "POST", "/v1/scim-clients", api.NewScimClient{Name: name})
	return got.ID, &device{s: s.stack, bearer: got.Token}
}

// scim makes a call below /scim/v2, of the i-th instance.
func (d *device) scim(i int, method, path, body string, headers ...string) reply {
	d.s.t.Helper()
	req := d.request(i, method, api.ScimPath+path, body)
	for j := 0; j+1 < len(headers); j += 2 {
		req.Header.Set(headers[j], headers[j+1])
	}
	return d.s.send(i, req)
}

// made makes a resource and returns its id.
func (d *device) made(kind, body string) string {
	d.s.t.Helper()
	got := d.scim(0, "POST", "/"+kind, body)
	if got.StatusCode != 201 {
		d.s.t.Fatalf("POST %s: %d %s", kind, got.StatusCode, got.body)
	}
	return field(d.s.t, got.body, "id")
}

// patch is a PATCH request with these operations.
func patch(operations string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operations + `]}`
}

const deactivate = `{"op":"replace","path":"active","value":false}`

// field is a value of JSON at a path such as Resources.0.id, as text; "" for none.
func field(t testing.TB, body, path string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for key := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i := -1
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(at) {
				return ""
			}
			v = at[i]
		default:
			return ""
		}
	}
	if v == nil {
		return ""
	}
	if list, ok := v.([]any); ok {
		return fmt.Sprint(len(list), " values")
	}
	return fmt.Sprint(v)
}

// expectScim fails unless a reply has this status, and the error this type.
func expectScim(t testing.TB, got reply, status int, typ string) {
	t.Helper()
	if got.StatusCode != status {
		t.Fatalf("got %d %s, want %d", got.StatusCode, got.body, status)
	}
	if status >= 400 && (field(t, got.body, "status") != fmt.Sprint(status) || field(t, got.body, "scimType") != typ || got.Header.Get("Content-Type") != "application/scim+json") {
		t.Fatalf("got %v %s, want an error of SCIM with %q", got.Header, got.body, typ)
	}
}

// The files tell, in prose and requests, what each provider sends as it documents itself. A
// line with = has the status, "keep NAME PATH" remembers a value of the answer for {NAME}, and
// any other "PATH VALUE" below it must be so.
func TestWhatProvidersSend(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/scim/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			_, d := s.connector("provider")
			steps := tell(t, d, file, map[string]string{})
			if steps < 12 {
				t.Errorf("only %d requests", steps)
			}
		})
	}
}

// tell sends what a file says; known are the values that it may name.
func tell(t *testing.T, d *device, file string, known map[string]string) (steps int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill := func(s string) string {
		for name, v := range known {
			s = strings.ReplaceAll(s, "{"+name+"}", v)
		}
		return s
	}
	var method, path, etag string
	var body strings.Builder
	var got reply
	answered := false
	for lines, n := bufio.NewScanner(f), 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		first, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case first == "GET" || first == "POST" || first == "PUT" || first == "PATCH" || first == "DELETE":
			method, path, answered = first, fill(rest), false
			body.Reset()
		case first == "=":
			if p, q, ok := strings.Cut(path, "?"); ok {
				v, err := url.ParseQuery(q)
				if err != nil {
					t.Fatal(err)
				}
				path = p + "?" + v.Encode()
			}
			var headers []string
			if want, ok := strings.CutPrefix(etag, "If-Match: "); ok {
				headers = []string{"If-Match", want}
			}
			got = d.scim(steps%2, method, path, fill(body.String()), headers...)
			steps++
			answered, etag = true, ""
			if fmt.Sprint(got.StatusCode) != fill(rest) {
				t.Fatalf("%s:%d: %s %s: got %d %s, want %s", file, n, method, path, got.StatusCode, got.body, rest)
			}
		case strings.HasPrefix(line, "If-Match: "):
			etag = line
		case !answered:
			body.WriteString(line + "\n")
		case first == "keep":
			name, at, _ := strings.Cut(rest, " ")
			if known[name] = field(t, got.body, at); known[name] == "" {
				t.Fatalf("%s:%d: %s is missing in %s", file, n, at, got.body)
			}
		default:
			if is := field(t, got.body, first); is != fill(rest) {
				t.Fatalf("%s:%d: %s is %q, want %q, in %s", file, n, first, is, fill(rest), got.body)
			}
		}
	}
	return steps
}

// federatedBrowser is one in which somebody is signed in whom a provider made, as if he had come
// back from an identity provider.
func (s *stack) federatedBrowser(login string) *browser {
	s.t.Helper()
	u, err := s.store.UserByName(s.t.Context(), login)
	if err != nil {
		s.t.Fatal(err)
	}
	b, page := s.browser(0), signin.NewSecret()
	_, err = s.store.CreateBrowserSession(s.t.Context(), store.BrowserSession{ID: ident.New(ident.BrowserSession), User: u.ID, TokenHash: hash(page),
		AuthenticatedAt: s.now(), ExpiresAt: s.now().Add(time.Hour)}, "", store.Meta{Now: s.now()})
	if err != nil {
		s.t.Fatal(err)
	}
	b.http.Jar.SetCookies(b.at, []*http.Cookie{{Name: "__Host-cardea-login", Value: page, Secure: true, Path: "/"}})
	return b
}

// federate signs a device of his in.
func (s *stack) federate(login string) *device {
	s.t.Helper()
	d := s.device(login + "'s laptop")
	code := d.approve(s.federatedBrowser(login), login).Get("code")
	in, err := d.api(0).Redeem(s.t.Context(), d.form(code))
	if err != nil {
		s.t.Fatal(err)
	}
	d.token, d.session = in.AccessToken, in.Session
	return d
}

func TestATokenOfScimOpensScimAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	for name, spoil := range map[string]func(*http.Request){
		"no token":                 func(r *http.Request) { r.Header.Del("Authorization") },
		"another token":            func(r *http.Request) { r.Header.Set("Authorization", "Bearer cardea_scim_AAAAAAAAAAAAAAAAAAAAAAAAAA") },
		"a token of another shape": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 10_000)) },
		"another scheme":           func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+d.bearer) },
		"a device's session":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+s.admin.token) },
	} {
		req := d.request(0, "GET", api.ScimPath+"/Users", "")
		spoil(req)
		got := s.send(0, req)
		expectScim(t, got, 401, "")
		if !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %v", name, got.Header)
		}
	}
	if got := d.s.send(0, d.request(0, "GET", "/v1/users", "")); got.StatusCode != 401 {
		t.Errorf("the token opens the API: %d %s", got.StatusCode, got.body)
	}
	expectScim(t, d.scim(0, "GET", "/Users", ""), 200, "")
	must[api.ScimClient](t, s.admin, "PATCH", "/v1/scim-clients/okta", api.ScimClientPatch{State: ptr("disabled")})
	expectScim(t, d.scim(1, "GET", "/Users", ""), 403, "")
	must[api.ScimClient](t, s.admin, "PATCH", "/v1/scim-clients/okta", api.ScimClientPatch{State: ptr("active")})
	rotated := must[api.ScimToken](t, s.admin, "POST", "/v1/scim-clients/okta/rotate", nil)
	expectScim(t, d.scim(1, "GET", "/Users", ""), 200, "")
	s.wait(time.Hour)
	expectScim(t, d.scim(1, "GET", "/Users", ""), 401, "")
	d.bearer = rotated.Token
	expectScim(t, d.scim(1, "GET", "/Users", ""), 200, "")
	must[api.Named](t, s.admin, "DELETE", "/v1/scim-clients/okta", nil)
	expectScim(t, d.scim(1, "GET", "/Users", ""), 401, "")
	for _, e := range s.events(audit.ScimClientCreate) {
		if raw := fmt.Sprint(e); strings.Contains(raw, "cardea_scim_") {
			t.Errorf("the audit has the token: %s", raw)
		}
	}
}

// Who is made with the id of somebody else as id, externalId or userName is a new person.
func TestNobodyIsTakenForAnotherByHisIDs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	admin := s.user("admin")
	for i, id := range []string{admin.ID, "1", s.alice.session.User} {
		body := fmt.Sprintf(`{"id":%q,"externalId":%q,"userName":"new%d@example.com","groups":[{"value":"ops"}],"meta":{"location":"x"}}`, id, id, i)
		made := d.made("Users", body)
		if made == id || ident.Check(made, ident.User) != nil {
			t.Errorf("the id is %q", made)
		}
		got := d.scim(0, "GET", "/Users/"+made, "")
		if field(t, got.body, "externalId") != id || field(t, got.body, "groups") != "" {
			t.Errorf("got %s", got.body)
		}
	}
	if now := s.user("admin"); now != admin {
		t.Errorf("the administrator is now %+v", now)
	}
	for _, id := range []string{admin.ID, s.alice.session.User, "../Users", "usr_x"} {
		for _, method := range []string{"GET", "DELETE", "PUT", "PATCH"} {
			body := ""
			switch method {
			case "PUT":
				body = `{"userName":"x@example.com","active":false}`
			case "PATCH":
				body = patch(deactivate)
			}
			if got := d.scim(0, method, "/Users/"+url.PathEscape(id), body); got.StatusCode != 404 {
				t.Errorf("%s %s: %d %s", method, id, got.StatusCode, got.body)
			}
		}
	}
	expectScim(t, d.scim(0, "POST", "/Groups", `{"displayName":"Evil","members":[{"value":"`+admin.ID+`"}]}`), 404, "")
	for _, name := range []string{"alice@example.com", "ops", "BOB"} {
		expectScim(t, d.scim(0, "POST", "/Users", `{"userName":"`+name+`"}`), 409, "uniqueness")
	}
	for _, name := range []string{"root@example.com", "a b", "x;y@example.com", "é", "@", "-o", strings.Repeat("a", 33)} {
		expectScim(t, d.scim(0, "POST", "/Users", `{"userName":"`+name+`"}`), 400, "invalidValue")
	}
	expectScim(t, d.scim(0, "POST", "/Groups", `{"displayName":"sudo"}`), 400, "invalidValue")
	expectScim(t, d.scim(0, "POST", "/Groups", `{"displayName":"Alice"}`), 409, "uniqueness")
}

func TestVersionsOfResources(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com","title":"x"}`)
	at := "/Users/" + id
	got := d.scim(0, "GET", at, "")
	if got.Header.Get("ETag") != `W/"1"` || field(t, got.body, "meta.version") != `W/"1"` {
		t.Fatalf("%v %s", got.Header, got.body)
	}
	expectScim(t, d.scim(0, "GET", at, "", "If-None-Match", `W/"1"`), 304, "")
	title := patch(`{"op":"replace","path":"title","value":"y"}`)
	expectScim(t, d.scim(0, "PATCH", at, title, "If-Match", `W/"7"`), 412, "")
	expectScim(t, d.scim(0, "PATCH", at, title, "If-Match", `"7", W/"1"`), 200, "")
	expectScim(t, d.scim(1, "GET", at, "", "If-None-Match", `W/"1"`), 200, "")
	if got := d.scim(1, "PATCH", at, title); got.Header.Get("ETag") != `W/"2"` {
		t.Errorf("what changes nothing makes a version: %v", got.Header)
	}
	expectScim(t, d.scim(0, "PUT", at, `{"userName":"carol@example.com"}`, "If-Match", `W/"1"`), 412, "")
	expectScim(t, d.scim(0, "DELETE", at, "", "If-Match", `W/"1"`), 412, "")
	expectScim(t, d.scim(0, "DELETE", at, "", "If-Match", `*`), 204, "")
	expectScim(t, d.scim(0, "GET", at, ""), 404, "")
	expectScim(t, d.scim(0, "DELETE", at, ""), 404, "")
}

// Silence on active and on members takes nobody out, and lets nobody in.
func TestWhatAReplacementDoesNotMentionStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	group := d.made("Groups", `{"displayName":"Web Users","members":[{"value":"`+id+`"}]}`)
	expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(deactivate)), 200, "")
	if got := d.scim(0, "PUT", "/Users/"+id, `{"userName":"carol@example.com","title":"x"}`); field(t, got.body, "active") != "false" {
		t.Errorf("she is back: %s", got.body)
	}
	if got := d.scim(0, "PUT", "/Groups/"+group, `{"displayName":"Web"}`); field(t, got.body, "members") != "1 values" {
		t.Errorf("got %s", got.body)
	}
	if got := d.scim(0, "PUT", "/Groups/"+group, `{"displayName":"Web","members":[]}`); field(t, got.body, "members") != "" {
		t.Errorf("got %s", got.body)
	}
}

// A user with a code that is not redeemed yet, a session and a connection that runs loses all
// of them when his provider says so.
func TestDeactivationEndsEverything(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	group := d.made("Groups", `{"displayName":"Web Users","members":[{"value":"`+id+`"}]}`)
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "web-users", Role: "user"})
	s.confirm(s.server)
	carol := s.federate("carol")
	session := s.enter(carol, "web-1")
	waiting := s.device("carol's other laptop")
	code := waiting.approve(s.federatedBrowser("carol"), "carol").Get("code")
	expectScim(t, d.scim(1, "PATCH", "/Users/"+id, patch(`{"op":"Replace","path":"active","value":"False"}`)), 200, "")
	denied(t, carol, api.SignIn, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if _, err := waiting.api(0).Redeem(t.Context(), waiting.form(code)); err == nil {
		t.Error("a code that was approved before is good")
	}
	if o := s.orders(); len(o) != 1 || o[session] == "" {
		t.Fatalf("orders %v", o)
	}
	if got := s.events(audit.UserDisable); len(got) != 1 || got[0].User != id || !strings.HasPrefix(got[0].Actor, ident.ScimClient) {
		t.Errorf("audit: %+v", got)
	}
	// And again, and out of the group between a sign-in and a connection.
	expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(`{"op":"replace","value":{"active":true}}`)), 200, "")
	carol = s.federate("carol")
	must[api.Connection](t, carol, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	expectScim(t, d.scim(0, "PATCH", "/Groups/"+group, patch(`{"op":"remove","path":"members[value eq \"`+id+`\"]"}`)), 200, "")
	if _, err := try[api.Connection](t, carol, "POST", "/v1/connect", newFresh(t).connect("web-1", "")); err == nil {
		t.Error("she connects by a group that she was taken out of")
	}
}

func TestTheLastAdministratorStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/carol", api.UserPatch{Admin: ptr(true)})
	disabled := store.Disabled
	if _, err := s.store.UpdateUser(t.Context(), s.user("admin").ID, store.UserChange{Status: &disabled}, store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(deactivate)), 409, "")
	expectScim(t, d.scim(0, "DELETE", "/Users/"+id, ""), 409, "")
	if got := s.events(audit.UserDisable); len(got) != 1 || got[0].Outcome != audit.Denied {
		t.Errorf("audit: %+v", got)
	}
}

func TestBulk(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	bulk := func(fail int, operations ...string) reply {
		return d.scim(0, "POST", "/Bulk", fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"failOnErrors":%d,"Operations":[%s]}`, fail, strings.Join(operations, ",")))
	}
	user := func(name string) string {
		return `{"method":"POST","path":"/Users","bulkId":"` + name + `","data":{"userName":"` + name + `@example.com"}}`
	}
	got := bulk(0, user("carol"), user("root"), user("dave"),
		`{"method":"POST","path":"/Groups","bulkId":"g","data":{"displayName":"Web Users","members":[{"value":"bulkId:carol"},{"value":"bulkId:dave"}]}}`,
		`{"method":"PATCH","path":"/Users/bulkId:dave","data":`+patch(deactivate)+`}`,
		`{"method":"DELETE","path":"/Users/bulkId:nobody"}`, `{"method":"GET","path":"/Users"}`)
	for i, want := range []string{"201", "400", "201", "201", "200", "400", "400"} {
		if is := field(t, got.body, fmt.Sprintf("Operations.%d.status", i)); is != want {
			t.Errorf("operation %d: %s, want %s: %s", i, is, want, got.body)
		}
	}
	list := d.scim(0, "GET", "/Groups", "")
	if field(t, list.body, "Resources.0.members") != "2 values" {
		t.Errorf("got %s", list.body)
	}
	got = bulk(1, user("root"), user("erin"))
	if field(t, got.body, "Operations") != "1 values" {
		t.Errorf("it went on: %s", got.body)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = `{"method":"DELETE","path":"/Users/usr_x"}`
	}
	expectScim(t, bulk(0, many[:100]...), 200, "")
	expectScim(t, bulk(0, many...), 413, "")
	expectScim(t, d.scim(0, "POST", "/Bulk", strings.Repeat(" ", 1<<20+1)), 413, "")
}

func TestFiltersAndPages(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	for _, name := range []string{"carol", "dave", "erin"} {
		d.made("Users", `{"userName":"`+name+`@Example.com","externalId":"X`+name+`","emails":[{"value":"`+name+`@example.com","type":"work"}]}`)
	}
	for filter, want := range map[string]string{
		`userName eq "CAROL@example.com"`:                          "1",
		`externalId eq "Xcarol"`:                                   "1",
		`externalId eq "xcarol"`:                                   "0",
		`userName sw "d" or emails.value eq "erin@example.com"`:    "2",
		`emails[type eq "work" and value co "carol"]`:              "1",
		`userName eq "carol@example.com" and externalId eq "Xa"`:   "0",
		`userName eq "carol@example.com" and active eq true`:       "1",
		`userName eq ""`:                                           "0",
		`not (userName eq "carol@example.com") and active eq true`: "2",
	} {
		got := d.scim(0, "GET", "/Users?filter="+url.QueryEscape(filter), "")
		if got.StatusCode != 200 || field(t, got.body, "totalResults") != want {
			t.Errorf("%s: %d %s, want %s", filter, got.StatusCode, got.body, want)
		}
	}
	expectScim(t, d.scim(0, "GET", "/Users?filter=userName+xx+1", ""), 400, "invalidFilter")
	got := d.scim(0, "GET", "/Users?startIndex=2&count=1&attributes=userName", "")
	if field(t, got.body, "totalResults") != "3" || field(t, got.body, "itemsPerPage") != "1" || field(t, got.body, "startIndex") != "2" || field(t, got.body, "Resources.0.emails") != "" {
		t.Errorf("got %s", got.body)
	}
	if got := d.scim(0, "GET", "/Users?count=0", ""); field(t, got.body, "totalResults") != "3" || field(t, got.body, "itemsPerPage") != "0" {
		t.Errorf("got %s", got.body)
	}
	for _, path := range []string{"/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/ResourceTypes/Group"} {
		expectScim(t, d.scim(0, "GET", path, ""), 200, "")
	}
}

// A provider fills one group over many connections at once; nobody is forgotten.
func fillAGroupAtOnce(t *testing.T, s *stack) {
	sc := sceneOn(t, s)
	_, d := sc.connector("okta")
	group := d.made("Groups", `{"displayName":"Web Users"}`)
	var users []string
	for i := range 12 {
		users = append(users, d.made("Users", fmt.Sprintf(`{"userName":"p%d@example.com"}`, i)))
	}
	var all sync.WaitGroup
	for i, id := range users {
		all.Go(func() {
			got := d.scim(i%2, "PATCH", "/Groups/"+group, patch(`{"op":"add","path":"members","value":[{"value":"`+id+`"}]}`))
			if got.StatusCode != 200 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	all.Wait()
	if got := d.scim(0, "GET", "/Groups/"+group, ""); field(t, got.body, "members") != "12 values" {
		t.Errorf("got %s", got.body)
	}
}

func TestCallsOfOneClientAreCounted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	id, d := s.connector("okta")
	_, other := s.connector("entra")
	if !s.servers[0].limits.scim.takeAll(id, s.now(), scimBurst-1) {
		t.Fatal("there is no room at all")
	}
	expectScim(t, d.scim(0, "GET", "/Users", ""), 200, "")
	got := d.scim(0, "GET", "/Users", "")
	expectScim(t, got, 429, "")
	if got.Header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", got.Header)
	}
	expectScim(t, other.scim(0, "GET", "/Users", ""), 200, "")
	s.wait(time.Second)
	expectScim(t, d.scim(0, "GET", "/Users", ""), 200, "")
}

// A body as large as it may be is read, and a resource in it that is too large is refused.
func TestTheLargestBody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, d := s.connector("okta")
	body := `{"userName":"carol@example.com"}`
	expectScim(t, d.scim(0, "POST", "/Users", body+strings.Repeat(" ", 1<<20-len(body))), 201, "")
	expectScim(t, d.scim(0, "POST", "/Users", body+strings.Repeat(" ", 1<<20-len(body)+1)), 413, "")
	long := strings.TrimSuffix(strings.Repeat(`{"value":"`+strings.Repeat("x", 4000)+`"},`, 17), ",")
	expectScim(t, d.scim(0, "POST", "/Users", `{"userName":"dave@example.com","phoneNumbers":[`+long+`]}`), 413, "")
}

// What an administrator did by hand does not make a client's word unheard.
func TestWhoIsLetInByHandIsPutOutByTheNextWordOfTheClient(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(*device, string) reply{
		"the same change once more": func(d *device, id string) reply { return d.scim(1, "PATCH", "/Users/"+id, patch(deactivate)) },
		"the whole resource": func(d *device, id string) reply {
			return d.scim(1, "PUT", "/Users/"+id, `{"userName":"carol@example.com","active":false,"title":"x"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			_, d := s.connector("okta")
			id := d.made("Users", `{"userName":"carol@example.com"}`)
			expectScim(t, d.scim(0, "PATCH", "/Users/"+id, patch(deactivate)), 200, "")
			must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/carol", api.UserPatch{Status: ptr(store.Active)})
			carol := s.federate("carol")
			expectScim(t, say(d, id), 200, "")
			if u := s.user("carol"); u.Status != store.Disabled {
				t.Errorf("she is %s", u.Status)
			}
			denied(t, carol, api.SignIn, "GET", "/v1/session", nil)
			if got := s.events(audit.UserDisable); len(got) != 2 {
				t.Errorf("audit: %+v", got)
			}
		})
	}
}

// A local account, an administrator's at that, is nobody's whom a client makes or a provider
// names, neither by its name nor by its login.
func TestNobodyBecomesALocalAccount(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	s := &scene{stack: f.stack, admin: f.admin}
	must[api.CreatedUser](t, f.admin, "POST", "/v1/users", api.NewUser{Name: "boss", Login: "bb", Admin: true})
	_, d := s.connector("okta")
	expectScim(t, d.scim(0, "POST", "/Users", `{"userName":"boss@example.com"}`), 409, "uniqueness")
	expectScim(t, d.scim(0, "POST", "/Users", `{"userName":"bb@example.com"}`), 409, "uniqueness")
	for _, n := range []string{"boss", "bb"} {
		f.provider.Claims(func(c map[string]any) { c["preferred_username"], c["sub"] = n, "sub-"+n })
		r := f.run()
		r.refused(t, r.back("op"), "taken")
	}
	if u := f.user("boss"); u.Issuer != store.LocalIssuer {
		t.Errorf("he is now %+v", u)
	}
}

// A device that waits for the yes to a typed code, which was said, is among what ends.
func TestDeactivationEndsADeviceThatWaits(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	must[api.TeamSettings](t, s.admin, "PATCH", "/v1/team/settings", api.TeamPatch{DeviceCode: ptr(true)})
	_, d := s.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	waiting, code := s.hasCode()
	b := s.federatedBrowser("carol")
	if page := b.says(request(t, b.post("/device", url.Values{"code": {code.UserCode}})), "approve"); !strings.Contains(page.body, "Signed in") {
		t.Fatalf("after the yes: %d %s", page.StatusCode, page.body)
	}
	expectScim(t, d.scim(1, "PATCH", "/Users/"+id, patch(deactivate)), 200, "")
	for i := range s.instances {
		if in, word := waiting.polls(i, code); word != "access_denied" || in.AccessToken != "" {
			t.Errorf("it gets %q %+v", word, in)
		}
		expectScim(t, d.scim(i, "PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":true}`)), 200, "")
	}
}
