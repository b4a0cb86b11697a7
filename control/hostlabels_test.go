package control

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// says has the server's agent tell labels of its host.
func (s *scene) says(m *machine, labels map[string]string) {
	s.t.Helper()
	must[struct{}](s.t, m.device, "POST", "/v1/agent/report", api.AgentReport{HostLabels: &labels})
}

func (s *scene) listed(d *device, id string) (api.CatalogEntry, bool) {
	s.t.Helper()
	for _, e := range must[api.Catalog](s.t, d, "GET", "/v1/catalog", nil).Servers {
		if e.ID == id {
			return e, true
		}
	}
	return api.CatalogEntry{}, false
}

func TestAHostsLabelsAreShownWhileTheyHold(t *testing.T) {
	s := newScene(t)
	s.says(s.server, map[string]string{"os": "debian", "host/role": "db"})
	server := must[api.Server](t, s.admin, "GET", "/v1/servers/web-1", nil)
	entry, _ := s.listed(s.alice, server.ID)
	for _, labels := range []map[string]string{server.Labels, entry.Labels} {
		if labels["host/os"] != "debian" || labels["host/role"] != "db" || labels["os"] != "" {
			t.Errorf("labels %v", labels)
		}
	}
	version := s.state(s.server).Version
	s.says(s.server, map[string]string{"os": "debian"})
	must[struct{}](t, s.server.device, "POST", "/v1/agent/report", api.AgentReport{}) // of an agent that says nothing of labels
	if entry, _ = s.listed(s.alice, server.ID); entry.Labels["host/os"] != "debian" || entry.Labels["host/role"] != "" {
		t.Errorf("labels %v", entry.Labels)
	}
	s.says(s.server, map[string]string{})
	if entry, _ = s.listed(s.alice, server.ID); entry.Labels["host/os"] != "" {
		t.Errorf("labels %v", entry.Labels)
	}
	if v := s.state(s.server).Version; v != version {
		t.Errorf("what a host says made a new state: %v, before %v", v, version)
	}
}

// Mallory has taken a server over and is its agent now. Whatever it says of
// itself, nobody more gets in, and no rule can be written that would trust it.
func TestAServerThatWasTakenOverCannotCallItselfProduction(t *testing.T) {
	s := newScene(t)
	must[api.Named](t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "admin", Selector: "env=prod"})
	other := s.newServer("web", "web-9", map[string]string{"env": "dev"})
	server := must[api.Server](t, s.admin, "GET", "/v1/servers/web-9", nil)
	for _, labels := range []map[string]string{{"env": "prod"}, {"host/env": "prod"}, {"host/host/env": "prod"}, {"../env": "prod"}, {"env": "prod,env=prod"}} {
		s.says(other, labels)
		if e, there := s.listed(s.alice, server.ID); there {
			t.Errorf("with %v alice reaches it: %+v", labels, e)
		}
		for _, a := range s.state(other).Accounts {
			if a.State == "active" {
				t.Errorf("with %v it gets the account %+v", labels, a)
			}
		}
		denied(t, s.alice, api.NotFound, "POST", "/v1/connect", newFresh(t).connect("web-9", ""))
	}
	host := "host/env=prod"
	grant := denied(t, s.admin, api.Invalid, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "admin", Selector: host})
	gateways := denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{GatewaySelector: &host})
	given := denied(t, s.admin, api.Invalid, "PATCH", "/v1/servers/web-9", api.ServerPatch{Labels: &map[string]string{"host/env": "prod"}})
	for _, e := range []*api.Error{grant, gateways, given} {
		if !strings.Contains(e.Detail, "what a server says about itself") {
			t.Errorf("refused with %q", e.Detail)
		}
	}
}

func TestAReportWithLabelsThatAreNoneIsTakenWithoutThem(t *testing.T) {
	s := newScene(t)
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	s.says(s.server, many(ident.MaxLabels))
	show := func() api.Server { return must[api.Server](t, s.admin, "GET", "/v1/servers/web-1", nil) }
	if n := len(show().Labels); n < ident.MaxLabels || len(show().Problems) > 0 {
		t.Fatalf("at the limit: %d labels, %q", n, show().Problems)
	}
	held := show().Labels
	for name, labels := range map[string]map[string]string{
		"one too many":             many(ident.MaxLabels + 1),
		"a key that is too long":   {strings.Repeat("k", ident.MaxLabelKey+1): "v"},
		"a value that is too long": {"k": strings.Repeat("v", ident.MaxLabelValue+1)},
		"an empty value":           {"k": ""},
		"an escape":                {"k": "\x1b[2J"},
		"the same key twice":       {"k": "a", "host/k": "b"},
	} {
		version := s.state(s.server).Version
		must[struct{}](t, s.server.device, "POST", "/v1/agent/report", api.AgentReport{Confirmed: version, HostLabels: &labels, Problems: []string{"a disk is full"}})
		got := show()
		if len(got.Labels) != len(held) || got.Confirmed != version || len(got.Problems) != 2 || !strings.Contains(got.Problems[1], "labels that the host gives itself are refused") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	s.says(s.server, map[string]string{strings.Repeat("k", ident.MaxLabelKey): strings.Repeat("v", ident.MaxLabelValue)})
	if got := show(); len(got.Problems) > 0 || got.Labels["host/"+strings.Repeat("k", ident.MaxLabelKey)] == "" {
		t.Errorf("the longest: %+v", got)
	}
}

// Mallory's server changes its labels with each report, to have the catalogs of
// everybody made and sent again and again.
func TestLabelsThatChangeAllTheTimeAreNotTakenAllTheTime(t *testing.T) {
	s := newScene(t)
	said := func() string {
		return must[api.Server](t, s.admin, "GET", "/v1/servers/web-1", nil).Labels["host/n"]
	}
	for i := range 10 {
		s.says(s.server, map[string]string{"n": fmt.Sprint(i)})
		if got := said(); got != fmt.Sprint(i) {
			t.Fatalf("change %d: it says %q", i, got)
		}
	}
	s.says(s.server, map[string]string{"n": "10"})
	if got := said(); got != "9" {
		t.Errorf("at once after ten changes it says %q", got)
	}
	s.says(s.server, map[string]string{"n": "9"}) // what is no change is none
	s.wait(time.Minute)
	s.says(s.server, map[string]string{"n": "10"})
	if got := said(); got != "10" {
		t.Errorf("a minute later it says %q", got)
	}
}
