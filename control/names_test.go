package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
)

func (s *scene) owning(project string, suffixes ...string) {
	s.t.Helper()
	must[api.Project](s.t, s.admin, "PATCH", "/v1/projects/"+project, api.ProjectPatch{NameSuffixes: &suffixes})
}

func (s *scene) rename(server string, in api.ServerPatch) (api.Server, error) {
	s.t.Helper()
	return try[api.Server](s.t, s.admin, "PATCH", "/v1/servers/"+server, in)
}

func TestAllNamesOfAServerLeadToIt(t *testing.T) {
	s := newScene(t)
	s.owning("web", ".prod.example.com", "prod.example.com", "internal")
	if p := must[api.Project](t, s.admin, "GET", "/v1/projects/web", nil); !slices.Equal(p.NameSuffixes, []string{"prod.example.com", "internal"}) {
		t.Errorf("suffixes %q", p.NameSuffixes)
	}
	names := []string{"www", "web-1.prod.example.com", "web.internal"}
	got, err := s.rename("web-1", api.ServerPatch{AltNames: &names})
	if err != nil || !slices.Equal(got.AltNames, names) {
		t.Fatalf("%v, %v", got, err)
	}
	events := s.events(audit.ServerUpdate)
	if e := events[len(events)-1]; e.Detail["alt_names"] != strings.Join(names, ",") {
		t.Errorf("audit %+v", e)
	}
	s.confirm(s.server)
	for _, name := range append(names, "web-1", "web/www", s.server.id) {
		c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect(name, ""))
		if c.ServerID != s.server.id || c.ServerName != "web-1" {
			t.Errorf("%s leads to %s, %s", name, c.ServerID, c.ServerName)
		}
		if !strings.HasPrefix(name, "srv_") && must[api.Server](t, s.admin, "GET", "/v1/servers/"+strings.ReplaceAll(name, "/", "%2F"), nil).ID != s.server.id {
			t.Errorf("an administrator does not find %s", name)
		}
	}
	entry, _ := s.listed(s.alice, s.server.id)
	if !slices.Equal(entry.AltNames, names) {
		t.Errorf("the catalog has %q", entry.AltNames)
	}
	// A name that means two servers is not guessed, an own name no more than another.
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "data", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed"}})
	must[api.Grant](t, s.admin, "POST", "/v1/projects/data/grants", api.NewGrant{Group: "ops", Role: "user"})
	s.newServer("data", "www", nil)
	e := denied(t, s.alice, api.Ambiguous, "POST", "/v1/connect", newFresh(t).connect("www", ""))
	if !strings.Contains(e.Detail, "data/www, web/web-1") {
		t.Errorf("it says %q", e.Detail)
	}
	denied(t, s.admin, api.Ambiguous, "GET", "/v1/servers/www", nil)
	if c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web/www", "")); c.ServerID != s.server.id {
		t.Error("web/www leads elsewhere")
	}
}

