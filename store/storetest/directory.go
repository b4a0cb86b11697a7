package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

var teamCases = []testCase{
	{"CreateTeam makes the team, its keys and the first administrator, who gets the first uid", func(w *world) {
		team := must[store.Team](w)(w.s.Team(w.ctx))
		w.equal(team.Name, "demo")
		w.equal(w.admin.UID, store.FirstID)
		w.equal(w.admin.Admin, true)
		u, hash, err := w.s.Credential(w.ctx, "admin")
		w.ok(err)
		w.equal(hash, "hash of admin")
		w.equal(u, w.admin)
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, "", ""))), 2)
	}},
	{"CreateTeam a second time is ErrExists", func(w *world) {
		_, err := w.s.CreateTeam(w.ctx, store.Team{ID: ident.New(ident.Team), Name: "other"}, nil, w.person("other", true), "", w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.UserByName(w.ctx, "other")
		w.want(store.ErrNotFound, err)
	}},
	{"Keys are those of scope and purpose that are not retired, active ones first, newest first", func(w *world) {
		p := w.project("web", "none")
		keys := must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, "user-ca"))
		w.equal(len(keys), 1)
		w.equal(keys[0].Scope, p.ID)
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, "team", ""))), 2)
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, "", "policy"))), 1)
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, "policy"))), 0)
		w.ok(w.s.DeleteProject(w.ctx, p.ID, w.quiet()))
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, ""))), 0)
	}},
}

