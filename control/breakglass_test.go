package control

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
)

// brokenScene is a project that requires a gateway, with carol in a group of her own that
// has no grant, and dave in both groups.
func brokenScene(t *testing.T) (s *scene, carol, dave *device) {
	s = newScene(t, func(p *api.ProjectSettings) { p.Gateway = "required" })
	carol, dave = s.signIn("carol"), s.signIn("dave")
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre"})
	for _, m := range []string{"sre/members/carol", "sre/members/dave", "ops/members/dave"} {
		must[api.Member](t, s.admin, "PUT", "/v1/groups/"+m, api.NewMember{})
	}
	s.confirm(s.server)
	return s, carol, dave
}

func (s *scene) breakGlass(seconds int) api.BreakGlass {
	s.t.Helper()
	return must[api.BreakGlass](s.t, s.admin, "POST", "/v1/projects/web/break-glass", api.NewBreakGlass{Group: "sre", Role: "admin", Seconds: seconds, Reason: "all gateways are down"})
}

// states are the accounts of a desired state, with their states.
func states(d api.DesiredState) string {
	var out []string
	for _, a := range d.Accounts {
		text := a.Login + " " + a.State
		if a.Admin {
			text += " admin"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestABreakGlassReplacesTheGroupsOfAProject(t *testing.T) {
	s, carol, dave := brokenScene(t)
	f := newFresh(t)
	denied(t, carol, api.NotFound, "POST", "/v1/connect", f.connect("web-1", ""))
	before := s.confirm(s.server)
	if len(before.Sources) == 0 || states(before) != "alice active, dave active" {
		t.Fatalf("before: %s from %v", states(before), before.Sources)
	}

	b := s.breakGlass(3600)
	if !b.InForce || b.GroupName != "sre" || b.ProjectName != "web" || !b.Until.Equal(s.now().Add(time.Hour)) {
		t.Fatalf("begun: %+v", b)
	}
	running := must[api.Project](t, s.admin, "GET", "/v1/projects/web", nil).BreakGlass
	if running == nil || *running != b {
		t.Errorf("the project says %+v", running)
	}
	during := s.confirm(s.server)
	if during.Sources != nil || states(during) != "alice locked, carol active admin, dave active admin" {
		t.Errorf("during: %s from %v", states(during), during.Sources)
	}
	for _, who := range []*device{carol, dave} {
		c := must[api.Connection](t, who, "POST", "/v1/connect", f.connect("web-1", ""))
		if id := certificate(t, c.Certificate).KeyId; during.BreakGlass != b.ID || sshcert.BreakGlassOf(id) != b.ID {
			t.Errorf("the server hears of %q, and the key id %q of another", during.BreakGlass, id)
		}
		if len(c.Routes) != 1 || len(c.Routes[0].Recipients) != 0 || len(c.Ticket) != 0 {
			t.Errorf("routes %+v, want the server alone", c.Routes)
		}
		if !strings.Contains(c.Notice, "break-glass") || !strings.Contains(c.Notice, "all gateways are down") {
			t.Errorf("notice %q", c.Notice)
		}
	}
	no := denied(t, s.alice, api.Denied, "POST", "/v1/connect", f.connect("web-1", ""))
	if !strings.Contains(no.Detail, "suspends") || !strings.Contains(no.Detail, "all gateways are down") {
		t.Errorf("alice hears %q", no.Detail)
	}
	denied(t, s.bob, api.NotFound, "POST", "/v1/connect", f.connect("web-1", ""))
	events := s.events(audit.Connect)
	for _, e := range events[len(events)-4 : len(events)-1] {
		if e.Detail["break_glass"] != b.ID || e.Detail["break_glass_reason"] != b.Reason {
			t.Errorf("a connect is recorded as %+v", e)
		}
	}
	if e := events[len(events)-2]; e.Reason != "break-glass" || e.Outcome != audit.Denied {
		t.Errorf("alice's refusal is recorded as %+v", e)
	}
	if e := events[len(events)-1]; e.Detail["break_glass"] != "" {
		t.Errorf("bob's refusal is recorded as %+v", e)
	}
	if w := must[api.Why](t, carol, "GET", "/v1/why?server=web-1", nil); !w.Allow || !strings.Contains(w.Reason, "break-glass") || !w.Sudo.Everything {
		t.Errorf("why carol: %+v", w)
	}
	if w := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); w.Allow || !strings.Contains(w.Reason, "suspends") {
		t.Errorf("why alice: %+v", w)
	}

	must[api.BreakGlass](t, s.admin, "DELETE", "/v1/projects/web/break-glass", nil)
	if p := must[api.Project](t, s.admin, "GET", "/v1/projects/web", nil); p.BreakGlass != nil {
		t.Errorf("after its end the project says %+v", p.BreakGlass)
	}
	after := s.confirm(s.server)
	if fmt.Sprint(after.Sources) != fmt.Sprint(before.Sources) || states(after) != "alice active, carol locked, dave active" {
		t.Errorf("after: %s from %v", states(after), after.Sources)
	}
	for _, g := range after.Groups {
		if g.Name == "sre" {
			t.Error("the group is still there")
		}
	}
	if c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", "")); len(c.Ticket) == 0 || c.Notice != "" || sshcert.BreakGlassOf(certificate(t, c.Certificate).KeyId) != "" {
		t.Errorf("alice, after: %+v", c)
	}
	if before.BreakGlass != "" || after.BreakGlass != "" {
		t.Errorf("the server hears of %q before and %q after", before.BreakGlass, after.BreakGlass)
	}
	denied(t, carol, api.NotFound, "POST", "/v1/connect", f.connect("web-1", ""))
	ends := s.events(audit.BreakGlassEnd)
	if len(ends) != 1 || ends[0].Actor != s.user("admin").ID || ends[0].Detail["break_glass"] != b.ID {
		t.Errorf("the end is recorded as %+v", ends)
	}
	if begins := s.events(audit.BreakGlassBegin); len(begins) != 1 || begins[0].Reason != b.Reason || begins[0].Detail["group"] != b.Group {
		t.Errorf("the beginning is recorded as %+v", begins)
	}
}

// Nothing runs here: no sweep, and no agent reports.
func TestABreakGlassEndsByTheClockAlone(t *testing.T) {
	s, carol, _ := brokenScene(t)
	f := newFresh(t)
	s.breakGlass(60)
	s.confirm(s.server)
	must[api.Connection](t, carol, "POST", "/v1/connect", f.connect("web-1", ""))
	s.wait(time.Minute)
	s.report(s.gateway)
	denied(t, carol, api.Denied, "POST", "/v1/connect", f.connect("web-1", "")) // her grant is over
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	if len(c.Ticket) == 0 {
		t.Errorf("the way is %+v", c.Routes)
	}
	if c.Notice == "" {
		t.Error("nobody says that the server has not confirmed alice's account")
	}
	list := must[api.List[api.BreakGlass]](t, s.admin, "GET", "/v1/break-glass", nil)
	if len(list.Items) != 1 || list.Items[0].InForce || !list.Items[0].EndedAt.IsZero() {
		t.Errorf("listed as %+v", list.Items)
	}
	if err := s.store.Sweep(t.Context(), s.now()); err != nil {
		t.Fatal(err)
	}
	if d := s.confirm(s.server); len(d.Sources) == 0 || states(d) != "alice active, carol locked, dave active" {
		t.Errorf("after: %s from %v", states(d), d.Sources)
	}
	ends := s.events(audit.BreakGlassEnd)
	if len(ends) != 1 || ends[0].Actor != "" || ends[0].Reason == "" {
		t.Errorf("the end is recorded as %+v", ends)
	}
}

func TestTheBeginningOfABreakGlassWakesItsServers(t *testing.T) {
	s, _, _ := brokenScene(t)
	have := s.state(s.server).Version
	got := make(chan error, 1)
	go func() {
		_, err := try[api.SignedState](t, s.server.device, "GET", fmt.Sprintf("/v1/agent/state?epoch=%d&counter=%d&wait=50", have.Epoch, have.Counter), nil)
		got <- err
	}()
	s.breakGlass(600)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestTheCatalogTellsOfABreakGlass(t *testing.T) {
	s, carol, _ := brokenScene(t)
	catalog := func(who *device) []api.CatalogEntry {
		return must[api.Catalog](t, who, "GET", "/v1/catalog", nil).Servers
	}
	if got := catalog(s.alice); len(got) != 1 || got[0].BreakGlass != nil || got[0].Gateway != "required" {
		t.Fatalf("before: %+v", got)
	}
	b := s.breakGlass(600)
	got := catalog(s.alice)
	if len(got) != 1 || got[0].BreakGlass == nil || !got[0].BreakGlass.Suspended || got[0].BreakGlass.ID != b.ID || got[0].Login != "alice" {
		t.Errorf("alice: %+v", got)
	}
	got = catalog(carol)
	if len(got) != 1 || got[0].BreakGlass == nil || got[0].BreakGlass.Suspended || got[0].BreakGlass.Reason != b.Reason || got[0].Gateway != "none" {
		t.Errorf("carol: %+v", got)
	}
	if got := catalog(s.bob); len(got) != 0 {
		t.Errorf("bob: %+v", got)
	}
	s.wait(10 * time.Minute)
	if got := catalog(s.alice); len(got) != 1 || got[0].BreakGlass != nil || got[0].Gateway != "required" {
		t.Errorf("after: %+v", got)
	}
	if got := catalog(carol); len(got) != 0 {
		t.Errorf("carol, after: %+v", got)
	}
}

func TestWhatABreakGlassMayBe(t *testing.T) {
	s, _, _ := brokenScene(t)
	good := api.NewBreakGlass{Group: "sre", Seconds: 60, Reason: "why"}
	for _, c := range []struct {
		name   string
		change func(*api.NewBreakGlass)
		kind   api.Kind
	}{
		{"a second too short", func(b *api.NewBreakGlass) { b.Seconds = 59 }, api.Invalid},
		{"a second too long", func(b *api.NewBreakGlass) { b.Seconds = 72*3600 + 1 }, api.Invalid},
		{"without a reason", func(b *api.NewBreakGlass) { b.Reason = "" }, api.Invalid},
		{"a reason of 201 bytes", func(b *api.NewBreakGlass) { b.Reason = strings.Repeat("x", 201) }, api.Invalid},
		{"a reason of two lines", func(b *api.NewBreakGlass) { b.Reason = "a\nb" }, api.Invalid},
		{"a reason that moves the cursor", func(b *api.NewBreakGlass) { b.Reason = "a\x1b[2J" }, api.Invalid},
		{"another role", func(b *api.NewBreakGlass) { b.Role = "root" }, api.Invalid},
		{"a group that is not there", func(b *api.NewBreakGlass) { b.Group = ident.New(ident.UserGroup) }, api.NotFound},
	} {
		in := good
		c.change(&in)
		t.Run(c.name, func(t *testing.T) { denied(t, s.admin, c.kind, "POST", "/v1/projects/web/break-glass", in) })
	}
	good.Seconds, good.Reason = 72*3600, strings.Repeat("x", 200)
	b := must[api.BreakGlass](t, s.admin, "POST", "/v1/projects/web/break-glass", good)
	if b.Role != "user" {
		t.Errorf("role %q", b.Role)
	}
	denied(t, s.admin, api.Conflict, "POST", "/v1/projects/web/break-glass", good)
	if e := denied(t, s.admin, api.Conflict, "DELETE", "/v1/groups/sre", nil); !strings.Contains(e.Hint, "cardea admin break-glass ls") {
		t.Errorf("the group is kept, and it says %q", e)
	}
	must[api.BreakGlass](t, s.admin, "DELETE", "/v1/projects/web/break-glass", nil)
	denied(t, s.admin, api.NotFound, "DELETE", "/v1/projects/web/break-glass", nil)
	good.Seconds = 60
	must[api.BreakGlass](t, s.admin, "POST", "/v1/projects/web/break-glass", good)
}
