package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// tied is a provider and its client, which links by a claim of it.
func (w *world) tied(claim string) (store.Provider, store.ScimClient) {
	w.Helper()
	p := w.provider("okta")
	return p, must[store.ScimClient](w)(w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "okta", Provider: p.ID, LinkClaim: claim,
		TokenHash: sum("token of okta"), CreatedAt: w.now}, w.meta("scim-client.create")))
}

// came signs somebody in at a provider that says this of him.
func (w *world) came(p store.Provider, subject, login string, said map[string]string) store.User {
	w.Helper()
	f := w.run(p, subject, login)
	f.Said = said
	if known, err := w.s.Identity(w.ctx, p.Issuer, subject); err == nil {
		f.User = known
	}
	return w.finish(f)
}

// taking is what a client says when it wants to keep a user.
func (w *world) taking(c store.ScimClient, u store.User, externalID string) store.ScimUser {
	v := w.newScimUser(c, u.Login)
	v.ExternalID, v.User = externalID, store.User{ID: u.ID, FullName: "Full Name", Email: "new@example.com"}
	return v
}

func (w *world) adopt(v store.ScimUser, by string) (store.ScimUser, error) {
	return w.s.AdoptScimUser(w.ctx, v, by, w.quiet())
}

func (w *world) readUser(id string) store.User {
	w.Helper()
	return must[store.User](w)(w.s.User(w.ctx, id))
}

func (w *world) waits(c store.ScimClient, userName string) store.ScimWaiting {
	return store.ScimWaiting{Client: c.ID, UserName: userName, ExternalID: "ext", Login: "alice", FullName: "Ms A", Email: "Alice@example.com", Active: true, Resource: []byte(`{}`)}
}