var userCases = []testCase{
	{"CreateUser gives the uid, and everything is read back", func(w *world) {
		in := w.person("alice", false)
		u := must[store.User](w)(w.s.CreateUser(w.ctx, in, "hash", w.meta("user.create")))
		in.UID, in.Revision = store.FirstID+1, u.Revision
		w.equal(u, in)
		w.equal(must[store.User](w)(w.s.User(w.ctx, u.ID)), u)
		w.equal(must[store.User](w)(w.s.UserByName(w.ctx, "alice")), u)
		w.logged("user.create")
	}},
	{"CreateUser is ErrExists for a taken name, login or identity", func(w *world) {
		a := w.user("alice")
		for _, change := range []func(*store.User){
			func(u *store.User) { u.Name = a.Name },
			func(u *store.User) { u.Login = a.Login },
			func(u *store.User) { u.Issuer, u.Subject = a.Issuer, a.Subject },
			func(u *store.User) { u.ID = a.ID },
		} {
			u := w.person("bob", false)
			change(&u)
			_, err := w.s.CreateUser(w.ctx, u, "", w.quiet())
			w.want(store.ErrExists, err)
		}
		w.user("bob")
	}},
	{"users and groups share one counter, which only rises", func(w *world) {
		a, g, b := w.user("alice"), w.group("ops"), w.user("bob")
		w.equal([]int{a.UID, g.GID, b.UID}, []int{store.FirstID + 1, store.FirstID + 2, store.FirstID + 3})
		w.ok(w.s.DeleteGroup(w.ctx, g.ID, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, b.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		w.equal(w.group("dev").GID, store.FirstID+4)
	}},
	{"a deleted user's name is free, its login and identity are not", func(w *world) {
		a := w.user("alice")
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		_, err := w.s.UserByName(w.ctx, "alice")
		w.want(store.ErrNotFound, err)
		_, _, err = w.s.Credential(w.ctx, "alice")
		w.want(store.ErrNotFound, err)
		_, err = w.s.CreateUser(w.ctx, w.person("alice", false), "", w.quiet())
		w.want(store.ErrExists, err)
		u := w.person("alice", false)
		u.Login = "alice2"
		must[store.User](w)(w.s.CreateUser(w.ctx, u, "", w.quiet()))
		w.equal(must[store.User](w)(w.s.User(w.ctx, a.ID)).Status, store.Deleted)
	}},
	{"any change to a deleted user is ErrDenied", func(w *world) {
		a := w.user("alice")
		g := w.group("ops")
		must[store.User](w)(w.s.UpdateUser(w.ctx, a.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		_, err := w.s.UpdateUser(w.ctx, a.ID, store.UserChange{Status: ptr(store.Active)}, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrDenied, w.s.PutMember(w.ctx, store.Member{Group: g.ID, User: a.ID}, w.quiet()))
	}},
	{"UpdateUser of an unknown one is ErrNotFound", func(w *world) {
		_, err := w.s.UpdateUser(w.ctx, "usr_none", store.UserChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"UpdateUser changes what is not nil", func(w *world) {
		a := w.user("alice")
		u := must[store.User](w)(w.s.UpdateUser(w.ctx, a.ID, store.UserChange{Email: ptr("new@example.com"), Admin: ptr(true), PasswordHash: ptr("new")}, w.quiet()))
		a.Email, a.Admin = "new@example.com", true
		w.equal(u, a)
		read, hash, err := w.s.Credential(w.ctx, "alice")
		w.ok(err)
		w.equal(read, a)
		w.equal(hash, "new")
	}},
	{"the last active administrator stays", func(w *world) {
		for _, c := range []store.UserChange{{Admin: ptr(false)}, {Status: ptr(store.Disabled)}, {Status: ptr(store.Deleted)}} {
			_, err := w.s.UpdateUser(w.ctx, w.admin.ID, c, w.quiet())
			w.want(store.ErrLastAdmin, err)
		}
		b := must[store.User](w)(w.s.CreateUser(w.ctx, w.person("bob", true), "", w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, b.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.UpdateUser(w.ctx, w.admin.ID, store.UserChange{Admin: ptr(false)}, w.quiet())
		w.want(store.ErrLastAdmin, err) // a disabled one does not count
		must[store.User](w)(w.s.UpdateUser(w.ctx, b.ID, store.UserChange{Status: ptr(store.Active)}, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, w.admin.ID, store.UserChange{Admin: ptr(false)}, w.quiet()))
	}},
	{"disabling revokes the sessions and orders the end of the gateway sessions", func(w *world) {
		p := w.path()
		h := w.session(p)
		w.browser(p.user)
		must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.meta("user.disable")))
		x := must[store.Session](w)(w.s.Session(w.ctx, p.subject.Session.ID))
		w.equal(x.RevokedAt, w.now)
		ids, highest, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		w.equal(highest, int64(1))
		_, _, err = w.s.BrowserSession(w.ctx, sum("page"), w.now)
		w.want(store.ErrNotFound, err)
	}},
	{"a new password ends all that the old one began, and nothing of others", func(w *world) {
		p := w.path()
		h := w.session(p)
		w.browser(p.user)
		other := w.signIn(w.admin)
		code := w.approved(p.user, "new key")
		must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{PasswordHash: ptr("new")}, w.meta("user.password")))
		_, _, err := w.s.BrowserSession(w.ctx, sum("page"), w.now)
		w.want(store.ErrNotFound, err)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, p.subject.Session.ID)).RevokedAt, w.now)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, other.Session.ID)).RevokedAt.IsZero(), true)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		_, err = w.s.Redeem(w.ctx, code, w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"memberships of a disabled user stay, so that agents are told to lock the account", func(w *world) {
		p := w.path()
		must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(len(f.Members), 1)
		w.equal(f.Users[0].Status, store.Disabled)
	}},
	{"a change that agents must know raises the revision of user and projects", func(w *world) {
		p := w.path()
		other := w.project("other", "none")
		for _, c := range []store.UserChange{{Status: ptr(store.Disabled)}, {Status: ptr(store.Active)}, {FullName: ptr("New Name")}} {
			w.raises(p.project.ID, func() { must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, c, w.quiet())) })
			u := must[store.User](w)(w.s.User(w.ctx, p.user.ID))
			w.equal(u.Revision, must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision)
		}
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, other.ID)).Revision, other.Revision)
	}},
	{"a change that agents need not know raises nothing", func(w *world) {
		p := w.path()
		before := must[store.Team](w)(w.s.Team(w.ctx))
		must[store.User](w)(w.s.UpdateUser(w.ctx, p.user.ID, store.UserChange{Email: ptr("x"), PasswordHash: ptr("y"), FullName: ptr(p.user.FullName)}, w.quiet()))
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)), before)
	}},
}

// browser signs a user in to the pages, with the token "page".
func (w *world) browser(u store.User) {
	w.Helper()
	w.page(u, sum("page"))
}

// page signs a user in to the pages with a token of its own.
func (w *world) page(u store.User, token []byte) {
	w.Helper()
	hash := "" // of whom an identity provider keeps
	if u.Issuer == "local" {
		var err error
		_, hash, err = w.s.Credential(w.ctx, u.Name)
		w.ok(err)
	}
	must[store.BrowserSession](w)(w.s.CreateBrowserSession(w.ctx, store.BrowserSession{ID: ident.New(ident.BrowserSession), User: u.ID, TokenHash: token,
		AuthenticatedAt: w.now, ExpiresAt: w.now.Add(time.Hour)}, hash, w.quiet()))
}

// raises fails unless the team and the project take a new, equal revision and
// those who watch the project are woken.
func (w *world) raises(project string, change func()) {
	w.Helper()
	before := must[store.Team](w)(w.s.Team(w.ctx)).Revision
	woken := w.s.Watch(w.ctx, store.ProjectTopic(project))
	change()
	after := must[store.Team](w)(w.s.Team(w.ctx)).Revision
	if after <= before {
		w.Fatalf("the team's revision stayed at %d", after)
	}
	w.equal(must[store.Project](w)(w.s.Project(w.ctx, project)).Revision, after)
	w.awake(woken)
}

