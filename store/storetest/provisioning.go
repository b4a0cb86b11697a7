package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func (w *world) scimClient(name string) store.ScimClient {
	w.Helper()
	return must[store.ScimClient](w)(w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: name, LinkClaim: "sub",
		TokenHash: sum("scim " + name), CreatedAt: w.now}, w.meta("scim-client.create")))
}

func (w *world) newScimUser(c store.ScimClient, login string) store.ScimUser {
	return store.ScimUser{
		Client: c.ID, ExternalID: "ext-" + login, UserName: login + "@Example.com", Active: true, Resource: []byte(`{"userName":"` + login + `"}`),
		User: store.User{ID: ident.New(ident.User), Name: login, FullName: "Ms " + login, Email: login + "@example.com", Login: login, CreatedAt: w.now},
	}
}

func (w *world) scimUser(c store.ScimClient, login string) store.ScimUser {
	w.Helper()
	return must[store.ScimUser](w)(w.s.CreateScimUser(w.ctx, w.newScimUser(c, login), w.meta("user.create")))
}

func (w *world) newScimGroup(c store.ScimClient, name string, members ...store.ScimUser) store.ScimGroup {
	v := store.ScimGroup{Client: c.ID, ExternalID: "ext-" + name, Name: "Team " + name, Resource: []byte(`{}`), Source: "192.0.2.9",
		Group: store.Group{ID: ident.New(ident.UserGroup), Name: name, CreatedAt: w.now}}
	for _, u := range members {
		v.Members = append(v.Members, u.User.ID)
	}
	return v
}

func (w *world) scimGroup(c store.ScimClient, name string, members ...store.ScimUser) store.ScimGroup {
	w.Helper()
	v := must[store.ScimGroup](w)(w.s.CreateScimGroup(w.ctx, w.newScimGroup(c, name, members...), w.meta("group.create")))
	return must[store.ScimGroup](w)(w.s.ScimGroup(w.ctx, c.ID, v.Group.ID))
}

// off is the same user without access.
func off(u store.ScimUser) store.ScimUser {
	u.Active = false
	return u
}

func (w *world) status(u store.ScimUser) string {
	w.Helper()
	return must[store.User](w)(w.s.User(w.ctx, u.User.ID)).Status
}

// toldBy counts events of an action by an actor.
func (w *world) toldBy(action, actor string) (n int) {
	w.Helper()
	for _, r := range w.audit() {
		if e, err := audit.Decode(r.Payload); err == nil && e.Action == action && e.Actor == actor {
			n++
		}
	}
	return n
}

