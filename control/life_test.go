package control

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
	"github.com/cardea-ssh/cardea/store"
	"github.com/google/go-cmp/cmp"
)

// accountsOf are the accounts of a state without ids that differ each time.
func accountsOf(d api.DesiredState) (out []string) {
	for _, a := range d.Accounts {
		words := []string{a.Login, a.State}
		for word, set := range map[string]bool{"admin": a.Admin, "idle": a.WhenIdle, "existing": a.Existing, "shared": a.Shared} {
			if set {
				words = append(words, word)
			}
		}
		if len(words) > 3 {
			words = append(words[:2], "several")
		}
		if a.Remove != "" {
			words = append(words, "remove:"+a.Remove)
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func (s *scene) wantAccounts(m *machine, want ...string) api.DesiredState {
	s.t.Helper()
	d := s.state(m)
	if diff := cmp.Diff(want, accountsOf(d)); diff != "" {
		s.t.Fatalf("accounts (-want +got):\n%s", diff)
	}
	return d
}

func (s *scene) set(p api.AccountPatch) {
	s.t.Helper()
	must[api.Project](s.t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{AccountPatch: p})
}

// pass lets time pass, and what is over end.
func (s *scene) pass(d time.Duration) {
	s.t.Helper()
	s.wait(d)
	if err := s.store.Sweep(s.t.Context(), s.now()); err != nil {
		s.t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// audited is the newest event of an action.
func (s *scene) audited(action string) audit.Event {
	s.t.Helper()
	all := s.events(action)
	if len(all) == 0 {
		s.t.Fatalf("no %s is on record", action)
	}
	return all[len(all)-1]
}

// A project that removes says so of each account by itself, when its delay is
// over, and of nobody who may enter again.
func TestAccountsThatAreRemoved(t *testing.T) {
	s := newScene(t)
	s.set(api.AccountPatch{Removal: ptr("remove"), RemovalHome: ptr("delete"), RemovalSeconds: ptr(3600)})
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
	s.wantAccounts(s.server, "alice active", "bob active")
	must[api.User](t, s.admin, "PATCH", "/v1/users/alice", api.UserPatch{Status: ptr("disabled")})
	must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops/members/bob", nil)
	s.wantAccounts(s.server, "alice locked") // an agent locks whom a state does not name
	s.pass(time.Hour - time.Second)
	s.wantAccounts(s.server, "alice locked")
	s.pass(time.Second)
	s.wantAccounts(s.server, "alice locked remove:delete", "bob locked remove:delete")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
	s.wantAccounts(s.server, "alice locked remove:delete", "bob active")
	s.set(api.AccountPatch{Removal: ptr("lock")})
	s.wantAccounts(s.server, "alice locked", "bob active")
	s.set(api.AccountPatch{Removal: ptr("remove"), RemovalHome: ptr("archive")})
	s.pass(0)
	s.wantAccounts(s.server, "alice locked remove:archive", "bob active")
}

// Bob left once, long ago, and is back for ten minutes. At their end the sweep is a
// moment late, and somebody else's change has the states made anew: what is on
// record of his first leaving must not take his home at once.
func TestAnAccountIsNotRemovedForALeavingOfBefore(t *testing.T) {
	for what, temporary := range map[string]func(*scene, time.Time){
		"a membership": func(s *scene, until time.Time) {
			must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{Until: until})
		},
		"a grant": func(s *scene, until time.Time) {
			must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "guests"})
			must[api.Member](t, s.admin, "PUT", "/v1/groups/guests/members/bob", api.NewMember{})
			must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "guests", Role: "user", Until: until})
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.set(api.AccountPatch{Removal: ptr("remove"), RemovalHome: ptr("delete"), RemovalSeconds: ptr(3600)})
			must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
			must[api.Named](t, s.admin, "DELETE", "/v1/groups/ops/members/bob", nil)
			s.pass(time.Hour)
			s.wantAccounts(s.server, "alice active", "bob locked remove:delete")
			temporary(s, s.now().Add(10*time.Minute))
			s.wantAccounts(s.server, "alice active", "bob active")

			s.wait(10 * time.Minute) // and nothing is swept
			s.set(api.AccountPatch{AccountSeconds: ptr(700)})
			s.wantAccounts(s.server, "alice active")
			s.pass(time.Hour - time.Second)
			s.wantAccounts(s.server, "alice active")
			s.pass(time.Hour)
			s.wantAccounts(s.server, "alice active", "bob locked remove:delete")
		})
	}
}