// awake fails unless the channel closes within a second.
func (w *world) awake(ch <-chan struct{}) {
	w.Helper()
	select {
	case <-ch:
	case <-time.After(time.Second):
		w.Fatal("the watch was not woken within a second")
	}
}

var groupCases = []testCase{
	{"a group is read back by id and by name, and its name is unique", func(w *world) {
		g := w.group("ops")
		w.equal(must[store.Group](w)(w.s.Group(w.ctx, g.ID)), g)
		w.equal(must[store.Group](w)(w.s.GroupByName(w.ctx, "ops")), g)
		_, err := w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "ops"}, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.Group(w.ctx, "grp_none")
		w.want(store.ErrNotFound, err)
	}},
	{"DeleteGroup removes its memberships and grants with it", func(w *world) {
		p := w.path()
		alice := w.s.Watch(w.ctx, store.UserTopic(p.user.ID))
		w.raises(p.project.ID, func() { w.ok(w.s.DeleteGroup(w.ctx, p.group.ID, w.meta("group.delete"))) })
		w.awake(alice)
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(len(f.Grants)+len(f.Groups)+len(f.Members)+len(f.Users), 0)
		w.want(store.ErrNotFound, w.s.DeleteGroup(w.ctx, p.group.ID, w.quiet()))
	}},
	{"PutMember adds a membership or changes its end, with revision and wake-ups", func(w *world) {
		p := w.path()
		bob := w.user("bob")
		for _, until := range []time.Time{{}, w.now.Add(time.Hour)} {
			watch := w.s.Watch(w.ctx, store.UserTopic(bob.ID))
			w.raises(p.project.ID, func() { w.member(p.group, bob, until) })
			w.awake(watch)
		}
		f := must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID))
		w.equal(f.Members[1], store.Member{Group: p.group.ID, User: bob.ID, UserName: "bob", Until: w.now.Add(time.Hour), Revision: f.Project.Revision})
	}},
	{"PutMember is ErrNotFound for an unknown group or user", func(w *world) {
		g := w.group("ops")
		w.want(store.ErrNotFound, w.s.PutMember(w.ctx, store.Member{Group: g.ID, User: "usr_none"}, w.quiet()))
		w.want(store.ErrNotFound, w.s.PutMember(w.ctx, store.Member{Group: "grp_none", User: w.admin.ID}, w.quiet()))
	}},
	{"RemoveMember ends it, once", func(w *world) {
		p := w.path()
		w.raises(p.project.ID, func() { w.ok(w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet())) })
		w.want(store.ErrNotFound, w.s.RemoveMember(w.ctx, p.group.ID, p.user.ID, w.quiet()))
	}},
}

