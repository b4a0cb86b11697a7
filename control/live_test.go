package control

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// enter has somebody connect through the gateway, and returns the session's id.
func (s *scene) enter(who *device, server string) string {
	s.t.Helper()
	f := newFresh(s.t)
	c := must[api.Connection](s.t, who, "POST", "/v1/connect", f.connect(server, ""))
	message, _ := s.hello(f, c)
	return must[api.Claimed](s.t, s.gateway.device, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(s.t, message).Claim, Source: "203.0.113.9:1"}).Session
}

// orders are what the gateway has to do now.
func (s *scene) orders() map[string]string {
	s.t.Helper()
	w := must[api.GatewayWatch](s.t, s.gateway.device, "GET", "/v1/gateway/watch?after=0&wait=0", nil)
	out := map[string]string{}
	for _, id := range w.End {
		out[id] = w.Reasons[id]
	}
	return out
}

// look has the second instance look after live sessions, as it does each second.
func (s *scene) look() {
	s.t.Helper()
	if err := s.servers[1].options.Store.Sweep(s.t.Context(), s.now()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.servers[1].unfounded(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// Whatever takes the way away ends who is on it, and nobody else.
func TestLosingAccessEndsLiveSessions(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(s *scene)
		why  string // a part of the sentence
	}{
		{"the grant is deleted", func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
		}, "you have no grant"},
		{"the membership is removed", func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/groups/ops/members/alice", nil)
		}, "you have no grant"},
		{"the membership is over by time", func(s *scene) {
			must[api.Member](s.t, s.admin, "PUT", "/v1/groups/ops/members/alice", api.NewMember{Until: s.now().Add(time.Minute)})
			s.look()
			if o := s.orders(); len(o) != 0 {
				s.t.Errorf("before the end: %v", o)
			}
			s.wait(time.Minute)
		}, "you have no grant"},
		{"the group is deleted", func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/groups/ops", nil)
		}, "you have no grant"},
		{"the server is disabled", func(s *scene) {
			must[api.Server](s.t, s.admin, "PATCH", "/v1/servers/web-1", json.RawMessage(`{"state":"disabled"}`))
		}, "the server was taken out of use"},
		{"the server is deleted", func(s *scene) {
			must[api.Named](s.t, s.admin, "DELETE", "/v1/servers/web-1", nil)
		}, "the server was taken out of use"},
		{"the gateway is disabled", func(s *scene) {
			must[api.Gateway](s.t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"state":"disabled"}`))
			must[api.Gateway](s.t, s.admin, "PATCH", "/v1/gateways/gw-1", json.RawMessage(`{"state":"active"}`))
		}, "the gateway was taken out of use"},
		{"the user is disabled", func(s *scene) {
			must[api.CreatedUser](s.t, s.admin, "PATCH", "/v1/users/alice", json.RawMessage(`{"status":"disabled"}`))
		}, "your sign-ins were ended"},
		{"the device is revoked", func(s *scene) {
			must[api.Named](s.t, s.admin, "POST", "/v1/devices/"+s.alice.session.Device+"/revoke", nil)
		}, "the device that it came from was revoked"},
		{"the sign-in is ended", func(s *scene) {
			must[api.Named](s.t, s.admin, "POST", "/v1/sessions/"+s.alice.session.ID+"/revoke", nil)
		}, "the sign-in that it came from was ended"},
		{"all share another account now", func(s *scene) {
			must[api.Project](s.t, s.admin, "PATCH", "/v1/projects/web", json.RawMessage(`{"shared_account":"deploy"}`))
		}, "your login is deploy"},
		{"a break-glass suspends it", func(s *scene) {
			must[api.Group](s.t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre"})
			s.breakGlass(60)
		}, "break-glass access to project web suspends your access"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			dave := s.signIn("dave")
			must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "others"})
			must[api.Member](t, s.admin, "PUT", "/v1/groups/others/members/dave", api.NewMember{})
			must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed"}})
			must[api.Grant](t, s.admin, "POST", "/v1/projects/db/grants", api.NewGrant{Group: "others", Role: "user"})
			s.confirm(s.newServer("db", "db-1", nil))
			id := s.enter(s.alice, "web-1")
			other := s.enter(dave, "db-1")
			s.look()
			if o := s.orders(); len(o) != 0 {
				t.Fatalf("before: %v", o)
			}
			c.lose(s)
			s.look()
			o := s.orders()
			if why, ordered := o[id]; !ordered || !strings.Contains(why, c.why) {
				t.Errorf("orders %v, want that of %s with %q", o, id, c.why)
			}
			if _, ordered := o[other]; ordered && c.name != "the gateway is disabled" {
				t.Error("somebody else's session was ended too")
			}
			s.look()
			if again := s.orders(); fmt.Sprint(again) != fmt.Sprint(o) {
				t.Errorf("and later %v", again)
			}
		})
	}
}

func TestASessionThatIsFoundedGoesOn(t *testing.T) {
	s := newScene(t)
	s.enter(s.alice, "web-1")
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "sre"})
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "sre", Role: "user"})
	must[api.Member](t, s.admin, "PUT", "/v1/groups/sre/members/alice", api.NewMember{})
	must[api.Named](t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil) // another lets her in
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", json.RawMessage(`{"gateway":"none"}`))
	s.wait(13 * time.Hour) // her sign-in is over, which is asked about at the door
	s.look()
	s.wait(10 * time.Second)
	s.look()
	s.report(s.gateway)
	if o := s.orders(); len(o) != 0 {
		t.Errorf("ordered: %v", o)
	}
}

// A hello that was sealed before the change is refused, although its ticket is young.
func TestATicketIsWorthlessWithoutItsGrant(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	message, _ := s.hello(f, c)
	must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops/members/alice", nil)
	denied(t, s.gateway.device, api.Denied, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:1"})
}

func TestAnAdministratorEndsLiveSessions(t *testing.T) {
	s := newScene(t)
	admin := s.user("admin").ID
	one, two := s.enter(s.alice, "web-1"), s.enter(s.alice, "web-1")
	list := func(q string) (ids []string) {
		for _, g := range must[api.List[api.GatewaySession]](t, s.admin, "GET", "/v1/gateway-sessions"+q, nil).Items {
			ids = append(ids, g.ID)
		}
		return ids
	}
	if got := list("?live=true&user=alice&server=web/web-1&project=web"); len(got) != 2 {
		t.Errorf("live: %v", got)
	}
	if got := list("?user=bob"); len(got) != 0 {
		t.Errorf("bob's: %v", got)
	}
	if got := must[api.EndedSessions](t, s.admin, "POST", "/v1/gateway-sessions/"+one+"/revoke", api.EndSession{Reason: "the change window is over"}); got.Count != 1 {
		t.Errorf("ended %d", got.Count)
	}
	if o := s.orders(); len(o) != 1 || o[one] != "the change window is over" {
		t.Errorf("orders %v", o)
	}
	if got := must[api.EndedSessions](t, s.admin, "POST", "/v1/gateway-sessions/"+one+"/revoke", api.EndSession{}); got.Count != 0 {
		t.Errorf("a second time: %d", got.Count)
	}
	orders := s.events(audit.GatewaySessionOrder)
	if len(orders) != 1 || orders[0].Actor != admin || orders[0].Reason != "the change window is over" || orders[0].Detail["gateway_session"] != one {
		t.Errorf("recorded as %+v", orders)
	}
	must[api.Named](t, s.gateway.device, "POST", "/v1/gateway/sessions/"+one+"/end", api.SessionEnd{Cause: "revoked"})
	ends := s.events(audit.GatewaySessionEnd)
	if len(ends) != 1 || ends[0].Detail["ordered_by"] != admin || ends[0].Reason != "the change window is over" {
		t.Errorf("the end is recorded as %+v", ends)
	}
	denied(t, s.admin, api.Gone, "POST", "/v1/gateway-sessions/"+one+"/revoke", api.EndSession{})
	denied(t, s.admin, api.NotFound, "POST", "/v1/gateway-sessions/"+ident.New(ident.GatewaySession)+"/revoke", api.EndSession{})
	denied(t, s.admin, api.NotFound, "POST", "/v1/gateway-sessions/nope/revoke", api.EndSession{})
	denied(t, s.admin, api.Invalid, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{})
	denied(t, s.admin, api.Invalid, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{User: "alice", Reason: "a\nb"})
	denied(t, s.admin, api.Invalid, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{User: "alice", Reason: strings.Repeat("x", 201)})
	denied(t, s.admin, api.NotFound, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{User: "nobody"})
	if got := must[api.EndedSessions](t, s.admin, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{User: "bob"}); got.Count != 0 {
		t.Errorf("bob had %d", got.Count)
	}
	if got := must[api.EndedSessions](t, s.admin, "POST", "/v1/gateway-sessions/revoke", api.EndSessions{User: "alice", Server: "web-1", Project: "web"}); got.Count != 1 {
		t.Errorf("all of alice's: %d", got.Count)
	}
	if o := s.orders(); o[two] != "an administrator ended this session" {
		t.Errorf("orders %v", o)
	}
	if orders := s.events(audit.GatewaySessionOrder); len(orders) != 2 || orders[1].User != s.user("alice").ID {
		t.Errorf("recorded as %+v", orders)
	}
}