// A server whose labels change may be another grant's: those of before go there
// and nowhere else.
func TestALabelThatChangesEndsAccessOnThatServerAlone(t *testing.T) {
	s := newScene(t)
	s.set(api.AccountPatch{Removal: ptr("remove"), RemovalHome: ptr("keep"), RemovalSeconds: ptr(0)})
	must[api.Named](t, s.admin, "DELETE", "/v1/projects/web/grants/"+s.grant.ID, nil)
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "user", Selector: "env=prod"})
	one, two := s.newServer("web", "web-2", map[string]string{"env": "prod"}), s.newServer("web", "web-3", map[string]string{"env": "prod"})
	s.pass(time.Second)
	s.wantAccounts(one, "alice active")
	must[api.Server](t, s.admin, "PATCH", "/v1/servers/"+one.id, api.ServerPatch{Labels: &map[string]string{"env": "test"}})
	s.pass(time.Second)
	s.wantAccounts(one, "alice locked remove:keep")
	s.wantAccounts(two, "alice active")
}

// The first connection has the account made; the agent is woken for it and the
// answer waits; without the agent there is nothing to enter.
func TestAnAccountOnDemand(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) {
		p.Accounts, p.AccountSeconds, p.Removal, p.RemovalSeconds = "on-demand", 600, "remove", ptr(60)
	})
	other := s.newServer("web", "web-2", nil)
	s.confirm(other)
	before := s.confirm(s.server)
	if len(before.Accounts) != 0 {
		t.Fatalf("accounts before anybody came: %+v", before.Accounts)
	}

	began := time.Now()
	refused := denied(t, s.alice, api.Unavailable, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if took := time.Since(began); took < 1900*time.Millisecond || !strings.Contains(refused.Detail, "your account on server web-1 is being made") || refused.Hint != "type the same again in a moment" {
		t.Errorf("after %s: %v, %s", took, refused, refused.Hint)
	}
	s.audited(audit.AccountDemand)

	done := make(chan api.Connection, 1)
	go func() {
		c, err := try[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	d := s.wantAccounts(s.server, "alice active")
	if !before.Version.Less(d.Version) {
		t.Errorf("version %+v after %+v", d.Version, before.Version)
	}
	if got := s.confirm(s.server); got.Version != d.Version {
		t.Errorf("the version went on to %+v by itself", got.Version)
	}
	if c := <-done; c.Certificate == "" || c.Notice != "" {
		t.Errorf("the connection is %+v", c)
	}
	s.wantAccounts(other)

	s.pass(9 * time.Minute)
	must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	s.pass(9 * time.Minute)
	s.wantAccounts(s.server, "alice active")
	s.pass(time.Minute)
	s.wantAccounts(s.server, "alice locked idle")
	s.pass(time.Minute)
	s.wantAccounts(s.server, "alice locked idle remove:archive")
	go try[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	s.eventually(func() bool { return cmp.Equal(accountsOf(s.state(s.server)), []string{"alice active"}) })

	// Whoever is disabled is locked at once, whatever he is doing.
	must[api.User](t, s.admin, "PATCH", "/v1/users/alice", api.UserPatch{Status: ptr("disabled")})
	s.wantAccounts(s.server, "alice locked")
	denied(t, s.bob, api.NotFound, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
}

func (s *scene) eventually(check func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("it never came to pass")
		}
	}
}

// All who enter as user share one account, and each certificate says who it is.
func TestASharedAccount(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.SharedAccount, p.SharedAdminAccount = "deploy", "boss" })
	must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/bob", api.NewMember{})
	d := s.confirm(s.server)
	if diff := cmp.Diff([]string{"boss locked several", "deploy active shared"}, slices.Sorted(slices.Values(accountsOf(d)))); diff != "" {
		t.Fatal(diff)
	}
	ids := map[string]string{}
	for who, dev := range map[string]*device{"alice": s.alice, "bob": s.bob} {
		c := must[api.Connection](t, dev, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
		cert := certificate(t, c.Certificate)
		if c.Login != "deploy" || !cmp.Equal(cert.ValidPrincipals, []string{"deploy@" + s.server.id}) {
			t.Errorf("%s is %s with %v", who, c.Login, cert.ValidPrincipals)
		}
		ids[who] = cert.KeyId
		must[api.AgentEventsAnswer](t, s.server.device, "POST", "/v1/agent/events", api.AgentEvents{
			First: int64(len(ids)), Events: []api.AgentEvent{{Kind: "login", Login: "deploy", Serial: c.Serial, KeyID: cert.KeyId}},
		})
		e := s.audited(audit.HostLogin)
		if e.Detail["verified"] != "true" || e.User != must[api.User](t, s.admin, "GET", "/v1/users/"+who, nil).ID {
			t.Errorf("the login of %s is told as %+v", who, e)
		}
	}
	if ids["alice"] == ids["bob"] {
		t.Errorf("both are %s", ids["bob"])
	}
	if e := denied(t, s.alice, api.Denied, "POST", "/v1/connect", newFresh(t).connect("web-1", "alice")); !strings.Contains(e.Detail, "your login is deploy") {
		t.Error(e)
	}

	for _, a := range d.Accounts {
		if a.Login == "deploy" && (len(a.People) != 2 || a.Admin || a.User != "") {
			t.Errorf("deploy is %+v", a)
		}
	}
	must[api.User](t, s.admin, "PATCH", "/v1/users/bob", api.UserPatch{Status: ptr("disabled")})
	for _, a := range s.state(s.server).Accounts {
		if a.Login == "deploy" && len(a.People) != 1 {
			t.Errorf("deploy is still for %v", a.People)
		}
	}
	for what, in := range map[string]api.AccountPatch{
		"a login":            {SharedAccount: ptr("alice")},
		"a group":            {SharedAccount: ptr("ops")},
		"one for both roles": {SharedAccount: ptr("boss")},
		"a system account":   {SharedAccount: ptr("root")},
	} {
		if _, err := try[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{AccountPatch: in}); err == nil {
			t.Errorf("%s is taken for a shared account", what)
		}
	}
	denied(t, s.admin, api.Conflict, "POST", "/v1/users", api.NewUser{Name: "deploy"})
}

// meddler is a store in which something happens just before a server's facts are read.
type meddler struct {
	store.Store
	before func()
}

func (m *meddler) ServerFacts(ctx context.Context, id string) (store.ServerFacts, error) {
	if f := m.before; f != nil {
		m.before = nil
		f()
	}
	return m.Store.ServerFacts(ctx, id)
}

// A state whose version is the server's own revision has all of the project
// that came before it, whatever happens while it is put together: an agent never
// asks again for what is older than the version that it has.
func TestAStateOnDemandHasAllThatIsOlderThanItsVersion(t *testing.T) {
	s := newScene(t, func(p *api.ProjectSettings) { p.Accounts = "on-demand" })
	alice, have := s.user("alice"), s.confirm(s.server).Version
	row, err := s.store.Server(t.Context(), s.server.id)
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{Store: s.store, before: func() {
		must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "late"})
		must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "late", Role: "user"})
		if _, err := s.store.DemandAccount(t.Context(), row.ID, alice.ID, s.now().Add(time.Hour), store.Meta{Now: s.now()}); err != nil {
			t.Error(err)
		}
	}}
	if _, err := s.store.DemandAccount(t.Context(), row.ID, s.user("bob").ID, s.now().Add(time.Hour), store.Meta{Now: s.now()}); err != nil {
		t.Fatal(err)
	}
	f := fleet.Service{Store: m, Keys: s.keys, Now: s.now}
	signed, err := f.State(t.Context(), caller.Caller{Subject: store.Subject{Server: row}}, have, 0)
	if err != nil || signed == nil {
		t.Fatalf("state %v, %v", signed, err)
	}
	var d api.DesiredState
	if err := json.Unmarshal(signed.State, &d); err != nil {
		t.Fatal(err)
	}
	p, err := s.store.Project(t.Context(), s.project.ID)
	if err != nil {
		t.Fatal(err)
	}
	late := slices.ContainsFunc(d.Groups, func(g api.AccountGroup) bool { return g.Name == "late" })
	if d.Version.Counter <= p.Revision || !late {
		t.Errorf("version %d, the project's is %d; the group is there: %v", d.Version.Counter, p.Revision, late)
	}
}
