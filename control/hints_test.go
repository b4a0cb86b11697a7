package control

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Whoever is refused reads what to type next; the sentence names what he named,
// and never moves his cursor.
func TestEveryRefusalSaysWhatToTypeNext(t *testing.T) {
	s := newScene(t)
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, c := range []struct {
		name, method, path string
		in                 any
		kind               api.Kind
		detail, hint       string
	}{
		{"an unknown user", "GET", "/v1/users/nobody", nil, api.NotFound, `no user "nobody"`, "cardea admin users list"},
		{"a user by an unknown id", "GET", "/v1/users/" + ident.New(ident.User), nil, api.NotFound, "no user", "cardea admin users list"},
		{"an escape as a name", "GET", "/v1/users/a%1b%5b2J", nil, api.NotFound, `a\\x1b[2J`, "cardea admin users list"},
		{"an unknown group", "DELETE", "/v1/groups/nobody", nil, api.NotFound, `no group "nobody"`, "cardea admin groups list"},
		{"an unknown member", "PUT", "/v1/groups/ops/members/nobody", raw(`{}`), api.NotFound, `no user "nobody"`, "cardea admin users list"},
		{"an unknown project", "PATCH", "/v1/projects/nope", raw(`{}`), api.NotFound, `no project "nope"`, "cardea admin projects list"},
		{"servers of an unknown project", "GET", "/v1/servers?project=nope", nil, api.NotFound, `no project "nope"`, "cardea admin projects list"},
		{"an unknown grant", "DELETE", "/v1/projects/web/grants/nope", nil, api.NotFound, `no grant "nope"`, "cardea admin grants list web"},
		{"an unknown server", "PATCH", "/v1/servers/web-9", raw(`{"state":"disabled"}`), api.NotFound, `no server "web-9"`, "cardea admin servers list"},
		{"an unknown server of a project", "GET", "/v1/servers/web%2Fweb-9", nil, api.NotFound, `no server "web-9"`, "cardea admin servers list"},
		{"an unknown gateway", "DELETE", "/v1/gateways/gw-9", nil, api.NotFound, `no gateway "gw-9"`, "cardea admin gateways list"},
		{"an unknown token", "DELETE", "/v1/enrolment-tokens/nope", nil, api.NotFound, `no token "nope"`, "cardea admin tokens list"},
		{"a project that has servers", "DELETE", "/v1/projects/web", nil, api.Conflict, "still has servers", "cardea admin servers list --project web"},
		{"a taken user name", "POST", "/v1/users", api.NewUser{Name: "alice"}, api.Conflict, `"alice"`, "--login"},
		{"a name that is no login", "POST", "/v1/users", api.NewUser{Name: "alice@example.com"}, api.Invalid, "--login", ""},
		{"a token for no project", "POST", "/v1/enrolment-tokens", raw(`{"kind":"server"}`), api.Invalid, "project", "cardea admin projects list"},
		{"a gateway token without an address", "POST", "/v1/enrolment-tokens", raw(`{"kind":"gateway","name":"gw-5"}`), api.Invalid, "address", "--address"},
		{"a gateway token with a name that is taken", "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "gateway", Name: "gw-1", Address: "192.0.2.8:7234"}, api.Conflict, "a gateway named gw-1", "cardea admin gateways delete gw-1"},
		{"a gateway's address without a port", "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "gateway", Name: "gw-5", Address: "gw.example.com"}, api.Invalid, "for example gw.example.com:7234", ""},
		{"a gateway's address inside TLS without a port", "PATCH", "/v1/gateways/gw-1", raw(`{"tls_address":"gw"}`), api.Invalid, "for example gw.example.com:443", ""},
		{"a gateway's new address without a port", "PATCH", "/v1/gateways/gw-1", raw(`{"address":"gw"}`), api.Invalid, "for example gw.example.com:7234", ""},
		{"a server's address without a port", "PATCH", "/v1/servers/web-1", raw(`{"address":"10.0.0.7"}`), api.Invalid, "for example 10.0.0.7:22", ""},
		{"a membership that is over", "PUT", "/v1/groups/ops/members/bob", api.NewMember{Until: s.now().Add(-time.Hour)}, api.Invalid, "in the past", "a time to come"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := denied(t, s.admin, c.kind, c.method, c.path, c.in)
			if !strings.Contains(e.Detail, c.detail) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%q; %q, want %q and %q", e.Detail, e.Hint, c.detail, c.hint)
			}
			if text := e.Error(); strings.ContainsAny(text, "\x1b\n\r") || strings.HasSuffix(text, ".") || strings.Contains(text, "%!") {
				t.Errorf("%q", text)
			}
		})
	}
}