var adoptionCases = []testCase{
	{"who signs in as whom the client means is kept by it, and stays who he is", func(w *world) {
		p, c := w.tied("sub")
		u := w.came(p, "s-1", "alice", nil)
		g := w.group("ops")
		w.member(g, u, time.Time{})
		session := w.signIn(u).Session
		v := w.newScimUser(c, "alice")
		v.ExternalID = "s-1"
		_, err := w.s.CreateScimUser(w.ctx, v, w.quiet())
		w.want(store.ErrExists, err)
		v.User.Login, v.User.Name = "alice-jones", "alice-jones" // nor a second person of another login
		_, err = w.s.CreateScimUser(w.ctx, v, w.quiet())
		w.want(store.ErrExists, err)
		got := must[store.ScimUser](w)(w.s.AdoptScimUser(w.ctx, w.taking(c, u, "s-1"), "", w.meta("user.adopt")))
		now := w.readUser(u.ID)
		w.equal([]any{now.Keeper, now.Login, now.UID, now.Issuer, now.Subject, now.Status, now.FullName, now.Email},
			[]any{c.ID, "alice", u.UID, p.Issuer, "s-1", store.Active, "Full Name", "new@example.com"})
		w.equal(w.in(u), []string{"ops"})
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, session.ID)).RevokedAt, time.Time{})
		w.equal(must[store.ScimUser](w)(w.s.ScimUser(w.ctx, c.ID, u.ID)), got)
		w.scimGroup(c, "web", got)
		w.ok(func() error { _, err := w.s.PutScimUser(w.ctx, off(got), w.quiet()); return err }())
		w.equal([]any{w.status(got), w.readUser(u.ID).DisabledBy}, []any{store.Disabled, c.ID})
		if must[store.Session](w)(w.s.Session(w.ctx, session.ID)).RevokedAt.IsZero() {
			w.Error("he is deactivated, and his session goes on")
		}
	}},
	{"what a provider says in the client's claim makes it certain, from the sign-in on, and only while one has it", func(w *world) {
		p, c := w.tied("oid")
		u := w.came(p, "s-1", "alice", nil)
		_, err := w.adopt(w.taking(c, u, "o-1"), "")
		w.want(store.ErrDenied, err)
		w.came(p, "s-1", "alice", map[string]string{"oid": "o-0", "another": "o-1"})
		_, err = w.adopt(w.taking(c, u, "o-1"), "")
		w.want(store.ErrDenied, err)
		w.came(p, "s-1", "alice", map[string]string{"oid": "o-1"})
		bob := w.came(p, "s-2", "bob", map[string]string{"oid": "o-1"})
		for _, who := range []store.User{u, bob} {
			_, err = w.adopt(w.taking(c, who, "o-1"), w.admin.ID)
			w.want(store.ErrDenied, err)
		}
		w.came(p, "s-2", "bob", map[string]string{"oid": "o-2"})
		must[store.ScimUser](w)(w.adopt(w.taking(c, u, "o-1"), ""))
	}},
	{"nobody is taken over without a word whose name or address alone is the same", func(w *world) {
		p, c := w.tied("sub")
		local, theirs := w.user("alice"), w.came(p, "s-2", "bob", nil)
		_, err := w.adopt(w.taking(c, local, local.Subject), "")
		w.want(store.ErrDenied, err)
		_, err = w.adopt(w.taking(c, theirs, ""), "")
		w.want(store.ErrDenied, err)
		_, err = w.adopt(w.taking(c, theirs, "S-2"), w.admin.ID)
		w.want(store.ErrDenied, err)
		v := w.newScimUser(c, "alice")
		v.UserName, v.User.Email = local.Name, local.Email
		_, err = w.s.CreateScimUser(w.ctx, v, w.quiet())
		w.want(store.ErrExists, err)
		w.equal([]string{w.readUser(local.ID).Keeper, w.readUser(theirs.ID).Keeper}, []string{"", ""})
	}},
	{"nobody takes over an administrator, another client's user, a program or somebody of another provider", func(w *world) {
		p, c := w.tied("sub")
		other := w.scimClient("other")
		kept := w.scimUser(other, "kept")
		elsewhere := w.came(w.provider("entra"), "s-9", "elsewhere", nil)
		bot := w.service("bot")
		gone := w.user("gone")
		must[store.User](w)(w.s.UpdateUser(w.ctx, gone.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		for _, u := range []store.User{w.admin, kept.User, elsewhere, bot, gone} {
			for _, by := range []string{"", w.admin.ID} {
				for _, external := range []string{u.Subject, "", u.ID} {
					_, err := w.adopt(w.taking(c, u, external), by)
					w.want(store.ErrDenied, err)
				}
			}
		}
		_, err := w.adopt(w.taking(c, store.User{ID: "usr_none", Login: "x"}, "x"), w.admin.ID)
		w.want(store.ErrNotFound, err)
		_, err = w.adopt(w.taking(other, w.user("bob"), "x"), w.admin.ID) // of no provider
		w.want(store.ErrDenied, err)
		chief := w.came(p, "s-1", "chief", nil)
		must[store.User](w)(w.s.UpdateUser(w.ctx, chief.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		_, err = w.adopt(w.taking(c, chief, "s-1"), "")
		w.want(store.ErrDenied, err)
		must[store.ScimUser](w)(w.adopt(w.taking(c, chief, "s-1"), w.admin.ID))
		must[store.ScimClient](w)(w.s.UpdateScimClient(w.ctx, c.ID, store.ScimClientChange{State: ptr(store.Disabled)}, w.quiet()))
		_, err = w.adopt(w.taking(c, w.user("carol"), "x"), w.admin.ID)
		w.want(store.ErrDenied, err)
	}},
	{"a local account that an administrator gives away signs in at the provider, until it is released", func(w *world) {
		p, c := w.tied("sub")
		u := w.user("alice")
		v := must[store.ScimUser](w)(w.adopt(w.taking(c, u, "s-1"), w.admin.ID))
		w.equal([]string{v.User.Issuer, v.User.Subject}, []string{store.ScimIssuer(c.ID), u.ID})
		_, _, err := w.s.Credential(w.ctx, "alice")
		w.want(store.ErrNotFound, err)
		w.scimGroup(c, "web", v)
		back := must[store.User](w)(w.s.ReleaseScimUser(w.ctx, store.ScimRelease{Client: c.ID, User: u.ID, By: w.admin.ID, Source: "192.0.2.9"}, w.meta("user.release")))
		w.equal([]string{back.Issuer, back.Subject, back.Keeper}, []string{store.LocalIssuer, u.Subject, ""})
		w.equal([]any{w.in(u), w.toldBy(audit.MemberRemove, w.admin.ID)}, []any{[]string{}, 1})
		_, hash, err := w.s.Credential(w.ctx, "alice")
		w.ok(err)
		w.equal(hash, "hash of alice")
		_, err = w.s.ReleaseScimUser(w.ctx, store.ScimRelease{Client: c.ID, User: u.ID}, w.quiet())
		w.want(store.ErrNotFound, err)
		// Once more, and he signs in: then he is that, also when he is released.
		must[store.ScimUser](w)(w.adopt(w.taking(c, u, "s-1"), w.admin.ID))
		f := w.run(p, "s-1", "new")
		f.User, f.Link = u, &store.ScimLink{Client: c.ID, ExternalID: "s-1"}
		f.User.Issuer, f.User.Subject = p.Issuer, "s-1"
		w.finish(f)
		back = must[store.User](w)(w.s.ReleaseScimUser(w.ctx, store.ScimRelease{Client: c.ID, User: u.ID, By: w.admin.ID}, w.quiet()))
		w.equal([]string{back.ID, back.Issuer, back.Subject}, []string{u.ID, p.Issuer, "s-1"})
		_, err = w.adopt(w.taking(c, u, "s-1"), "") // he was released
		w.want(store.ErrDenied, err)
		must[store.ScimUser](w)(w.adopt(w.taking(c, u, "s-1"), w.admin.ID))
	}},
	{"when a client is deleted, who never signed in as its own is who he was before", func(w *world) {
		_, c := w.tied("sub")
		u := w.user("alice")
		must[store.ScimUser](w)(w.adopt(w.taking(c, u, "s-1"), w.admin.ID))
		_, _, err := w.s.Credential(w.ctx, "alice")
		w.want(store.ErrNotFound, err)
		w.ok(w.s.DeleteScimClient(w.ctx, c.ID, w.quiet()))
		back := w.readUser(u.ID)
		w.equal([]string{back.Issuer, back.Subject, back.Keeper}, []string{store.LocalIssuer, u.Subject, ""})
		_, _, err = w.s.Credential(w.ctx, "alice")
		w.ok(err)
	}},
	{"an adoption enables nobody, and one of somebody who is not active goes through the brake", func(w *world) {
		p, c := w.tied("sub")
		for i := range store.BrakeLeast + 1 {
			subject := fmt.Sprint("s-", i)
			u := w.came(p, subject, fmt.Sprint("u", i), nil)
			if i == 0 {
				must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled), By: w.admin.ID}, w.quiet()))
				v := must[store.ScimUser](w)(w.adopt(w.taking(c, u, subject), ""))
				w.equal([]any{v.Active, w.status(v), w.readUser(u.ID).DisabledBy}, []any{true, store.Disabled, w.admin.ID})
				continue
			}
			v, err := w.adopt(off(w.taking(c, u, subject)), "")
			if i < store.BrakeLeast {
				w.ok(err)
				w.equal([]any{w.status(v), w.readUser(u.ID).DisabledBy}, []any{store.Disabled, c.ID})
				continue
			}
			w.want(store.ErrBraked, err)
			now := w.readUser(u.ID)
			w.equal([]string{now.Status, now.Keeper}, []string{store.Active, ""})
		}
		w.equal(w.toldBy(audit.ScimBrake, c.ID), 1)
	}},
	{"what an administrator disabled, a client does not enable; what it disabled, it does", func(w *world) {
		c := w.scimClient("okta")
		by := func(u store.ScimUser) []string {
			now := w.readUser(u.User.ID)
			return []string{now.Status, now.DisabledBy}
		}
		put := func(v store.ScimUser, active bool) store.ScimUser {
			w.Helper()
			v.Active = active
			return must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, v, w.quiet()))
		}
		hand := func(u store.ScimUser, status string) {
			w.Helper()
			must[store.User](w)(w.s.UpdateUser(w.ctx, u.User.ID, store.UserChange{Status: &status, By: w.admin.ID}, w.quiet()))
		}
		read := func(u store.ScimUser) store.ScimUser {
			w.Helper()
			return must[store.ScimUser](w)(w.s.ScimUser(w.ctx, c.ID, u.User.ID))
		}
		u := put(w.scimUser(c, "alice"), false)
		w.equal(by(u), []string{store.Disabled, c.ID})
		u = put(u, true)
		w.equal(by(u), []string{store.Active, ""})
		hand(u, store.Disabled)
		w.equal(w.readUser(u.User.ID).DisabledAt, w.now)
		u = put(put(read(u), false), true)
		w.equal(by(u), []string{store.Disabled, w.admin.ID})
		hand(u, store.Active)
		u = put(read(u), false)
		hand(u, store.Disabled) // over what the client did
		stale := u
		stale.Active = true
		_, err := w.s.PutScimUser(w.ctx, stale, w.quiet())
		w.want(store.ErrChanged, err)
		u = put(read(u), true)
		w.equal(by(u), []string{store.Disabled, w.admin.ID})
		late := w.newScimUser(c, "late")
		late.Active = false
		late = must[store.ScimUser](w)(w.s.CreateScimUser(w.ctx, late, w.quiet()))
		w.equal(by(put(late, true)), []string{store.Active, ""})
	}},
	{"adoption and an administrator's disabling at once end in a user who is kept and disabled", func(w *world) {
		p, c := w.tied("sub")
		stores := w.instances(2)
		for i := range 10 {
			subject := fmt.Sprint("s-", i)
			u := w.came(p, subject, fmt.Sprint("u", i), nil)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = stores[0].AdoptScimUser(w.ctx, w.taking(c, u, subject), "", w.quiet()) })
			wg.Go(func() {
				_, _ = stores[len(stores)-1].UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled), By: w.admin.ID}, w.quiet())
			})
			wg.Wait()
			now := w.readUser(u.ID)
			w.equal([]string{now.Status, now.DisabledBy, now.Keeper}, []string{store.Disabled, w.admin.ID, c.ID})
		}
	}},
	{"of two clients that want the same user, at once, one has him", func(w *world) {
		p, c := w.tied("sub")
		other := must[store.ScimClient](w)(w.s.CreateScimClient(w.ctx, store.ScimClient{ID: ident.New(ident.ScimClient), Name: "second", Provider: p.ID, LinkClaim: "sub",
			TokenHash: sum("second")}, w.quiet()))
		u := w.came(p, "s-1", "alice", nil)
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, who := range []store.ScimClient{c, other} {
			wg.Go(func() { _, errs[i] = w.s.AdoptScimUser(w.ctx, w.taking(who, u, "s-1"), "", w.quiet()) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), store.ErrDenied) {
			w.Errorf("got %v", errs)
		}
	}},
	{"who waits is remembered once, with who may be meant, until he is made or adopted or the client forgets him", func(w *world) {
		p, c := w.tied("sub")
		alice := w.user("alice")
		mail := w.came(p, "s-2", "bob", nil)
		must[store.User](w)(w.s.UpdateUser(w.ctx, mail.ID, store.UserChange{Email: ptr("aLice@Example.com")}, w.quiet()))
		same := w.came(p, "ext", "carol", nil)
		a, b := w.waits(c, "Alice@example.com"), w.waits(c, "zoe@example.com")
		b.Login = "zoe"
		w.ok(w.s.NoteScimWaiting(w.ctx, a, w.quiet()))
		w.ok(w.s.NoteScimWaiting(w.ctx, b, w.quiet()))
		first := w.now
		w.now = w.now.Add(time.Hour)
		a.UserName, a.FullName = "alice@Example.com", "Ms B"
		w.ok(w.s.NoteScimWaiting(w.ctx, a, w.quiet()))
		a.CreatedAt, a.TriedAt, b.CreatedAt, b.TriedAt = first, w.now, first, first
		rows, next, err := w.s.ScimWaitings(w.ctx, c.ID, store.Page{Limit: 1})
		w.ok(err)
		w.equal(rows, []store.ScimWaiting{a})
		rows, _, err = w.s.ScimWaitings(w.ctx, c.ID, store.Page{Limit: 1, Cursor: next})
		w.ok(err)
		w.equal(rows, []store.ScimWaiting{b})
		w.equal(must[store.ScimWaiting](w)(w.s.ScimWaiting(w.ctx, c.ID, "ALICE@example.com")), a)
		_, err = w.s.ScimWaiting(w.ctx, "scm_none", "ALICE@example.com")
		w.want(store.ErrNotFound, err)
		found := map[string][]bool{}
		for _, k := range must[[]store.ScimCandidate](w)(w.s.ScimCandidates(w.ctx, a)) {
			found[k.User.ID] = []bool{k.SameIdentity, k.SameLogin, k.SameEmail}
		}
		w.equal(found, map[string][]bool{same.ID: {true, false, false}, alice.ID: {false, true, true}, mail.ID: {false, false, true}})
		w.equal(must[store.Takeover](w)(w.s.ScimTakeover(w.ctx, c.ID, same.ID, "ext")).Said, "ext")
		v := w.taking(c, same, "ext")
		v.UserName = a.UserName
		must[store.ScimUser](w)(w.adopt(v, ""))
		_, err = w.s.ScimWaiting(w.ctx, c.ID, a.UserName)
		w.want(store.ErrNotFound, err)
		w.now = first.Add(store.ScimWaits - time.Second)
		w.ok(w.s.NoteScimWaiting(w.ctx, w.waits(c, "new@example.com"), w.quiet()))
		must[store.ScimWaiting](w)(w.s.ScimWaiting(w.ctx, c.ID, b.UserName))
		w.now = first.Add(store.ScimWaits)
		w.ok(w.s.NoteScimWaiting(w.ctx, w.waits(c, "new@example.com"), w.quiet()))
		_, err = w.s.ScimWaiting(w.ctx, c.ID, b.UserName)
		w.want(store.ErrNotFound, err)
		w.ok(w.s.DeleteScimClient(w.ctx, c.ID, w.quiet()))
	}},
	{"no more wait than MaxScimWaiting", func(w *world) {
		_, c := w.tied("sub")
		var wg sync.WaitGroup
		for part := range 8 { // together, so that they share commits
			wg.Go(func() {
				for i := part; i < store.MaxScimWaiting; i += 8 {
					if err := w.s.NoteScimWaiting(w.ctx, w.waits(c, fmt.Sprint("u", i)), w.quiet()); err != nil {
						w.Error(err)
					}
				}
			})
		}
		wg.Wait()
		w.ok(w.s.NoteScimWaiting(w.ctx, w.waits(c, "u0"), w.quiet()))
		w.want(store.ErrTooMany, w.s.NoteScimWaiting(w.ctx, w.waits(c, "more"), w.quiet()))
	}},
	{"users are listed with who keeps them, who disabled them and when they signed in last", func(w *world) {
		c := w.scimClient("okta")
		u := w.scimUser(c, "carol")
		w.signIn(u.User)
		at := w.now
		w.now = w.now.Add(time.Hour)
		must[store.ScimUser](w)(w.s.PutScimUser(w.ctx, off(u), w.quiet()))
		want := w.readUser(u.User.ID)
		w.equal([]any{want.Keeper, want.DisabledBy, want.DisabledAt, want.SignedInAt}, []any{c.ID, c.ID, w.now, at})
		w.equal(must[store.User](w)(w.s.UserByName(w.ctx, "carol")), want)
		rows, _, err := w.s.Users(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.User{w.admin, want})
	}},
}
