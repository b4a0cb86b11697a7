package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const delay = 30 * 24 * 3600 // of removals, in seconds

// removing has the project remove accounts, after the delay.
func (w *world) removing(p path) {
	w.Helper()
	must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{AccountRulesChange: store.AccountRulesChange{
		Removal: ptr(store.RemovalRemove), RemovalHome: ptr("delete"), RemovalSeconds: ptr(delay)}}, w.quiet()))
}

func (w *world) leavers(p path) []store.Leaver {
	w.Helper()
	return must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Leavers
}

// demand has alice's account live an hour.
func (w *world) demand(p path) store.Demand {
	w.Helper()
	return must[store.Demand](w)(w.s.DemandAccount(w.ctx, p.server.ID, p.user.ID, w.now.Add(time.Hour), w.meta("account.demand")))
}

var lifeCases = []testCase{
	{"account rules are read back, and changed where they are not nil", func(w *world) {
		p := w.path()
		w.raises(p.project.ID, func() {
			got := must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{AccountRulesChange: store.AccountRulesChange{
				Accounts: ptr("on-demand"), AccountSeconds: ptr(600), Removal: ptr("remove"), RemovalHome: ptr("keep"), RemovalSeconds: ptr(0),
				SharedAccount: ptr("deploy"), SharedAdminAccount: ptr("boss"),
			}}, w.quiet()))
			w.equal(got.AccountRules, store.AccountRules{Accounts: "on-demand", AccountSeconds: 600, Removal: "remove", RemovalHome: "keep", SharedAccount: "deploy", SharedAdminAccount: "boss"})
			w.equal(must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)), got)
		})
		got := must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{AccountRulesChange: store.AccountRulesChange{SharedAccount: ptr("")}}, w.quiet()))
		w.equal(got.SharedAccount+"/"+got.SharedAdminAccount, "/boss")
	}},
	{"whatever may end access leaves leavers, who are over after the delay", func(w *world) {
		for _, c := range []struct {
			name   string
			end    func(p path)
			server bool
		}{
			{name: "membership", end: func(p path) { w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet())) }},
			{name: "grant", end: func(p path) { w.ok(w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet())) }},
			{name: "group", end: func(p path) { w.ok(w.s.DeleteGroup(w.ctx, p.group.ID, w.quiet())) }},
			{name: "user", end: func(p path) {
				must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
			}},
			{name: "labels", server: true, end: func(p path) {
				must[store.Server](w)(w.s.UpdateServer(w.ctx, p.server.ID, store.ServerChange{Labels: &map[string]string{"env": "test"}}, w.quiet()))
			}},
		} {
			p := w.pathOf(c.name)
			w.removing(p)
			c.end(p)
			want := store.Leaver{User: p.user.ID}
			if c.server {
				want.Server = p.server.ID
			}
			w.equal(w.leavers(p), []store.Leaver{want})
			w.now = w.now.Add(delay*time.Second - time.Microsecond)
			w.ok(w.s.Sweep(w.ctx, w.now))
			w.equal(w.leavers(p), []store.Leaver{want})
			w.now = w.now.Add(time.Microsecond)
			w.raises(p.project.ID, func() { w.ok(w.s.Sweep(w.ctx, w.now)) })
			want.Over = true
			w.equal(w.leavers(p), []store.Leaver{want})
			f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
			w.equal(len(f.Left), 1)
			w.equal(f.Left[0].UID, p.user.UID)
		}
	}},
	{"who leaves again has the whole delay again", func(w *world) {
		p := w.path()
		w.removing(p)
		for range 2 {
			w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet()))
			w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID}})
			w.now = w.now.Add(delay * time.Second)
			w.ok(w.s.Sweep(w.ctx, w.now))
			w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID, Over: true}})
			w.member(p.group, p.user, time.Time{})
		}
	}},
	{"a project that begins to remove counts from when people left; one that only locks tells of nobody", func(w *world) {
		p := w.path()
		w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet()))
		w.now = w.now.Add(delay * time.Second)
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(len(w.leavers(p)), 0)
		w.removing(p)
		w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID}})
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID, Over: true}})
		must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{AccountRulesChange: store.AccountRulesChange{RemovalSeconds: ptr(2 * delay)}}, w.quiet()))
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID}})
	}},
	{"a demand raises its server's revision alone, and one that goes on raises none", func(w *world) {
		p := w.path()
		other := w.server(p.project, "web-2")
		before := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision
		woken, project := w.s.Watch(w.ctx, store.StateTopic(p.server.ID)), w.s.Watch(w.ctx, store.ProjectTopic(p.project.ID), store.StateTopic(other.ID))
		d := w.demand(p)
		w.awake(woken)
		w.asleep(project)
		w.equal(d, store.Demand{User: p.user.ID, Until: w.now.Add(time.Hour), Revision: must[store.Team](w)(w.s.Team(w.ctx)).Revision})
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision, before)
		w.equal(must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)).Revision, d.Revision)
		w.now = w.now.Add(time.Minute)
		again := w.demand(p)
		w.equal(again, store.Demand{User: p.user.ID, Until: w.now.Add(time.Hour), Revision: d.Revision})
		w.equal(must[store.Demand](w)(w.s.DemandAccount(w.ctx, p.server.ID, p.user.ID, w.now, w.quiet())), again)
		w.equal(must[store.Demand](w)(w.s.Demand(w.ctx, p.server.ID, p.user.ID)), again)
		f := must[store.ServerFacts](w)(w.s.ServerFacts(w.ctx, p.server.ID))
		w.equal(f.Demands, []store.Demand{again})
		w.equal(f.Server, must[store.Server](w)(w.s.Server(w.ctx, p.server.ID)))
	}},
	{"the sweep ends demands whose time is over, who then leave that server", func(w *world) {
		p := w.path()
		w.removing(p)
		d := w.demand(p)
		w.now = d.Until.Add(-time.Microsecond)
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.equal(must[store.Demand](w)(w.s.Demand(w.ctx, p.server.ID, p.user.ID)), d)
		w.now = d.Until
		woken := w.s.Watch(w.ctx, store.StateTopic(p.server.ID))
		w.ok(w.s.Sweep(w.ctx, w.now))
		w.rows.Add(1)
		w.told("account.end")
		w.awake(woken)
		got := must[store.Demand](w)(w.s.Demand(w.ctx, p.server.ID, p.user.ID))
		w.equal(got, store.Demand{User: p.user.ID, Until: d.Until, Over: true, Revision: d.Revision})
		w.equal(w.leavers(p), []store.Leaver{{User: p.user.ID, Server: p.server.ID}})
		if anew := w.demand(p); anew.Revision <= d.Revision || anew.Over {
			w.Fatalf("a new demand is %+v", anew)
		}
	}},
	{"DemandAccount is ErrNotFound for an unknown server and ErrDenied for who is not active", func(w *world) {
		p := w.path()
		_, err := w.s.DemandAccount(w.ctx, "srv_none", p.user.ID, w.now.Add(time.Hour), w.quiet())
		w.want(store.ErrNotFound, err)
		must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err = w.s.DemandAccount(w.ctx, p.server.ID, p.user.ID, w.now.Add(time.Hour), w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.Demand(w.ctx, p.server.ID, p.user.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"what was removed is told for half a year and then forgotten", func(w *world) {
		p := w.path()
		w.removing(p)
		w.demand(p)
		w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet()))
		for range 3 {
			w.now = w.now.Add(200 * 24 * time.Hour)
			w.ok(w.s.Sweep(w.ctx, w.now))
		}
		w.rows.Add(1) // of the demand that ended
		w.equal(len(w.leavers(p)), 0)
		_, err := w.s.Demand(w.ctx, p.server.ID, p.user.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"a shared account has one uid for ever, and its name is nobody's login or group", func(w *world) {
		p := w.path()
		share := func(id, name string) error {
			_, err := w.s.UpdateProject(w.ctx, id, store.ProjectChange{AccountRulesChange: store.AccountRulesChange{SharedAccount: &name}}, w.quiet())
			return err
		}
		w.ok(share(p.project.ID, "deploy"))
		v := must[store.Shared](w)(w.s.SharedAccount(w.ctx, "deploy"))
		if v.UID <= p.user.UID || v.UID <= p.group.GID {
			w.Fatalf("uid %d", v.UID)
		}
		w.equal(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Shared, []store.Shared{v})
		w.ok(share(p.project.ID, ""))
		w.ok(share(w.project("db", "none").ID, "deploy"))
		w.equal(must[store.Shared](w)(w.s.SharedAccount(w.ctx, "deploy")), v)
		w.want(store.ErrExists, share(p.project.ID, p.user.Login))
		w.want(store.ErrExists, share(p.project.ID, p.group.Name))
		_, err := w.s.CreateUser(w.ctx, w.person("deploy", false), "", w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "deploy"}, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.SharedAccount(w.ctx, "nobody-here")
		w.want(store.ErrNotFound, err)
	}},
	{"RecordIssuance takes the login that the project gives a grant's role", func(w *world) {
		p := w.path()
		share := func(c store.AccountRulesChange) {
			must[store.Project](w)(w.s.UpdateProject(w.ctx, p.project.ID, store.ProjectChange{AccountRulesChange: c}, w.quiet()))
		}
		as := func(login string) error {
			v := w.issue(p)
			v.Login = login
			return w.s.RecordIssuance(w.ctx, v, w.quiet())
		}
		share(store.AccountRulesChange{SharedAdminAccount: ptr("boss")})
		w.ok(as(p.user.Login))
		w.want(store.ErrDenied, as("boss"))
		share(store.AccountRulesChange{SharedAccount: ptr("deploy")})
		w.want(store.ErrDenied, as(p.user.Login))
		w.want(store.ErrDenied, as("boss"))
		w.ok(as("deploy"))
	}},
}