// Lists come in pages, and names serve wherever ids do.
func TestTheDirectoryReadsBackWhatWasWritten(t *testing.T) {
	s := newScene(t)
	for i := range 5 {
		must[api.CreatedUser](t, s.admin, "POST", "/v1/users", api.NewUser{Name: fmt.Sprintf("u%d@example.com", i), Login: fmt.Sprintf("u%d", i), FullName: "Ünal Ö", Email: "u@example.com"})
	}
	seen, cursor := map[string]bool{}, ""
	for range 10 {
		p := must[api.List[api.User]](t, s.admin, "GET", "/v1/users"+query("limit", "3", "cursor", cursor), nil)
		for _, u := range p.Items {
			if seen[u.ID] || len(p.Items) > 3 {
				t.Errorf("%s came twice, or %d rows in a page of 3", u.Name, len(p.Items))
			}
			seen[u.ID] = true
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d users in all pages, want 8", len(seen))
	}
	u := must[api.User](t, s.admin, "GET", "/v1/users/u1@example.com", nil)
	if u.Login != "u1" || u.FullName != "Ünal Ö" || u.Status != "active" {
		t.Errorf("got %+v", u)
	}
	changed := must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/"+u.ID, json.RawMessage(`{"full_name":"","password":""}`))
	if changed.FullName != "" || len(changed.Password) < 20 || changed.Login != "u1" {
		t.Errorf("changed %+v", changed.User)
	}
	until := s.now().Add(time.Hour)
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/u1@example.com", api.NewMember{Until: until})
	members := must[api.List[api.Member]](t, s.admin, "GET", "/v1/groups/ops/members", nil)
	if len(members.Items) != 2 {
		t.Fatalf("members %+v", members)
	}
	for _, m := range members.Items {
		if m.User == u.ID && (!m.Until.Equal(until) || m.UserName != "u1@example.com") {
			t.Errorf("member %+v", m)
		}
	}
	p := must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", json.RawMessage(`{"gateway":"required","gateway_selector":"region=eu","certificate_seconds":600,"agent_forwarding":true}`))
	if p.Gateway != "required" || p.GatewaySelector != "region=eu" || p.CertificateSeconds != 600 || !p.AgentForwarding || p.PortForwarding || p.UserCA != s.project.UserCA {
		t.Errorf("project %+v", p)
	}
	if list := must[api.List[api.Project]](t, s.admin, "GET", "/v1/projects", nil); len(list.Items) != 1 || list.Items[0].UserCA != s.project.UserCA {
		t.Errorf("projects %+v", list)
	}
	grants := must[api.List[api.Grant]](t, s.admin, "GET", "/v1/projects/web/grants", nil)
	if len(grants.Items) != 1 || grants.Items[0].GroupName != "ops" || grants.Items[0].ID != s.grant.ID {
		t.Errorf("grants %+v", grants)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops", nil)
	if grants := must[api.List[api.Grant]](t, s.admin, "GET", "/v1/projects/web/grants", nil); len(grants.Items) != 0 {
		t.Errorf("the group is gone, its grants are not: %+v", grants)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/servers/web-1", nil)
	must[api.Named](t, s.admin, "DELETE", "/v1/projects/web", nil)
	denied(t, s.admin, api.NotFound, "GET", "/v1/projects/web", nil)
}

// A call that is sent again with its key happens once, and what was told once is
// not told again.
func TestARepeatedCallMakesNothingNew(t *testing.T) {
	s := newScene(t)
	repeat := func(method, path, body string) (first, second reply) {
		t.Helper()
		send := func() reply {
			req := s.admin.request(0, method, path, body)
			req.Header.Set(api.HeaderIdempotency, "key-of-"+strings.NewReplacer("/", "-", "@", "-").Replace(path))
			return s.send(0, req)
		}
		return send(), send()
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/groups", `{"name":"dba"}`},
		{"POST", "/v1/projects", `{"name":"db","certificate_seconds":60,"gateway":"none","port_forwarding":false,"agent_forwarding":false}`},
		{"POST", "/v1/projects/web/grants", `{"group":"ops","role":"admin"}`},
		{"PATCH", "/v1/users/alice", `{"full_name":"Alice"}`},
		{"PATCH", "/v1/servers/web-1", `{"labels":{"env":"prod"}}`},
		{"PATCH", "/v1/gateways/gw-1", `{"labels":{"region":"eu"}}`},
		{"DELETE", "/v1/groups/ops/members/alice", ""},
	} {
		first, second := repeat(c.method, c.path, c.body)
		if first.StatusCode != 200 || second.StatusCode != 200 || first.body != second.body {
			t.Errorf("%s %s: %d %s, then %d %s", c.method, c.path, first.StatusCode, first.body, second.StatusCode, second.body)
		}
	}
	for path, body := range map[string]string{"/v1/users": `{"name":"carol"}`, "/v1/enrolment-tokens": `{"kind":"server","project":"web"}`} {
		first, second := repeat("POST", path, body)
		if first.StatusCode != 200 || second.StatusCode != 409 || !strings.Contains(second.body, "first try") {
			t.Errorf("%s: %d, then %d %s", path, first.StatusCode, second.StatusCode, second.body)
		}
	}
}
