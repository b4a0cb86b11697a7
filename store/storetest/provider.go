package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func (w *world) newProvider(name string) store.Provider {
	return store.Provider{
		ID: ident.New(ident.Provider), Name: name, Title: strings.ToUpper(name), Issuer: "https://" + name + ".example.com", ClientID: "cardea",
		Secret: []byte{0, 1, 0xff}, Scopes: []string{"openid", "groups"}, LoginClaim: "email", LoginRule: store.LoginLocalPart,
		Domains: []string{"example.com"}, GroupsClaim: "groups", Require: map[string]string{"hd": "example.com"}, Create: true,
		State: store.Active, CreatedAt: w.now,
	}
}

func (w *world) provider(name string) store.Provider {
	w.Helper()
	return must[store.Provider](w)(w.s.CreateProvider(w.ctx, w.newProvider(name), w.meta("provider.create")))
}

// keptGroup is a group whose members a provider keeps.
func (w *world) keptGroup(p store.Provider, name string) store.Group {
	w.Helper()
	return must[store.Group](w)(w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: name, Source: p.ID, External: "Team " + name, CreatedAt: w.now}, w.meta("group.create")))
}

// run is one through the provider whose state was taken.
func (w *world) run(p store.Provider, subject, login string, groups ...string) store.Federated {
	w.Helper()
	v := w.begun(p, subject, login, groups...)
	must[store.Federation](w)(w.s.TakeFederation(w.ctx, v.StateHash, v.BrowserHash, w.quiet()))
	return v
}

// begun is one whose browser has not come back.
func (w *world) begun(p store.Provider, subject, login string, groups ...string) store.Federated {
	w.Helper()
	r := w.request(fmt.Sprint("key", w.number()))
	state := sum(fmt.Sprint("state", w.number()))
	w.ok(w.s.CreateFederation(w.ctx, store.Federation{StateHash: state, Provider: p.ID, Request: r.ID, BrowserHash: r.BrowserHash,
		ExpiresAt: w.now.Add(10 * time.Minute), CreatedAt: w.now}, w.quiet()))
	return store.Federated{
		StateHash: state, BrowserHash: r.BrowserHash, Create: true, Source: "192.0.2.9", FullName: ptr("Ms " + login), Email: ptr(login + "@example.com"),
		User: store.User{ID: ident.New(ident.User), Issuer: p.Issuer, Subject: subject, Name: login, Login: login}, Groups: &groups,
		Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), TokenHash: sum(fmt.Sprint("page", w.number())), AuthenticatedAt: w.now,
			ExpiresAt: w.now.Add(time.Hour), AMR: []string{"pwd", "otp"}},
	}
}

// finish ends a run that has to succeed.
func (w *world) finish(v store.Federated) store.User {
	w.Helper()
	return must[store.User](w)(w.s.FinishFederation(w.ctx, v, w.meta("signin.federated")))
}

// noted fails unless the store added an event of this action about this user.
func (w *world) noted(action string, u store.User) {
	w.Helper()
	for _, r := range w.audit() {
		if e, err := audit.Decode(r.Payload); err == nil && e.Action == action && e.User == u.ID && e.Actor == u.ID && e.Source == "192.0.2.9" {
			return
		}
	}
	w.Fatalf("no event %s of %s", action, u.Name)
}