var projectCases = []testCase{
	{"CreateProject stores the project with its user CA, and everything is read back", func(w *world) {
		p := w.project("web", "allowed")
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, p.ID)), p)
		w.equal(must[store.Project](w)(w.s.ProjectByName(w.ctx, "web")), p)
		w.equal(len(must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, "user-ca"))), 1)
	}},
	{"CreateProject is ErrExists for a taken name or a key whose fingerprint is known", func(w *world) {
		p := w.project("web", "none")
		key := must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, ""))[0]
		v := store.Project{ID: ident.New(ident.Project), Name: "web"}
		_, err := w.s.CreateProject(w.ctx, v, w.key(v.ID, "user-ca"), w.quiet())
		w.want(store.ErrExists, err)
		v.Name = "db"
		stolen := w.key(v.ID, "user-ca")
		stolen.Fingerprint = key.Fingerprint
		_, err = w.s.CreateProject(w.ctx, v, stolen, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.ProjectByName(w.ctx, "db")
		w.want(store.ErrNotFound, err)
	}},
	{"a retired key of a deleted project cannot come back", func(w *world) {
		p := w.project("web", "none")
		key := must[[]store.Key](w)(w.s.Keys(w.ctx, p.ID, ""))[0]
		w.ok(w.s.DeleteProject(w.ctx, p.ID, w.quiet()))
		v := store.Project{ID: ident.New(ident.Project), Name: "web"}
		key.ID, key.Scope = ident.New(ident.Key), v.ID
		_, err := w.s.CreateProject(w.ctx, v, key, w.quiet())
		w.want(store.ErrExists, err)
	}},
	{"UpdateProject changes what is not nil and raises its revision", func(w *world) {
		p := w.project("web", "none")
		w.raises(p.ID, func() {
			got := must[store.Project](w)(w.s.UpdateProject(w.ctx, p.ID, store.ProjectChange{CertificateSeconds: ptr(60), Gateway: ptr("required"), AgentForwarding: ptr(true), NameSuffixes: &[]string{"a.example.com"}}, w.quiet()))
			p.CertificateSeconds, p.Gateway, p.AgentForwarding, p.NameSuffixes, p.Revision = 60, "required", true, []string{"a.example.com"}, got.Revision
			w.equal(got, p)
		})
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, p.ID)), p)
		_, err := w.s.UpdateProject(w.ctx, "prj_none", store.ProjectChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"rules of recording are read back, and kept whole whatever changes at the same time", func(w *world) {
		rules := store.RecordRules{Recording: "required", Recipients: []string{"age1a", "age1b"}, RecordInput: true, X11Forwarding: true}
		v := store.Project{ID: ident.New(ident.Project), Name: "pay", Gateway: "required", RecordRules: rules}
		w.equal(must[store.Project](w)(w.s.CreateProject(w.ctx, v, w.key(v.ID, "user-ca"), w.quiet())).RecordRules, rules)
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, v.ID)).RecordRules, rules)
		for _, c := range []store.ProjectChange{
			{Gateway: ptr("allowed")},
			{RecordRulesChange: store.RecordRulesChange{Recipients: &[]string{}}},
		} {
			_, err := w.s.UpdateProject(w.ctx, v.ID, c, w.quiet())
			w.want(store.ErrDenied, err)
		}
		w.equal(must[store.Project](w)(w.s.Project(w.ctx, v.ID)).RecordRules, rules)
		got := must[store.Project](w)(w.s.UpdateProject(w.ctx, v.ID, store.ProjectChange{Gateway: ptr("none"), RecordRulesChange: store.RecordRulesChange{
			Recording: ptr("off"), Recipients: &[]string{}, RecordInput: ptr(false), X11Forwarding: ptr(false)}}, w.quiet()))
		w.equal(got.RecordRules.Recording, "off")
		w.equal(len(got.Recipients), 0)
		w.equal(got.RecordInput || got.X11Forwarding, false)
		p := w.project("web", "none")
		_, err := w.s.UpdateProject(w.ctx, p.ID, store.ProjectChange{RecordRulesChange: store.RecordRulesChange{Recording: ptr("best-effort"), Recipients: &[]string{"age1a"}}}, w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"DeleteProject is ErrInUse while it has servers", func(w *world) {
		p := w.path()
		w.want(store.ErrInUse, w.s.DeleteProject(w.ctx, p.project.ID, w.quiet()))
		w.ok(w.s.DeleteServer(w.ctx, p.server.ID, w.quiet()))
		w.ok(w.s.DeleteProject(w.ctx, p.project.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeleteProject(w.ctx, p.project.ID, w.quiet()))
	}},
	{"DeleteProject removes its grants and enrolment tokens", func(w *world) {
		p := w.project("web", "none")
		w.grant(p, w.group("ops"), time.Time{})
		secret := w.token(store.KindServer, p.ID, 1)
		w.ok(w.s.DeleteProject(w.ctx, p.ID, w.quiet()))
		_, err := w.s.EnrolmentToken(w.ctx, secret, w.now)
		w.want(store.ErrNotFound, err)
	}},
	{"CreateGrant raises the project's revision and wakes the group's users", func(w *world) {
		p, g, u := w.project("web", "none"), w.group("ops"), w.user("alice")
		w.member(g, u, time.Time{})
		alice := w.s.Watch(w.ctx, store.UserTopic(u.ID))
		w.raises(p.ID, func() { w.grant(p, g, w.now.Add(time.Hour)) })
		w.awake(alice)
		grants, _, err := w.s.Grants(w.ctx, p.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(grants), 1)
		v := grants[0]
		w.equal(v, store.Grant{ID: v.ID, Project: p.ID, Group: g.ID, GroupName: "ops", Role: "user", Selector: "env=prod",
			Until: w.now.Add(time.Hour), Revision: must[store.Project](w)(w.s.Project(w.ctx, p.ID)).Revision, CreatedAt: w.now})
	}},
	{"CreateGrant is ErrNotFound for an unknown project or group", func(w *world) {
		p, g := w.project("web", "none"), w.group("ops")
		_, err := w.s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: p.ID, Group: "grp_none"}, w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.CreateGrant(w.ctx, store.Grant{ID: ident.New(ident.Grant), Project: "prj_none", Group: g.ID}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"DeleteGrant is by project and id together", func(w *world) {
		p := w.path()
		other := w.project("other", "none")
		w.want(store.ErrNotFound, w.s.DeleteGrant(w.ctx, other.ID, p.grant.ID, w.quiet()))
		w.raises(p.project.ID, func() { w.ok(w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet())) })
		w.want(store.ErrNotFound, w.s.DeleteGrant(w.ctx, p.project.ID, p.grant.ID, w.quiet()))
	}},
}