// Nobody may make a server that people reach when they mean another host.
func TestNamesThatAreNotGiven(t *testing.T) {
	s := newScene(t)
	s.newServer("web", "web-2", nil)
	if _, err := s.rename("web-2", api.ServerPatch{AltNames: &[]string{"db"}}); err != nil {
		t.Fatal(err)
	}
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprint("n", i))
		}
		return names
	}
	github := "github.com"
	for name, tc := range map[string]struct {
		in   api.ServerPatch
		kind api.Kind
		says string
	}{
		"a host of the world as its own name": {api.ServerPatch{Name: &github}, api.Invalid, "--name-suffix com"},
		"a host of the world as another":      {api.ServerPatch{AltNames: &[]string{github}}, api.Invalid, "no domain that project web owns"},
		"another server's name":               {api.ServerPatch{AltNames: &[]string{"web-2"}}, api.Conflict, "web-2"},
		"another server's other name":         {api.ServerPatch{AltNames: &[]string{"x", "db"}}, api.Conflict, "db"},
		"its own name again":                  {api.ServerPatch{AltNames: &[]string{"web-1"}}, api.Invalid, "leave out one"},
		"one name twice":                      {api.ServerPatch{AltNames: &[]string{"a", "a"}}, api.Invalid, "twice"},
		"an option":                           {api.ServerPatch{AltNames: &[]string{"-oProxyCommand=id"}}, api.Invalid, "no server name"},
		"a pattern of ssh":                    {api.ServerPatch{AltNames: &[]string{"*"}}, api.Invalid, "no server name"},
		"two words":                           {api.ServerPatch{AltNames: &[]string{"a b"}}, api.Invalid, "no server name"},
		"one name too many":                   {api.ServerPatch{AltNames: new(many(ident.MaxAltNames + 1))}, api.Invalid, "at most 16"},
		"itself as bastion":                   {api.ServerPatch{Bastion: new("web-1")}, api.Invalid, "its own bastion"},
		"a bastion that there is not":         {api.ServerPatch{Bastion: new("none")}, api.NotFound, "none"},
	} {
		_, err := s.rename("web-1", tc.in)
		if e, ok := err.(*api.Error); !ok || e.Kind != tc.kind || !strings.Contains(e.Detail+e.Hint, tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := s.rename("web-1", api.ServerPatch{AltNames: new(many(ident.MaxAltNames))}); err != nil || len(got.AltNames) != ident.MaxAltNames {
		t.Errorf("as many as there may be: %v", err)
	}
	for name, in := range map[string]api.NewEnrolmentToken{
		"a host of the world":        {Kind: "server", Project: "web", Name: github},
		"a host of the world too":    {Kind: "server", Project: "web", AltNames: []string{github}},
		"one name for two machines":  {Kind: "server", Project: "web", AltNames: []string{"x"}, Uses: 2},
		"the name twice":             {Kind: "server", Project: "web", Name: "x", AltNames: []string{"x"}},
		"names of a gateway":         {Kind: "gateway", Address: "gw:1", AltNames: []string{"x"}},
		"a gateway's word on itself": {Kind: "gateway", Address: "gw:1", HostNames: true},
	} {
		if _, err := try[api.EnrolmentToken](t, s.admin, "POST", "/v1/enrolment-tokens", in); api.KindOf(err) != api.Invalid {
			t.Errorf("a token for %s: %v", name, err)
		}
	}
	for name, suffixes := range map[string][]string{
		"everybody's domain": {"com"}, "nothing": {""}, "a dot": {"."}, "a pattern": {"*.example.com"}, "an address": {"10.0.0.1"}, "a blank": {"a b.com"},
		"one too many": slices.Collect(func(yield func(string) bool) {
			for i := range 17 {
				yield(fmt.Sprintf("d%d.example.com", i))
			}
		}),
	} {
		if _, err := try[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{NameSuffixes: &suffixes}); api.KindOf(err) != api.Invalid {
			t.Errorf("%s as a suffix: %v", name, err)
		}
	}
}

func TestWhoMayBeABastion(t *testing.T) {
	s := newScene(t)
	door := s.newServer("web", "web-2", nil)
	// A bastion forwards a port, so certificates there must allow it; and it is no way
	// around the gateways of a project that requires them.
	for _, tc := range []struct {
		change api.ProjectPatch
		says   string
	}{
		{api.ProjectPatch{PortForwarding: new(false)}, "admin projects update web --port-forwarding"},
		{api.ProjectPatch{PortForwarding: new(true), Gateway: new("required")}, "--gateway allowed"},
	} {
		must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", tc.change)
		_, err := s.rename("web-1", api.ServerPatch{Bastion: new("web-2")})
		if e, ok := err.(*api.Error); !ok || e.Kind != api.Invalid || !strings.Contains(e.Hint, tc.says) {
			t.Errorf("%v", err)
		}
	}
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{Gateway: new("allowed")})
	if got, err := s.rename("web-1", api.ServerPatch{Bastion: new("web/web-2")}); err != nil || got.Bastion != door.id {
		t.Fatalf("%+v, %v", got, err)
	}
	s.confirm(s.server)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if len(c.Routes) != 1 || c.Routes[0].Bastion != door.id || len(c.Routes[0].Recipients) > 0 || len(c.Ticket) > 0 {
		t.Errorf("the way is %+v", c.Routes)
	}
	// Who is a bastion is not deleted under those who need it.
	if _, err := s.rename("web-1", api.ServerPatch{Bastion: new("web-2")}); err != nil {
		t.Fatal(err)
	}
	if e := denied(t, s.admin, api.Conflict, "DELETE", "/v1/servers/"+door.id, nil); !strings.Contains(e.Hint, "--bastion=") {
		t.Errorf("hint %q", e.Hint)
	}
}