// in are the names of the groups that a user is in.
func (w *world) in(u store.User) []string {
	w.Helper()
	groups, _, err := w.s.Groups(w.ctx, store.Page{Limit: 100})
	w.ok(err)
	names := []string{}
	for _, g := range groups {
		members, _, err := w.s.Members(w.ctx, g.ID, store.Page{Limit: 100})
		w.ok(err)
		for _, m := range members {
			if m.User == u.ID {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

var providerCases = []testCase{
	{"a provider is read back by id, by name and in the list", func(w *world) {
		p := w.newProvider("okta")
		w.equal(must[store.Provider](w)(w.s.CreateProvider(w.ctx, p, w.meta("provider.create"))), p)
		w.equal(must[store.Provider](w)(w.s.Provider(w.ctx, p.ID)), p)
		w.equal(must[store.Provider](w)(w.s.ProviderByName(w.ctx, "okta")), p)
		second := w.provider("entra")
		rows, _, err := w.s.Providers(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.Provider{second, p})
		_, err = w.s.Provider(w.ctx, "idp_none")
		w.want(store.ErrNotFound, err)
		_, err = w.s.ProviderByName(w.ctx, "none")
		w.want(store.ErrNotFound, err)
	}},
	{"CreateProvider is ErrExists for a taken name or issuer", func(w *world) {
		p := w.provider("okta")
		for _, change := range []func(*store.Provider){
			func(v *store.Provider) { v.Name = p.Name },
			func(v *store.Provider) { v.Issuer = p.Issuer },
		} {
			v := w.newProvider("other")
			change(&v)
			_, err := w.s.CreateProvider(w.ctx, v, w.quiet())
			w.want(store.ErrExists, err)
		}
	}},
	{"UpdateProvider changes what is not nil", func(w *world) {
		p := w.provider("okta")
		w.equal(must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{}, w.quiet())), p)
		p.Title, p.ClientID, p.Secret, p.Scopes, p.LoginClaim, p.LoginRule = "t", "c", []byte("s"), []string{"openid"}, "l", store.LoginWhole
		p.Domains, p.GroupsClaim, p.Require, p.Create, p.State = []string{"b"}, "g", map[string]string{"a": "b"}, false, store.Disabled
		w.equal(must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{Title: &p.Title, ClientID: &p.ClientID, Secret: &p.Secret, Scopes: &p.Scopes,
			LoginClaim: &p.LoginClaim, LoginRule: &p.LoginRule, Domains: &p.Domains, GroupsClaim: &p.GroupsClaim, Require: &p.Require, Create: &p.Create, State: &p.State}, w.quiet())), p)
		w.equal(must[store.Provider](w)(w.s.Provider(w.ctx, p.ID)), p)
		_, err := w.s.UpdateProvider(w.ctx, "idp_none", store.ProviderChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"DeleteProvider is ErrInUse while it keeps a group; its runs go with it, its users stay", func(w *world) {
		p := w.provider("okta")
		g := w.keptGroup(p, "ops")
		u := w.finish(w.run(p, "s1", "alice", g.External))
		open := w.run(p, "s2", "bob")
		w.want(store.ErrInUse, w.s.DeleteProvider(w.ctx, p.ID, w.quiet()))
		must[store.Group](w)(w.s.UpdateGroup(w.ctx, g.ID, store.GroupChange{Source: ptr(""), External: ptr("")}, w.quiet()))
		w.equal(w.in(u), []string{"ops"})
		w.ok(w.s.DeleteProvider(w.ctx, p.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeleteProvider(w.ctx, p.ID, w.quiet()))
		w.equal(must[store.User](w)(w.s.Identity(w.ctx, p.Issuer, "s1")), u)
		_, err := w.s.FinishFederation(w.ctx, open, w.quiet())
		w.want(store.ErrUsed, err)
	}},
	{"members of a group that a provider keeps are not changed by hand", func(w *world) {
		p := w.provider("okta")
		g := w.keptGroup(p, "ops")
		w.equal(must[store.Group](w)(w.s.Group(w.ctx, g.ID)), g)
		u := w.finish(w.run(p, "s1", "alice", g.External))
		w.want(store.ErrDenied, w.s.PutMember(w.ctx, store.Member{Group: g.ID, User: w.admin.ID}, w.quiet()))
		w.want(store.ErrDenied, w.s.PutMember(w.ctx, store.Member{Group: g.ID, User: u.ID, Until: w.now.Add(time.Hour)}, w.quiet()))
		w.want(store.ErrDenied, w.s.RemoveMember(w.ctx, g.ID, u.ID, w.quiet()))
		w.equal(w.in(u), []string{"ops"})
		_, err := w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "twice", Source: p.ID, External: g.External}, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "stray", Source: "idp_none", External: "x"}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a group given to a provider loses at once who is not of its issuer", func(w *world) {
		p := w.path()
		okta := w.provider("okta")
		alice := w.finish(w.run(okta, "s1", "carol"))
		w.member(p.group, alice, w.now.Add(time.Hour))
		var g store.Group
		w.raises(p.project.ID, func() {
			g = must[store.Group](w)(w.s.UpdateGroup(w.ctx, p.group.ID, store.GroupChange{Source: &okta.ID, External: ptr("SRE")}, w.quiet()))
		})
		w.equal(must[store.Group](w)(w.s.Group(w.ctx, g.ID)), g)
		members, _, err := w.s.Members(w.ctx, g.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(members), 1)
		w.equal(members[0].User, alice.ID)
		w.equal(members[0].Until.IsZero(), true)
		w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
		_, err = w.s.UpdateGroup(w.ctx, "grp_none", store.GroupChange{}, w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.UpdateGroup(w.ctx, g.ID, store.GroupChange{Source: ptr("idp_none")}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
}

var federationCases = []testCase{
	{"a provider that is disabled or deleted leaves no browser signed in", func(w *world) {
		for _, end := range []func(p store.Provider){
			func(p store.Provider) {
				must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{State: ptr(store.Disabled)}, w.quiet()))
			},
			func(p store.Provider) { w.ok(w.s.DeleteProvider(w.ctx, p.ID, w.quiet())) },
		} {
			name := fmt.Sprint("p", w.number())
			p, login := w.provider(name), sum("page of "+name)
			v, other := w.run(p, "s1", name), w.user("local-"+name)
			w.page(other, login)
			u := w.finish(v)
			must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{Title: ptr("Other")}, w.quiet()))
			_, _, err := w.s.BrowserSession(w.ctx, v.Session.TokenHash, w.now)
			w.ok(err)
			r := w.request("key " + name)
			end(p)
			_, _, err = w.s.BrowserSession(w.ctx, v.Session.TokenHash, w.now)
			w.want(store.ErrNotFound, err)
			_, err = w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID, LoginHash: v.Session.TokenHash,
				CodeHash: sum("code " + name), CodeExpires: w.now.Add(time.Minute)}, w.quiet())
			w.want(store.ErrDenied, err)
			_, _, err = w.s.BrowserSession(w.ctx, login, w.now)
			w.ok(err)
		}
	}},
	{"a run begins for an active provider and an open request of this browser alone", func(w *world) {
		p, r := w.provider("okta"), w.request("key")
		f := store.Federation{Provider: p.ID, Request: r.ID, BrowserHash: r.BrowserHash, Reauth: true, ExpiresAt: w.now.Add(time.Minute), CreatedAt: w.now}
		begin := func(change func(*store.Federation)) error {
			v := f
			v.StateHash = sum(fmt.Sprint("state", w.number()))
			change(&v)
			return w.s.CreateFederation(w.ctx, v, w.quiet())
		}
		w.want(store.ErrDenied, begin(func(v *store.Federation) { v.Provider = "idp_none" }))
		w.want(store.ErrDenied, begin(func(v *store.Federation) { v.Request = "req_none" }))
		w.want(store.ErrDenied, begin(func(v *store.Federation) { v.BrowserHash = sum("another") }))
		w.ok(begin(func(v *store.Federation) { v.StateHash = sum("s"); f.StateHash = v.StateHash }))
		w.equal(must[store.Federation](w)(w.s.TakeFederation(w.ctx, f.StateHash, f.BrowserHash, w.quiet())), f)
		must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{State: ptr(store.Disabled)}, w.quiet()))
		w.want(store.ErrDenied, begin(func(*store.Federation) {}))
	}},
	{"a state is taken once, in its browser, before its end", func(w *world) {
		p := w.provider("okta")
		v := w.begun(p, "s1", "alice")
		take := func(browser string, now time.Time) error {
			m := w.quiet()
			m.Now = now
			_, err := w.s.TakeFederation(w.ctx, v.StateHash, sum(browser), m)
			return err
		}
		w.want(store.ErrDenied, take("another", w.now))
		w.want(store.ErrUsed, take("browser", w.now.Add(10*time.Minute)))
		w.ok(take("browser", w.now.Add(10*time.Minute-time.Microsecond)))
		w.want(store.ErrUsed, take("browser", w.now))
		_, err := w.s.TakeFederation(w.ctx, sum("unknown"), v.BrowserHash, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"FinishFederation makes the user with the login and uid, and signs the browser in", func(w *world) {
		p := w.provider("okta")
		v := w.run(p, "s1", "alice")
		v.User.Admin = true // nobody is one because a provider says so
		u := w.finish(v)
		w.noted(audit.UserCreate, u)
		w.logged("signin.federated")
		w.equal(u, store.User{ID: v.User.ID, Issuer: p.Issuer, Subject: "s1", Name: "alice", Login: "alice", FullName: "Ms alice", Email: "alice@example.com",
			UID: store.FirstID + 1, Status: store.Active, Revision: u.Revision, CreatedAt: w.now})
		w.equal(must[store.User](w)(w.s.Identity(w.ctx, p.Issuer, "s1")), u)
		b, who, err := w.s.BrowserSession(w.ctx, v.Session.TokenHash, w.now)
		w.ok(err)
		w.equal(who, u)
		want := v.Session
		want.User, want.Provider = u.ID, p.ID
		w.equal(b, want)
		_, err = w.s.FinishFederation(w.ctx, v, w.quiet())
		w.want(store.ErrUsed, err)
		_, _, err = w.s.Credential(w.ctx, "alice")
		w.want(store.ErrNotFound, err)
	}},
	{"who comes again is the same user, by what the provider calls him now", func(w *world) {
		p := w.provider("okta")
		u := w.finish(w.run(p, "s1", "alice"))
		again := w.run(p, "s1", "renamed")
		again.User.ID = u.ID
		got := w.finish(again)
		u.FullName, u.Email, u.Revision = "Ms renamed", "renamed@example.com", got.Revision
		w.equal(got, u)
		silent := w.run(p, "s1", "x")
		silent.User.ID, silent.FullName, silent.Email, silent.Groups = u.ID, nil, nil, nil
		w.equal(w.finish(silent), u)
		// The same subject of another issuer is somebody else.
		other := w.finish(w.run(w.provider("entra"), "s1", "bob"))
		if other.ID == u.ID {
			w.Fatal("two issuers share a user")
		}
	}},
	{"FinishFederation is refused, and changes nothing", func(w *world) {
		p := w.provider("okta")
		g := w.keptGroup(p, "ops")
		taken := w.user("local")
		known := w.finish(w.run(p, "known", "known"))
		for _, c := range []struct {
			name   string
			change func(v *store.Federated)
			want   error
		}{
			{"a state that was not taken", func(v *store.Federated) { v.StateHash = w.begun(p, "s", "s").StateHash }, store.ErrUsed},
			{"an unknown state", func(v *store.Federated) { v.StateHash = sum("unknown") }, store.ErrUsed},
			{"another browser", func(v *store.Federated) { v.BrowserHash = sum("another") }, store.ErrDenied},
			{"an identity of another issuer", func(v *store.Federated) { v.User.Issuer = "https://evil.example.com" }, store.ErrDenied},
			{"a local account's identity", func(v *store.Federated) { v.User.Issuer, v.User.Subject, v.User.ID = "local", taken.Subject, taken.ID }, store.ErrDenied},
			{"nobody is to be made", func(v *store.Federated) { v.Create = false }, store.ErrNotFound},
			{"a login that somebody has", func(v *store.Federated) { v.User.Login = taken.Login }, store.ErrExists},
			{"a name that somebody has", func(v *store.Federated) { v.User.Name = taken.Name }, store.ErrExists},
			{"a login that is a group's name", func(v *store.Federated) { v.User.Login = g.Name }, store.ErrExists},
			{"an identity under another id", func(v *store.Federated) { v.User.Subject = known.Subject }, store.ErrExists},
		} {
			v := w.run(p, "new", "newcomer", g.External)
			c.change(&v)
			_, err := w.s.FinishFederation(w.ctx, v, w.meta("never"))
			w.want(c.want, err)
			w.unlogged("never")
			_, err = w.s.Identity(w.ctx, p.Issuer, "new")
			w.want(store.ErrNotFound, err)
			_, _, err = w.s.BrowserSession(w.ctx, v.Session.TokenHash, w.now)
			w.want(store.ErrNotFound, err)
		}
		late := w.run(p, "new", "newcomer")
		m := w.quiet()
		m.Now = w.now.Add(10 * time.Minute)
		_, err := w.s.FinishFederation(w.ctx, late, m)
		w.want(store.ErrUsed, err)
		for _, status := range []string{store.Disabled, store.Deleted} {
			must[store.User](w)(w.s.UpdateUser(w.ctx, known.ID, store.UserChange{Status: ptr(status)}, w.quiet()))
			v := w.run(p, "known", "known")
			v.User.ID = known.ID
			_, err := w.s.FinishFederation(w.ctx, v, w.quiet())
			w.want(store.ErrDenied, err)
		}
		v := w.run(p, "new", "newcomer")
		must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{Create: ptr(false)}, w.quiet()))
		_, err = w.s.FinishFederation(w.ctx, v, w.quiet())
		w.want(store.ErrNotFound, err)
		must[store.Provider](w)(w.s.UpdateProvider(w.ctx, p.ID, store.ProviderChange{Create: ptr(true), State: ptr(store.Disabled)}, w.quiet()))
		_, err = w.s.FinishFederation(w.ctx, v, w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"the groups that the provider keeps are those that it says, and no others are touched", func(w *world) {
		p, other := w.provider("okta"), w.provider("entra")
		path := w.path()
		ops, dev := w.keptGroup(p, "kept-ops"), w.keptGroup(p, "kept-dev")
		foreign := must[store.Group](w)(w.s.CreateGroup(w.ctx, store.Group{ID: ident.New(ident.UserGroup), Name: "foreign", Source: other.ID, External: ops.External}, w.meta("group.create")))
		w.grant(path.project, ops, time.Time{})
		var u store.User
		w.raises(path.project.ID, func() { u = w.finish(w.run(p, "s1", "carol", ops.External, "unknown", path.group.Name)) })
		w.noted(audit.MemberPut, u)
		w.equal(w.in(u), []string{"kept-ops"})
		w.member(path.group, u, time.Time{})
		second := w.finish(w.run(p, "s2", "dave", ops.External))

		again := w.run(p, "s1", "carol", dev.External, dev.External)
		again.User.ID = u.ID
		woken := w.s.Watch(w.ctx, store.UserTopic(u.ID))
		w.raises(path.project.ID, func() { w.finish(again) })
		w.awake(woken)
		w.noted(audit.MemberRemove, u)
		w.equal(w.in(u), []string{"kept-dev", path.group.Name})
		w.equal(w.in(second), []string{"kept-ops"})

		same := w.run(p, "s1", "carol", dev.External)
		same.User.ID = u.ID
		before := must[store.Team](w)(w.s.Team(w.ctx)).Revision
		w.finish(same)
		w.equal(must[store.Team](w)(w.s.Team(w.ctx)).Revision, before)

		silent := w.run(p, "s1", "carol")
		silent.User.ID, silent.Groups = u.ID, nil
		w.finish(silent)
		w.equal(w.in(u), []string{"kept-dev", path.group.Name})

		none := w.run(p, "s1", "carol")
		none.User.ID = u.ID
		w.finish(none)
		w.equal(w.in(u), []string{path.group.Name})
		members, _, err := w.s.Members(w.ctx, foreign.ID, store.Page{Limit: 10})
		w.ok(err)
		w.equal(len(members), 0)
	}},
	{"a request that was decided meanwhile signs nobody in", func(w *world) {
		p := w.provider("okta")
		r := w.request("key")
		state := sum("decided")
		w.ok(w.s.CreateFederation(w.ctx, store.Federation{StateHash: state, Provider: p.ID, Request: r.ID, BrowserHash: r.BrowserHash, ExpiresAt: w.now.Add(time.Minute)}, w.quiet()))
		must[store.Federation](w)(w.s.TakeFederation(w.ctx, state, r.BrowserHash, w.quiet()))
		must[store.AuthRequest](w)(w.s.RefuseAuthRequest(w.ctx, r.ID, r.BrowserHash, w.quiet()))
		v := w.run(p, "s1", "alice")
		v.StateHash = state
		_, err := w.s.FinishFederation(w.ctx, v, w.quiet())
		w.want(store.ErrUsed, err)
	}},
	{"twenty callbacks of one state at once are one, on any instance", func(w *world) {
		p := w.provider("okta")
		v := w.begun(p, "s1", "alice")
		stores := w.instances(2)
		errs := parallel(20, func(i int) error {
			_, err := stores[i%len(stores)].TakeFederation(w.ctx, v.StateHash, v.BrowserHash, w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 19)
		errs = parallel(20, func(i int) error {
			v := v
			v.User.ID, v.Session.ID, v.Session.TokenHash = ident.New(ident.User), ident.New(ident.BrowserSession), sum(fmt.Sprint("race", i))
			_, err := stores[i%len(stores)].FinishFederation(w.ctx, v, w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 19)
	}},
	{"runs that are over are swept", func(w *world) {
		v := w.begun(w.provider("okta"), "s1", "alice")
		w.now = w.now.Add(10 * time.Minute)
		w.ok(w.s.Sweep(w.ctx, w.now))
		_, err := w.s.TakeFederation(w.ctx, v.StateHash, v.BrowserHash, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
}
