package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

var signInCases = []testCase{
	{"Authenticate finds a user's session whatever its state", func(w *world) {
		v := w.signIn(w.user("alice"))
		got := must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash))
		w.equal(got, v)
		w.ok(w.s.RevokeSession(w.ctx, v.Session.ID, w.quiet()))
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, store.Revoked, w.quiet()))
		v.User = must[store.User](w)(w.s.UpdateUser(w.ctx, v.User.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		v.Session.RevokedAt, v.Device.State = w.now, store.Revoked
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)), v)
	}},
	{"Authenticate is ErrNotFound for an unknown hash", func(w *world) {
		_, err := w.s.Authenticate(w.ctx, sum("none"))
		w.want(store.ErrNotFound, err)
		_, err = w.s.Authenticate(w.ctx, nil)
		w.want(store.ErrNotFound, err)
	}},
	{"an auth request is read back", func(w *world) {
		r := w.request("key")
		w.equal(must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, r.ID)), r)
		_, err := w.s.AuthRequest(w.ctx, "req_none")
		w.want(store.ErrNotFound, err)
	}},
	{"ApproveAuthRequest binds the request to the user, once", func(w *world) {
		u, r := w.user("alice"), w.request("key")
		w.browser(u)
		approve := func(browser string, user string, code string, now time.Time) error {
			m := w.quiet()
			m.Now = now
			_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r.ID, BrowserHash: sum(browser), User: user,
				LoginHash: sum("page"), CodeHash: sum(code), CodeExpires: now.Add(time.Minute)}, m)
			return err
		}
		w.want(store.ErrDenied, approve("another browser", u.ID, "c", w.now))
		w.want(store.ErrUsed, approve("browser", u.ID, "c", r.ExpiresAt))
		w.want(store.ErrDenied, approve("browser", "usr_none", "c", w.now))
		w.ok(approve("browser", u.ID, "c", r.ExpiresAt.Add(-time.Microsecond)))
		w.want(store.ErrUsed, approve("browser", u.ID, "d", w.now))
		w.equal(must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, r.ID)).User, u.ID)
		_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: "req_none", User: u.ID, CodeHash: sum("e"), CodeExpires: w.now}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"ApproveAuthRequest is ErrDenied if the user is not active", func(w *world) {
		u, r := w.user("alice"), w.request("key")
		a := w.approval(u, r)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.ApproveAuthRequest(w.ctx, a, w.quiet())
		w.want(store.ErrDenied, err)
	}},
	// The thief's browser asks just before the password is reset, and is heard just after.
	{"ApproveAuthRequest is ErrDenied for a browser session that ended, or another's", func(w *world) {
		u, r := w.user("alice"), w.request("key")
		a := w.approval(u, r)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet()))
		_, err := w.s.ApproveAuthRequest(w.ctx, a, w.quiet())
		w.want(store.ErrDenied, err)
		w.page(w.admin, sum("admin's page"))
		a.LoginHash = sum("admin's page")
		_, err = w.s.ApproveAuthRequest(w.ctx, a, w.quiet())
		w.want(store.ErrDenied, err)
		w.page(u, sum("new page"))
		a.LoginHash = sum("new page")
		_, err = w.s.ApproveAuthRequest(w.ctx, a, w.quiet())
		w.ok(err)
	}},
	{"RefuseAuthRequest ends it", func(w *world) {
		u, r := w.user("alice"), w.request("key")
		_, err := w.s.RefuseAuthRequest(w.ctx, r.ID, sum("another browser"), w.quiet())
		w.want(store.ErrDenied, err)
		w.equal(must[store.AuthRequest](w)(w.s.RefuseAuthRequest(w.ctx, r.ID, r.BrowserHash, w.quiet())), r)
		_, err = w.s.ApproveAuthRequest(w.ctx, w.approval(u, r), w.quiet())
		w.want(store.ErrUsed, err)
		_, err = w.s.RefuseAuthRequest(w.ctx, r.ID, r.BrowserHash, w.quiet())
		w.want(store.ErrUsed, err)
	}},
	{"Redeem makes the session, and the device where the user has none with this key", func(w *world) {
		u := w.user("alice")
		r := w.approved(u, "key")
		v := must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.meta("signin")))
		w.equal(v.User, u)
		w.equal(v.Device, store.Device{ID: r.Device.ID, User: u.ID, Name: "laptop", Thumbprint: "key", State: store.Active, CreatedAt: w.now})
		want := r.Session
		want.User, want.Device, want.Thumbprint = u.ID, v.Device.ID, "key"
		w.equal(v.Session, want)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, want.ID)), want)
		again := must[store.Subject](w)(w.s.Redeem(w.ctx, w.approved(u, "key"), w.meta("signin")))
		w.equal(again.Device, v.Device)
		// Another user with this key has another device.
		other := must[store.Subject](w)(w.s.Redeem(w.ctx, w.approved(w.user("bob"), "key"), w.meta("signin")))
		if other.Device.ID == v.Device.ID {
			w.Fatal("two users share a device")
		}
	}},
	{"Redeem is ErrUsed for an unknown or over code", func(w *world) {
		r := w.approved(w.user("alice"), "key")
		late := w.meta("late")
		late.Now = w.now.Add(time.Minute)
		_, err := w.s.Redeem(w.ctx, r, late)
		w.want(store.ErrUsed, err)
		w.unlogged("late")
		code := r.CodeHash
		r.CodeHash = sum("unknown")
		_, err = w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrUsed, err)
		r.CodeHash = code
		w.now = w.now.Add(time.Minute - time.Microsecond)
		must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
	}},
	{"a request goes with its end, and one that brought a session a day later", func(w *world) {
		u := w.user("alice")
		used, never := w.approved(u, "key"), w.approved(u, "other key")
		v := must[store.Subject](w)(w.s.Redeem(w.ctx, used, w.quiet()))
		begun := w.request("key")
		g := w.waiting("build")
		before := w.now
		w.now = begun.ExpiresAt.Add(-time.Microsecond)
		w.ok(w.s.Sweep(w.ctx, w.now))
		must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, begun.ID))
		w.now = before.Add(23 * time.Hour)
		w.ok(w.s.Sweep(w.ctx, w.now))
		_, err := w.s.AuthRequest(w.ctx, begun.ID)
		w.want(store.ErrNotFound, err)
		_, err = w.s.Redeem(w.ctx, never, w.quiet())
		w.want(store.ErrUsed, err)
		_, err = w.s.Redeem(w.ctx, used, w.quiet())
		w.want(store.ErrUsed, err)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, v.Session.ID)).RevokedAt, w.now)
		_, err = w.poll(g)
		w.want(store.ErrUsed, err)
	}},
	{"a second use of a code revokes the session of the first, and that is kept", func(w *world) {
		p := w.path()
		r := w.approved(p.user, "key")
		p.subject = must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
		h := w.session(p)
		second := r
		second.Session.ID, second.Session.TokenHash = ident.New(ident.Session), sum("second")
		_, err := w.s.Redeem(w.ctx, second, w.meta("second use"))
		w.want(store.ErrUsed, err)
		w.unlogged("second use")
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, r.Session.ID)).RevokedAt, w.now)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		_, err = w.s.Session(w.ctx, second.Session.ID)
		w.want(store.ErrNotFound, err)
	}},
	{"a mismatch is ErrDenied and consumes the code", func(w *world) {
		u := w.user("alice")
		for _, change := range []func(*store.Redemption){
			func(r *store.Redemption) { r.RedirectURI += "x" },
			func(r *store.Redemption) { r.Challenge += "x" },
			func(r *store.Redemption) { r.Thumbprint += "x" },
		} {
			r := w.approved(u, "key")
			wrong := r
			change(&wrong)
			_, err := w.s.Redeem(w.ctx, wrong, w.quiet())
			w.want(store.ErrDenied, err)
			_, err = w.s.Redeem(w.ctx, r, w.quiet())
			w.want(store.ErrUsed, err)
		}
	}},
	{"Redeem is ErrDenied for a user that is not active", func(w *world) {
		u := w.user("alice")
		r := w.approved(u, "key")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Active)}, w.quiet()))
		_, err = w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err) // what he said yes to before is over
	}},
	{"a sign-in of which nobody knows when who began it showed himself stays so", func(w *world) {
		r := w.approved(w.user("alice"), "key")
		r.Session.AuthenticatedAt = time.Time{}
		v := must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
		w.equal(v.Session.AuthenticatedAt, time.Time{})
		got, err := w.s.Session(w.ctx, v.Session.ID)
		w.ok(err)
		w.equal(got.AuthenticatedAt, time.Time{})
	}},
	{"Redeem is ErrDenied for a device that is revoked", func(w *world) {
		u := w.user("alice")
		v := must[store.Subject](w)(w.s.Redeem(w.ctx, w.approved(u, "key"), w.quiet()))
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, store.Revoked, w.quiet()))
		_, err := w.s.Redeem(w.ctx, w.approved(u, "key"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
}

var sessionCases = []testCase{
	{"a browser session is found until it is over or deleted", func(w *world) {
		w.browser(w.admin)
		b, u, err := w.s.BrowserSession(w.ctx, sum("page"), w.now.Add(time.Hour-time.Microsecond))
		w.ok(err)
		w.equal(u, w.admin)
		w.equal(b.User, w.admin.ID)
		_, _, err = w.s.BrowserSession(w.ctx, sum("page"), w.now.Add(time.Hour))
		w.want(store.ErrNotFound, err)
		w.ok(w.s.DeleteBrowserSession(w.ctx, sum("page"), w.quiet()))
		_, _, err = w.s.BrowserSession(w.ctx, sum("page"), w.now)
		w.want(store.ErrNotFound, err)
	}},
	{"a user who is not active gets no browser session", func(w *world) {
		u := w.user("alice")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.CreateBrowserSession(w.ctx, store.BrowserSession{ID: "bse_a", User: u.ID, TokenHash: sum("page"), ExpiresAt: w.now.Add(time.Hour)}, "hash of alice", w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"who showed a password that was changed meanwhile gets no browser session", func(w *world) {
		u := w.user("alice")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet()))
		create := func(hash string) error {
			_, err := w.s.CreateBrowserSession(w.ctx, store.BrowserSession{ID: "bse_a", User: u.ID, TokenHash: sum("page"), ExpiresAt: w.now.Add(time.Hour)}, hash, w.quiet())
			return err
		}
		w.want(store.ErrDenied, create("hash of alice"))
		w.want(store.ErrDenied, create(""))
		w.ok(create("new"))
	}},
	{"Attempt counts within a window that begins with the first try", func(w *world) {
		for i, c := range []struct {
			after time.Duration
			tries int
			ends  time.Duration
		}{
			{0, 1, time.Minute}, {time.Second, 2, time.Minute}, {time.Minute - time.Microsecond, 3, time.Minute}, {time.Minute, 1, 2 * time.Minute},
		} {
			n, ends, err := w.s.Attempt(w.ctx, "alice", time.Minute, w.now.Add(c.after))
			w.ok(err)
			if n != c.tries || !ends.Equal(w.now.Add(c.ends)) {
				w.Fatalf("try %d: %d until %v", i, n, ends)
			}
		}
		w.ok(w.s.ForgiveAttempts(w.ctx, "alice"))
		n, _, err := w.s.Attempt(w.ctx, "alice", time.Minute, w.now)
		w.ok(err)
		w.equal(n, 1)
		n, _, err = w.s.Attempt(w.ctx, "bob", time.Minute, w.now)
		w.ok(err)
		w.equal(n, 1)
	}},
	{"Sessions and Devices list those of a user, or all", func(w *world) {
		a, b := w.signIn(w.user("alice")), w.signIn(w.user("bob"))
		for user, want := range map[string]int{a.User.ID: 1, b.User.ID: 1, "": 2, "usr_none": 0} {
			x, _, err := w.s.Sessions(w.ctx, user, store.Page{Limit: 10})
			w.ok(err)
			d, _, err := w.s.Devices(w.ctx, user, store.Page{Limit: 10})
			w.ok(err)
			w.equal([]int{len(x), len(d)}, []int{want, want})
		}
		x, _, err := w.s.Sessions(w.ctx, a.User.ID, store.Page{Limit: 1})
		w.ok(err)
		w.equal(x[0], a.Session)
		w.equal(must[store.Device](w)(w.s.Device(w.ctx, a.Device.ID)), a.Device)
		_, err = w.s.Session(w.ctx, "ses_none")
		w.want(store.ErrNotFound, err)
		_, err = w.s.Device(w.ctx, "dev_none")
		w.want(store.ErrNotFound, err)
	}},
	{"RevokeSession orders the end of the gateway sessions that it began, and of no other", func(w *world) {
		p := w.path()
		h := w.session(p)
		other := p
		other.subject = w.signIn(p.user)
		w.session(other)
		gateway, user := w.s.Watch(w.ctx, store.GatewayTopic(p.gateway.ID)), w.s.Watch(w.ctx, store.UserTopic(p.user.ID))
		w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.meta("session.revoke")))
		w.awake(gateway)
		w.awake(user)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		w.now = w.now.Add(time.Hour)
		w.ok(w.s.RevokeSession(w.ctx, p.subject.Session.ID, w.quiet()))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, p.subject.Session.ID)).RevokedAt, w.now.Add(-time.Hour))
		w.want(store.ErrNotFound, w.s.RevokeSession(w.ctx, "ses_none", w.quiet()))
	}},
	{"RenewSession ends a session, and what it began goes on and ends with the next one", func(w *world) {
		p := w.path()
		h := w.session(p)
		key := p.subject.Session.Thumbprint
		next := w.signInWith(p.user, key)
		user := w.s.Watch(w.ctx, store.UserTopic(p.user.ID))
		w.ok(w.s.RenewSession(w.ctx, p.subject.Session.ID, next.Session.ID, w.meta("session.renew")))
		w.awake(user)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, p.subject.Session.ID)).RevokedAt, w.now)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(len(ids), 0)
		w.equal(w.live(p), 1)
		// A stolen device renews again and again: what it was given before must not outlive it.
		last := w.signInWith(p.user, key)
		w.ok(w.s.RenewSession(w.ctx, next.Session.ID, last.Session.ID, w.quiet()))
		revoked := func() int {
			return len(must[store.ProjectFacts](w)(w.s.ProjectFacts(w.ctx, p.project.ID)).Revoked.Serials)
		}
		w.equal(revoked(), 0)
		w.ok(w.s.RevokeSession(w.ctx, last.Session.ID, w.quiet()))
		ids, _, err = w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		w.equal(revoked(), 1)
	}},
	{"RenewSession takes no session of another rule, whose end would not be its own", func(w *world) {
		i, u := w.workloadIssuer("github"), w.service("deploy")
		first, second := w.workloadRule(i, u), w.workloadRule(i, u)
		a, b, c := w.job(first, "1", "key"), w.job(second, "2", "key"), w.job(first, "3", "key")
		for _, v := range []store.WorkloadSignIn{a, b, c} {
			must[store.Subject](w)(w.s.SignInWorkload(w.ctx, v, w.quiet()))
		}
		w.want(store.ErrDenied, w.s.RenewSession(w.ctx, a.Session.ID, b.Session.ID, w.quiet()))
		w.ok(w.s.RenewSession(w.ctx, a.Session.ID, c.Session.ID, w.quiet()))
	}},
	{"RenewSession takes no session of another user or key, none that is over, and not itself", func(w *world) {
		p := w.path()
		w.session(p)
		id, key := p.subject.Session.ID, p.subject.Session.Thumbprint
		over := w.signInWith(p.user, key).Session.ID
		w.ok(w.s.RevokeSession(w.ctx, over, w.quiet()))
		for _, next := range []string{w.signIn(w.user("mallory")).Session.ID, w.signIn(p.user).Session.ID, over, id, "ses_none"} {
			w.want(store.ErrDenied, w.s.RenewSession(w.ctx, id, next, w.quiet()))
		}
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, id)).RevokedAt, time.Time{})
		good := w.signInWith(p.user, key).Session.ID
		w.want(store.ErrDenied, w.s.RenewSession(w.ctx, over, good, w.quiet()))
		w.now = w.now.Add(30 * time.Hour)
		w.want(store.ErrDenied, w.s.RenewSession(w.ctx, id, good, w.quiet()))
	}},
	{"revoking a device revokes its sessions as RevokeSession does", func(w *world) {
		p := w.path()
		h := w.session(p)
		d := must[store.Device](w)(w.s.SetDeviceState(w.ctx, p.subject.Device.ID, store.Revoked, w.quiet()))
		w.equal(d.State, store.Revoked)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, p.subject.Session.ID)).RevokedAt, w.now)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{h.ID})
		_, err = w.s.SetDeviceState(w.ctx, "dev_none", store.Revoked, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
}