func TestWhatAMachineProposesCountsWhereTheTokenSaysSo(t *testing.T) {
	s := newScene(t)
	s.owning("web", "prod.example.com")
	enrol := func(in api.NewEnrolmentToken, says api.ServerEnrolment) (*machine, api.Server) {
		t.Helper()
		in.Kind, in.Project = "server", "web"
		says.Secret, says.Address = s.token(in).Secret, "10.0.0.9:22"
		m := &machine{device: s.device("")}
		got := must[api.EnrolledServer](t, m.device, "POST", "/v1/servers/enrol", says)
		m.device.token, m.id, m.pinned = got.AccessToken, got.Server, got.PolicyKey
		return m, must[api.Server](t, s.admin, "GET", "/v1/servers/"+got.Server, nil)
	}
	says := api.ServerEnrolment{Hostname: "db-1.prod.example.com", AltNames: []string{"db", "db.prod.example.com", "github.com"}, Bastion: "web-1"}
	m, plain := enrol(api.NewEnrolmentToken{}, says)
	if plain.Name != "db-1" || len(plain.AltNames) > 0 || plain.Bastion != "" || plain.Proposed == nil ||
		plain.Proposed.Name != "db-1.prod.example.com" || !slices.Equal(plain.Proposed.AltNames, says.AltNames) || plain.Proposed.Bastion != "web-1" || plain.Proposed.Address != "" {
		t.Errorf("by a token that says nothing: %+v, %+v", plain, plain.Proposed)
	}
	// What it reports later is a proposal, too: an administrator makes it true.
	must[struct{}](t, m.device, "POST", "/v1/agent/report", api.AgentReport{Address: "10.0.0.10:22", AltNames: []string{"db"}})
	if got := must[api.Server](t, s.admin, "GET", "/v1/servers/db-1", nil); got.Address != "10.0.0.9:22" || got.Proposed.Address != "10.0.0.10:22" {
		t.Errorf("after a report: %+v, %+v", got, got.Proposed)
	}
	if got, err := s.rename("db-1", api.ServerPatch{Address: new("10.0.0.10:22"), AltNames: &[]string{"db"}}); err != nil || got.Proposed != nil {
		t.Errorf("made true: %+v, %v", got.Proposed, err)
	}
	must[struct{}](t, m.device, "POST", "/v1/agent/report", api.AgentReport{AltNames: []string{"*"}, Address: "127.0.0.1:22"})
	if got := must[api.Server](t, s.admin, "GET", "/v1/servers/db-1", nil); got.Proposed != nil || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], "names that the host proposes are refused") {
		t.Errorf("a pattern: %+v, %q", got.Proposed, got.Problems)
	}
	// With such a token a name that is taken refuses the whole, and no use is lost.
	hosts := api.NewEnrolmentToken{HostNames: true}
	taken := s.token(api.NewEnrolmentToken{Kind: "server", Project: "web", HostNames: true})
	says.Secret, says.Address = taken.Secret, "10.0.0.11:22"
	if e := denied(t, s.device(""), api.Conflict, "POST", "/v1/servers/enrol", says); !strings.Contains(e.Detail, "db-1.prod.example.com or db or") {
		t.Errorf("it says %q", e.Detail)
	}
	says.AltNames = []string{"db-x", "db.prod.example.com", "github.com", "db-1.prod.example.com"}
	_, own := enrol(hosts, says)
	if own.Name != "db-1.prod.example.com" || !slices.Equal(own.AltNames, []string{"db-x", "db.prod.example.com"}) || !slices.Equal(own.Proposed.AltNames, []string{"github.com"}) {
		t.Errorf("by a token that lets names count: %+v, %+v", own, own.Proposed)
	}
	_, foreign := enrol(hosts, api.ServerEnrolment{Hostname: "github.com"})
	if foreign.Name != "github" {
		t.Errorf("a machine of somebody else's domain is called %s", foreign.Name)
	}
	_, given := enrol(api.NewEnrolmentToken{Name: "given", AltNames: []string{"also", "given.prod.example.com"}}, says)
	if given.Name != "given" || !slices.Equal(given.AltNames, []string{"also", "given.prod.example.com"}) {
		t.Errorf("by a token with names: %+v", given)
	}
}