var provisioningCases = []testCase{
	{"a client is read back by id, by name, by its token and in the list, with how much it keeps", func(w *world) {
		c := w.scimClient("okta")
		w.equal(must[store.ScimClient](w)(w.s.AuthenticateScim(w.ctx, sum("scim okta"), w.now)), c)
		u := w.scimUser(c, "alice")
		w.scimGroup(c, "ops", u)
		c.Users, c.Groups = 1, 1
		w.equal(must[store.ScimClient](w)(w.s.ScimClient(w.ctx, c.ID)), c)
		w.equal(must[store.ScimClient](w)(w.s.ScimClientByName(w.ctx, "okta")), c)
		other := w.scimClient("entra")
		rows, _, err := w.s.ScimClients(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.ScimClient{other, c})
		_, err = w.s.AuthenticateScim(w.ctx, sum("nonsense"), w.now)
		w.want(store.ErrNotFound, err)
		_, err = w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "okta", TokenHash: sum("x")}, w.quiet())
		w.want(store.ErrExists, err)
		_, err = w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "third", TokenHash: sum("x"), Provider: "idp_none"}, w.quiet())
		w.want(store.ErrNotFound, err)
		w.ok(w.s.SeenScimClient(w.ctx, c.ID, w.now.Add(time.Hour)))
		w.equal(must[store.ScimClient](w)(w.s.ScimClient(w.ctx, c.ID)).UsedAt, w.now.Add(time.Hour))
	}},
	{"there are no more clients than MaxScimClients", func(w *world) {
		for i := range store.MaxScimClients {
			w.scimClient(fmt.Sprint("c", i))
		}
		_, err := w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "more", TokenHash: sum("more")}, w.quiet())
		w.want(store.ErrTooMany, err)
	}},
	{"the token before the last is good until its end", func(w *world) {
		c := w.scimClient("okta")
		end := w.now.Add(time.Hour)
		must[store.ScimClient](w)(w.s.UpdateScimClient(w.ctx, c.ID, store.ScimClientChange{TokenHash: sum("new"), OldUntil: end}, w.quiet()))
		for _, token := range []string{"new", "scim okta"} {
			w.equal(must[store.ScimClient](w)(w.s.AuthenticateScim(w.ctx, sum(token), end.Add(-time.Second))).ID, c.ID)
		}
		_, err := w.s.AuthenticateScim(w.ctx, sum("scim okta"), end)
		w.want(store.ErrNotFound, err)
		must[store.ScimClient](w)(w.s.UpdateScimClient(w.ctx, c.ID, store.ScimClientChange{TokenHash: sum("third"), OldUntil: end}, w.quiet()))
		_, err = w.s.AuthenticateScim(w.ctx, sum("scim okta"), w.now)
		w.want(store.ErrNotFound, err)
	}},
	{"a client that is disabled changes nothing", func(w *world) {
		c := w.scimClient("okta")
		u, g := w.scimUser(c, "alice"), w.scimGroup(c, "ops")
		must[store.ScimClient](w)(w.s.UpdateScimClient(w.ctx, c.ID, store.ScimClientChange{State: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.CreateScimUser(w.ctx, w.newScimUser(c, "bob"), w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.PutScimUser(w.ctx, u, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrDenied, w.s.DeleteScimUser(w.ctx, c.ID, u.User.ID, 0, w.quiet()))
		_, err = w.s.CreateScimGroup(w.ctx, w.newScimGroup(c, "dev"), w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.PutScimGroup(w.ctx, g, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrDenied, w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 0, w.quiet()))
	}},
	{"a user that a client makes is nobody else's identity, never an administrator, and read back as it was sent", func(w *world) {
		c := w.scimClient("okta")
		v := w.newScimUser(c, "alice")
		v.User.Admin, v.User.Issuer, v.User.Subject = true, "local", w.admin.Subject
		v.ExternalID = w.admin.ID
		made := must[store.ScimUser](w)(w.s.CreateScimUser(w.ctx, v, w.meta("user.create")))
		w.equal([]any{made.User.Admin, made.User.Issuer, made.User.Subject, made.User.Status, made.Version}, []any{false, store.ScimIssuer(c.ID), v.User.ID, store.Active, int64(1)})
		w.equal(must[store.ScimUser](w)(w.s.ScimUser(w.ctx, c.ID, v.User.ID)), made)
		w.equal(must[store.User](w)(w.s.User(w.ctx, w.admin.ID)), w.admin)
		for _, q := range []store.ScimQuery{{ID: v.User.ID, Limit: 10}, {ExternalID: v.ExternalID, Limit: 10}, {Name: "ALICE@example.COM", Limit: 10}, {Limit: 1}} {
			rows, n, err := w.s.ScimUsers(w.ctx, c.ID, q)
			w.ok(err)
			w.equal(n, 1)
			w.equal(rows, []store.ScimUser{made})
		}
		for _, q := range []store.ScimQuery{{ID: w.admin.ID, Limit: 10}, {Name: "admin", Limit: 10}} {
			_, n, err := w.s.ScimUsers(w.ctx, c.ID, q)
			w.ok(err)
			w.equal(n, 0)
		}
		inactive := w.newScimUser(c, "ina")
		w.equal(must[store.ScimUser](w)(w.s.CreateScimUser(w.ctx, off(inactive), w.quiet())).User.Status, store.Disabled)
	}},
	{"CreateScimUser is ErrExists for a taken userName in any case, and for a login that is or was somebody's or a group's", func(w *world) {
		c := w.scimClient("okta")
		w.scimUser(c, "alice")
		w.group("ops")
		gone := w.scimUser(c, "gone")
		w.ok(w.s.DeleteScimUser(w.ctx, c.ID, gone.User.ID, 0, w.quiet()))
		same := w.newScimUser(c, "other")
		same.UserName = "ALICE@example.com"
		for _, v := range []store.ScimUser{same, w.newScimUser(c, "alice"), w.newScimUser(c, "admin"), w.newScimUser(c, "ops"), w.newScimUser(c, "gone")} {
			_, err := w.s.CreateScimUser(w.ctx, v, w.quiet())
			w.want(store.ErrExists, err)
		}
	}},
	{"pages are by id and counted whole", func(w *world) {
		c := w.scimClient("okta")
		for i := range 5 {
			w.scimUser(c, fmt.Sprint("u", i))
			w.scimGroup(c, fmt.Sprint("g", i))
		}
		seen := map[string]bool{}
		for offset := 0; offset < 6; offset += 2 {
			users, n, err := w.s.ScimUsers(w.ctx, c.ID, store.ScimQuery{Offset: offset, Limit: 2})
			w.ok(err)
			groups, m, err := w.s.ScimGroups(w.ctx, c.ID, store.ScimQuery{Offset: offset, Limit: 2})
			w.ok(err)
			w.equal([]int{n, m, len(users)}, []int{5, 5, len(groups)})
			for i := range users {
				seen[users[i].User.ID], seen[groups[i].Group.ID] = true, true
			}
		}
		w.equal(len(seen), 10)
	}},
	{"what another client made, or people did, is not there", func(w *world) {
		c, other := w.scimClient("okta"), w.scimClient("entra")
		u, g := w.scimUser(c, "alice"), w.scimGroup(c, "ops")
		local, hand := w.user("bob"), w.group("dev")
		for _, who := range []store.ScimClient{other, c} {
			for _, id := range []string{u.User.ID, local.ID, w.admin.ID, "usr_none"} {
				if who.ID == c.ID && id == u.User.ID {
					continue
				}
				_, err := w.s.ScimUser(w.ctx, who.ID, id)
				w.want(store.ErrNotFound, err)
				v := u
				v.Client, v.User.ID = who.ID, id
				_, err = w.s.PutScimUser(w.ctx, off(v), w.quiet())
				w.want(store.ErrNotFound, err)
				w.want(store.ErrNotFound, w.s.DeleteScimUser(w.ctx, who.ID, id, 0, w.quiet()))
				bad := w.newScimGroup(who, "x")
				bad.Members = []string{id}
				_, err = w.s.CreateScimGroup(w.ctx, bad, w.quiet())
				w.want(store.ErrNotFound, err)
			}
			for _, id := range []string{g.Group.ID, hand.ID, "grp_none"} {
				if who.ID == c.ID && id == g.Group.ID {
					continue
				}
				_, err := w.s.ScimGroup(w.ctx, who.ID, id)
				w.want(store.ErrNotFound, err)
				v := g
				v.Client, v.Group.ID = who.ID, id
				_, err = w.s.PutScimGroup(w.ctx, v, w.quiet())
				w.want(store.ErrNotFound, err)
				w.want(store.ErrNotFound, w.s.DeleteScimGroup(w.ctx, who.ID, id, 0, w.quiet()))
			}
		}
		g.Members = []string{local.ID}
		_, err := w.s.PutScimGroup(w.ctx, g, w.quiet())
		w.want(store.ErrNotFound, err)
		w.equal(must[store.User](w)(w.s.User(w.ctx, local.ID)), local)
		w.equal(w.status(u), store.Active)
	}},
	{"PutScimUser changes what is said of the user, and is ErrChanged for another version", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "alice")
		u.ExternalID, u.UserName, u.User.FullName, u.User.Email, u.Resource = "e2", "al@example.com", "Al", "al@example.com", []byte(`{"a":1}`)
		w.now = w.now.Add(time.Minute)
		got := must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, u, w.meta("user.update")))
		w.equal([]any{got.Version, got.ChangedAt, got.User.FullName, got.User.Email, got.User.Login}, []any{int64(2), w.now, "Al", "al@example.com", "alice"})
		w.equal(must[store.ScimUser](w)(w.s.ScimUser(w.ctx, c.ID, u.User.ID)), got)
		_, err := w.s.PutScimUser(w.ctx, u, w.quiet())
		w.want(store.ErrChanged, err)
		w.want(store.ErrChanged, w.s.DeleteScimUser(w.ctx, c.ID, u.User.ID, 1, w.quiet()))
		bob := w.scimUser(c, "bob")
		bob.UserName = "AL@example.com"
		_, err = w.s.PutScimUser(w.ctx, bob, w.quiet())
		w.want(store.ErrExists, err)
	}},
	{"a user who is not active any more loses what he has at once, and may come back", func(w *world) {
		p := w.path()
		c := w.scimClient("okta")
		u := w.scimUser(c, "carol")
		w.member(p.group, u.User, time.Time{})
		p.user, p.subject = u.User, w.signIn(u.User)
		w.session(p)
		u = must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.meta("user.disable")))
		w.equal(u.User.Status, store.Disabled)
		if who := must[store.Subject](w)(w.s.Authenticate(w.ctx, p.subject.Session.TokenHash)); who.Session.RevokedAt.IsZero() {
			w.Fatal("the session of a user who was disabled goes on")
		}
		orders, _, err := w.s.EndOrders(w.ctx, p.gateway.ID, 0)
		w.ok(err)
		w.equal(len(orders), 1)
		w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
		u.Active = true
		w.equal(must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, u, w.quiet())).User.Status, store.Active)
	}},
	{"a user whom an administrator disabled stays so, and one whom he deleted is gone for the client", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "alice")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.User.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		u = must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, u, w.quiet()))
		w.equal(u.User.Status, store.Disabled)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.User.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		_, err := w.s.PutScimUser(w.ctx, u, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"the last active administrator is not deactivated or deleted", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "alice")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.User.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, w.admin.ID, store.UserChange{Admin: ptr(false)}, w.quiet()))
		_, err := w.s.PutScimUser(w.ctx, off(u), w.quiet())
		w.want(store.ErrLastAdmin, err)
		w.want(store.ErrLastAdmin, w.s.DeleteScimUser(w.ctx, c.ID, u.User.ID, 0, w.quiet()))
		w.equal(w.status(u), store.Active)
	}},
	{"DeleteScimUser leaves a tombstone that the client does not see", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "alice")
		g := w.scimGroup(c, "ops", u)
		w.ok(w.s.DeleteScimUser(w.ctx, c.ID, u.User.ID, 1, w.meta("user.delete")))
		w.equal(w.status(u), store.Deleted)
		_, err := w.s.ScimUser(w.ctx, c.ID, u.User.ID)
		w.want(store.ErrNotFound, err)
		w.want(store.ErrNotFound, w.s.DeleteScimUser(w.ctx, c.ID, u.User.ID, 0, w.quiet()))
		w.equal(len(must[store.ScimGroup](w)(w.s.ScimGroup(w.ctx, c.ID, g.Group.ID)).Members), 0)
	}},
	{"a group's members are those that the client says, each change audited, and nobody changes them by hand", func(w *world) {
		c := w.scimClient("okta")
		alice, bob, carol := w.scimUser(c, "alice"), w.scimUser(c, "bob"), w.scimUser(c, "carol")
		g := w.scimGroup(c, "ops", alice, bob)
		w.equal([]any{g.Group.Source, g.Group.External, g.Version}, []any{c.ID, "Team ops", int64(1)})
		w.equal(len(g.Members), 2)
		rows, n, err := w.s.ScimGroups(w.ctx, c.ID, store.ScimQuery{Name: "TEAM OPS", Limit: 5})
		w.ok(err)
		w.equal([]any{n, rows[0].Group.ID}, []any{1, g.Group.ID})
		g.Members, g.Name, g.Source = []string{bob.User.ID, carol.User.ID, carol.User.ID}, "Ops", "192.0.2.9"
		got := must[store.ScimGroup](w)(w.s.PutScimGroup(w.ctx, g, w.meta("group.update")))
		w.equal([]any{got.Version, got.Group.Name, got.Group.External}, []any{int64(2), "ops", "Ops"})
		w.equal(w.in(alice.User), []string{})
		w.equal(w.in(carol.User), []string{"ops"})
		w.equal([]int{w.toldBy(audit.MemberPut, c.ID), w.toldBy(audit.MemberRemove, c.ID)}, []int{3, 1})
		_, err = w.s.PutScimGroup(w.ctx, g, w.quiet())
		w.want(store.ErrChanged, err)
		of := must[[]store.ScimGroup](w)(w.s.ScimGroupsOf(w.ctx, c.ID, carol.User.ID))
		w.equal([]any{len(of), of[0].Name}, []any{1, "Ops"})
		w.want(store.ErrDenied, w.s.PutMember(w.ctx, store.Member{Group: g.Group.ID, User: alice.User.ID}, w.quiet()))
		w.want(store.ErrDenied, w.s.RemoveMember(w.ctx, g.Group.ID, bob.User.ID, w.quiet()))
		_, err = w.s.UpdateGroup(w.ctx, g.Group.ID, store.GroupChange{Source: ptr("")}, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrChanged, w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 1, w.quiet()))
		w.ok(w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 2, w.meta("group.delete")))
		_, err = w.s.Group(w.ctx, g.Group.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"who is taken out of a group may not connect by it from then on", func(w *world) {
		p := w.path()
		c := w.scimClient("okta")
		u := w.scimUser(c, "carol")
		g := w.scimGroup(c, "web-users", u)
		p.grant = w.grant(p.project, g.Group, time.Time{})
		p.user, p.subject = u.User, w.signIn(u.User)
		w.ok(w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
		before := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision
		g.Members = nil
		must[store.ScimGroup](w)(w.s.PutScimGroup(w.ctx, g, w.quiet()))
		w.want(store.ErrDenied, w.s.RecordIssuance(w.ctx, w.issue(p), w.quiet()))
		if after := must[store.Project](w)(w.s.Project(w.ctx, p.project.ID)).Revision; after <= before {
			w.Fatal("servers are not told")
		}
	}},
	{"CreateScimGroup is ErrExists for a group's name, a user's login and what the client calls another", func(w *world) {
		c := w.scimClient("okta")
		w.scimGroup(c, "ops")
		w.user("bob")
		same := w.newScimGroup(c, "new")
		same.Name = "TEAM ops"
		for _, v := range []store.ScimGroup{same, w.newScimGroup(c, "ops"), w.newScimGroup(c, "bob")} {
			_, err := w.s.CreateScimGroup(w.ctx, v, w.quiet())
			w.want(store.ErrExists, err)
		}
	}},
	{"an administrator may delete a group that a client keeps", func(w *world) {
		c := w.scimClient("okta")
		g := w.scimGroup(c, "ops", w.scimUser(c, "alice"))
		w.ok(w.s.DeleteGroup(w.ctx, g.Group.ID, w.quiet()))
		_, err := w.s.ScimGroup(w.ctx, c.ID, g.Group.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"whom a client made becomes who signs in, unless the client means another by then", func(w *world) {
		p := w.provider("okta")
		c := must[store.ScimClient](w)(w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "okta", Provider: p.ID, LinkClaim: "sub", TokenHash: sum("t")}, w.quiet()))
		other := w.scimClient("other")
		u, v := w.scimUser(c, "alice"), w.scimUser(other, "bob")
		link := func(u store.ScimUser, client, external string) error {
			f := w.run(p, "s-"+u.User.ID, "new")
			f.User, f.Link = u.User, &store.ScimLink{Client: client, ExternalID: external}
			f.User.Issuer, f.User.Subject = p.Issuer, "s-"+u.User.ID
			_, err := w.s.FinishFederation(w.ctx, f, w.quiet())
			return err
		}
		w.want(store.ErrDenied, link(u, c.ID, "another"))
		w.want(store.ErrDenied, link(v, c.ID, v.ExternalID))
		w.want(store.ErrDenied, link(v, other.ID, v.ExternalID))
		w.ok(link(u, c.ID, u.ExternalID))
		w.equal(must[store.User](w)(w.s.Identity(w.ctx, p.Issuer, "s-"+u.User.ID)).ID, u.User.ID)
		w.noted(audit.UserLink, u.User)
		again := u
		again.User.Subject = "second"
		f := w.run(p, "second", "new")
		f.User, f.Link = again.User, &store.ScimLink{Client: c.ID, ExternalID: u.ExternalID}
		f.User.Issuer = p.Issuer
		_, err := w.s.FinishFederation(w.ctx, f, w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrInUse, w.s.DeleteProvider(w.ctx, p.ID, w.quiet()))
	}},
	{"users and groups of a client that is deleted stay, and are kept by hand", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "alice")
		g := w.scimGroup(c, "ops", u)
		w.ok(w.s.DeleteScimClient(w.ctx, c.ID, w.meta("scim-client.delete")))
		w.want(store.ErrNotFound, w.s.DeleteScimClient(w.ctx, c.ID, w.quiet()))
		_, err := w.s.AuthenticateScim(w.ctx, c.TokenHash, w.now)
		w.want(store.ErrNotFound, err)
		w.equal(w.in(u.User), []string{"ops"})
		w.ok(w.s.RemoveMember(w.ctx, g.Group.ID, u.User.ID, w.quiet()))
	}},
	{"the brake holds at one more than a tenth, keeps who is left, and lets others be made and enabled", func(w *world) {
		c := w.scimClient("okta")
		var users []store.ScimUser
		for i := range 110 {
			users = append(users, w.scimUser(c, fmt.Sprint("u", i)))
		}
		for _, u := range users[:10] {
			must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.quiet()))
		}
		w.ok(w.s.DeleteScimUser(w.ctx, c.ID, users[10].User.ID, 0, w.quiet())) // 11 of 110
		_, err := w.s.PutScimUser(w.ctx, off(users[11]), w.quiet())
		w.want(store.ErrBraked, err)
		w.equal(w.status(users[11]), store.Active)
		got := must[store.ScimClient](w)(w.s.ScimClient(w.ctx, c.ID))
		w.equal([]any{got.Paused(w.now), got.Why, got.PausedUntil}, []any{true, "it was about to take access from 12 of 110 users within 10 minutes", w.now.Add(store.BrakePause)})
		w.equal(w.toldBy(audit.ScimBrake, c.ID), 1)
		w.want(store.ErrBraked, w.s.DeleteScimUser(w.ctx, c.ID, users[12].User.ID, 0, w.quiet()))
		w.equal(w.toldBy(audit.ScimBrake, c.ID), 1)
		w.scimUser(c, "new")
		back := must[store.ScimUser](w)(w.s.ScimUser(w.ctx, c.ID, users[0].User.ID))
		back.Active = true
		must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, back, w.quiet()))
		w.now = w.now.Add(store.BrakePause)
		must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(users[11]), w.quiet()))
	}},
	{"the brake counts people once, within its window, and not fewer than BrakeLeast", func(w *world) {
		c := w.scimClient("okta")
		var users []store.ScimUser
		for i := range 12 {
			users = append(users, w.scimUser(c, fmt.Sprint("u", i)))
		}
		g := w.scimGroup(c, "ops", users...)
		g.Members = g.Members[:3] // 9 of 12
		g = must[store.ScimGroup](w)(w.s.PutScimGroup(w.ctx, g, w.quiet()))
		out := map[string]bool{}
		for _, u := range users {
			out[u.User.ID] = true
		}
		for _, id := range g.Members {
			delete(out, id)
		}
		for _, u := range users {
			if out[u.User.ID] { // the same nine
				must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.quiet()))
			}
		}
		w.now = w.now.Add(store.BrakeWindow - time.Second)
		w.want(store.ErrBraked, w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 0, w.quiet()))
		must[store.ScimClient](w)(w.s.UpdateScimClient(w.ctx, c.ID, store.ScimClientChange{Resume: true}, w.meta("scim-client.resume")))
		w.ok(w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 0, w.quiet()))
		w.now = w.now.Add(store.BrakeRelease) // it holds again
		g = w.scimGroup(c, "dev", users...)
		for _, u := range users {
			if out[u.User.ID] {
				continue
			}
			must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.quiet()))
		}
		w.ok(w.s.DeleteScimGroup(w.ctx, c.ID, g.Group.ID, 0, w.quiet())) // of people who are locked out anyway
	}},
	{"whoever is locked out beyond the window is not counted", func(w *world) {
		c := w.scimClient("okta")
		for i := range 3 {
			for j := range 9 {
				u := w.scimUser(c, fmt.Sprint("u", i, "x", j))
				must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.quiet()))
			}
			w.now = w.now.Add(store.BrakeWindow)
		}
	}},
	{"several at once never pass the brake together", func(w *world) {
		c := w.scimClient("okta")
		var users []store.ScimUser
		for i := range 30 {
			users = append(users, w.scimUser(c, fmt.Sprint("u", i)))
		}
		stores := []store.Store{w.s}
		if w.db.Several {
			two := w.db.Open(w, "two")
			w.Cleanup(func() { two.Close() })
			stores = append(stores, two)
		}
		var wg sync.WaitGroup
		for i, u := range users {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, _ = stores[i%len(stores)].PutScimUser(w.ctx, off(u), w.quiet()) // most are refused
			}()
		}
		wg.Wait()
		n := 0
		for _, u := range users {
			if w.status(u) == store.Disabled {
				n++
			}
		}
		w.equal(n, store.BrakeLeast-1)
		w.equal(w.toldBy(audit.ScimBrake, c.ID), 1)
	}},
}