var pageCases = []testCase{
	{"pages join to the whole list in a stable order, whatever comes and goes between", func(w *world) {
		g := w.group("all")
		for i := range 23 {
			w.member(g, w.user(fmt.Sprintf("user%02d", i)), time.Time{})
		}
		w.pages("user05", func(p store.Page) (names []string, next string, err error) {
			users, next, err := w.s.Users(w.ctx, p)
			for _, u := range users {
				names = append(names, u.Name)
			}
			return names, next, err
		})
		w.pages("user07", func(p store.Page) (names []string, next string, err error) {
			members, next, err := w.s.Members(w.ctx, g.ID, p)
			for _, m := range members {
				names = append(names, m.UserName)
			}
			return names, next, err
		})
	}},
	{"gateway sessions come newest first, page by page", func(w *world) {
		p := w.path()
		var want []string
		for range 7 {
			want = append([]string{w.session(p).ID}, want...)
			w.now = w.now.Add(time.Second)
		}
		var got []string
		page := store.Page{Limit: 3}
		for {
			rows, next, err := w.s.GatewaySessions(w.ctx, store.SessionFilter{User: p.user.ID, Live: true}, page)
			w.ok(err)
			for _, h := range rows {
				got = append(got, h.ID)
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
		w.equal(got, want)
	}},
	{"rows of one instant are all listed", func(w *world) {
		p, g := w.project("web", "none"), w.group("ops")
		for range 5 {
			w.grant(p, g, time.Time{})
		}
		seen := map[string]bool{}
		page := store.Page{Limit: 2}
		for {
			grants, next, err := w.s.Grants(w.ctx, p.ID, page)
			w.ok(err)
			for _, v := range grants {
				seen[v.ID] = true
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
		w.equal(len(seen), 5)
	}},
	{"a limit is 1 to 1000", func(w *world) {
		g := w.group("all")
		w.member(g, w.user("alice"), time.Time{})
		for limit, want := range map[int]int{-1: 1, 0: 1, 1: 1, 2: 2, 1000: 2, 1001: 2} {
			users, _, err := w.s.Users(w.ctx, store.Page{Limit: limit})
			w.ok(err)
			w.equal(len(users), want)
		}
	}},
	{"a cursor that is none of ours is ErrNotFound", func(w *world) {
		for _, c := range []string{"x", "!!", "e30", "WzEsImEiXQ", "WyJhIl0", "WyJhIiwiYiIsImMiXQ"} {
			if _, _, err := w.s.Users(w.ctx, store.Page{Limit: 1, Cursor: c}); err != nil {
				w.want(store.ErrNotFound, err)
			}
		}
		_, _, err := w.s.Users(w.ctx, store.Page{Limit: 1, Cursor: "WzEsImEiXQ"}) // [1,"a"]: a time where a name belongs
		w.want(store.ErrNotFound, err)
	}},
}

// pages reads a list by threes while a user's row is changed, and compares it
// with the list in one piece.
func (w *world) pages(change string, read func(store.Page) ([]string, string, error)) {
	w.Helper()
	want, _, err := read(store.Page{Limit: 1000})
	w.ok(err)
	var got []string
	page := store.Page{Limit: 3}
	for {
		names, next, err := read(page)
		w.ok(err)
		got = append(got, names...)
		u := must[store.User](w)(w.s.UserByName(w.ctx, change))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Email: ptr(next)}, w.quiet()))
		if page.Cursor = next; next == "" {
			break
		}
	}
	w.equal(got, want)
}
