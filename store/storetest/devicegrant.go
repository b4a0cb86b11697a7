package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// waiting is a device that waits for somebody to type its code.
func (w *world) waiting(name string) store.DeviceGrant {
	w.Helper()
	must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{DeviceCode: ptr(true)}, w.quiet()))
	g := store.DeviceGrant{
		ID: ident.New(ident.DeviceGrant), CodeHash: sum("code " + name), UserCodeHash: sum("typed " + name), Thumbprint: "key " + name, DeviceName: name,
		Source: "192.0.2.7", Wait: 5, Replaces: "old", ReplacesKey: "key old", CreatedAt: w.now, ExpiresAt: w.now.Add(10 * time.Minute),
	}
	w.ok(w.s.CreateDeviceGrant(w.ctx, g, w.quiet()))
	return g
}

// typed is the request that typing the code of g makes.
func (w *world) typed(g store.DeviceGrant) store.AuthRequest {
	w.Helper()
	r := store.AuthRequest{ID: ident.New(ident.AuthRequest), BrowserHash: sum("browser"), Source: "198.51.100.1", CreatedAt: w.now}
	return must[store.AuthRequest](w)(w.s.TypeUserCode(w.ctx, g.UserCodeHash, r, w.quiet()))
}

// said is a user's yes to the request, at a page that he signed in to for it.
func (w *world) said(u store.User, r store.AuthRequest) error {
	w.Helper()
	w.page(u, sum("page "+r.ID))
	_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID, LoginHash: sum("page " + r.ID)}, w.quiet())
	return err
}

func (w *world) poll(g store.DeviceGrant) (store.Subject, error) {
	w.now = w.now.Add(time.Minute)
	id := ident.New(ident.Session)
	asked, err := w.s.DeviceGrantRequest(w.ctx, g.CodeHash)
	if !errors.Is(err, store.ErrNotFound) {
		w.ok(err)
	}
	return w.s.PollDeviceGrant(w.ctx, store.DeviceRedemption{
		CodeHash: g.CodeHash, User: asked.User, Thumbprint: g.Thumbprint,
		Session: store.Session{ID: id, TokenHash: sum(id), ExpiresAt: w.now.Add(time.Hour)}, Device: store.Device{ID: ident.New(ident.Device)},
	}, w.quiet())
}

var deviceGrantCases = []testCase{
	{"a device gets its session once, when somebody has typed its code and said yes", func(w *world) {
		g, u := w.waiting("build"), w.user("alice")
		_, err := w.poll(g)
		w.want(store.ErrPending, err)
		r := w.typed(g)
		w.equal(must[store.AuthRequest](w)(w.s.AuthRequest(w.ctx, r.ID)), r)
		if r.Grant != g.ID || r.Origin != g.Source || r.DeviceName != g.DeviceName || r.Thumbprint != g.Thumbprint || r.Replaces != g.Replaces || r.ReplacesKey != g.ReplacesKey || !r.ExpiresAt.Equal(g.ExpiresAt) {
			w.Errorf("the request is %+v", r)
		}
		_, err = w.poll(g)
		w.want(store.ErrPending, err)
		shown := w.now
		w.ok(w.said(u, r))
		id := ident.New(ident.Session) // between the caller's look and his poll she said yes
		_, err = w.s.PollDeviceGrant(w.ctx, store.DeviceRedemption{CodeHash: g.CodeHash, Thumbprint: g.Thumbprint, Session: store.Session{ID: id, TokenHash: sum(id), ExpiresAt: w.now.Add(time.Hour)}},
			store.Meta{Now: w.now.Add(30 * time.Second)})
		w.want(store.ErrPending, err)
		v := must[store.Subject](w)(w.poll(g))
		if v.User.ID != u.ID || v.Device.Name != "build" || v.Session.Thumbprint != g.Thumbprint || !v.Session.AuthenticatedAt.Equal(shown) {
			w.Errorf("the session is %+v", v)
		}
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)), v)
		_, err = w.poll(g)
		w.want(store.ErrUsed, err)
	}},
	{"who typed the code on a device of his says yes there, by showing anew who he is", func(w *world) {
		g, u := w.waiting("build"), w.user("alice")
		v := w.signIn(u)
		other := w.signIn(w.user("bob"))
		r := w.typed(g)
		yes := store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID}
		refused := func(name string, want error, code store.Redemption, a store.Approval) {
			w.Helper()
			_, err := w.s.ApproveDeviceGrant(w.ctx, code, a, w.meta("approved"))
			if w.want(want, err); w.Failed() {
				w.Fatal(name)
			}
			w.unlogged("approved")
			_, err = w.poll(g)
			w.want(store.ErrPending, err)
		}
		refused("another person's code", store.ErrDenied, w.codeFor(other.User, v, "device "+r.ID), yes)
		refused("in the name of another", store.ErrDenied, w.codeFor(u, v, "device "+r.ID), store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: other.User.ID})
		refused("another device's code", store.ErrDenied, w.codeFor(u, other, "device "+r.ID), yes)
		stranger := yes
		stranger.BrowserHash = sum("elsewhere")
		refused("typed elsewhere", store.ErrDenied, w.codeFor(u, v, "device "+r.ID), stranger)
		mixed := w.codeFor(u, v, "web")
		mixed.Project = "device " + r.ID
		refused("a code for a project", store.ErrDenied, mixed, yes)
		before := w.codeFor(u, v, "device "+r.ID)
		w.now = w.now.Add(time.Second)
		late := w.waiting("late")
		lateAsk := store.Approval{Request: w.typed(late).ID, BrowserHash: r.BrowserHash, User: u.ID}
		refused("shown before the code was typed", store.ErrDenied, before, lateAsk)
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{DeviceCode: ptr(false)}, w.quiet()))
		_, err := w.s.ApproveDeviceGrant(w.ctx, w.codeFor(u, v, "device "+r.ID), yes, w.meta("approved"))
		w.want(store.ErrDenied, err)
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{DeviceCode: ptr(true)}, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		refused("an administrator", store.ErrDenied, w.codeFor(u, v, "device "+r.ID), yes)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Admin: ptr(false)}, w.quiet()))

		code := w.codeFor(u, v, "device "+r.ID)
		shown := w.now
		must[store.AuthRequest](w)(w.s.ApproveDeviceGrant(w.ctx, code, yes, w.meta("approved")))
		_, err = w.s.ApproveDeviceGrant(w.ctx, code, yes, w.meta("again"))
		w.want(store.ErrUsed, err)
		_, err = w.s.ApproveDeviceGrant(w.ctx, w.codeFor(u, v, "device "+r.ID), yes, w.meta("again"))
		w.want(store.ErrUsed, err)
		w.unlogged("again")
		in := must[store.Subject](w)(w.poll(g))
		if in.User.ID != u.ID || in.Device.Name != "build" || !in.Session.AuthenticatedAt.Equal(shown) {
			w.Errorf("the session is %+v", in)
		}
	}},
	{"a no ends it, and so does the time", func(w *world) {
		g, u := w.waiting("build"), w.user("alice")
		r := w.typed(g)
		_, err := w.s.RefuseAuthRequest(w.ctx, r.ID, r.BrowserHash, w.quiet())
		w.ok(err)
		w.want(store.ErrUsed, w.said(u, r))
		_, err = w.poll(g)
		w.want(store.ErrRefused, err)
		late := w.waiting("late")
		r = w.typed(late)
		w.ok(w.said(u, r))
		w.now = late.ExpiresAt.Add(-time.Minute) // and poll waits for one
		_, err = w.poll(late)
		w.want(store.ErrUsed, err)
		_, err = w.s.TypeUserCode(w.ctx, late.UserCodeHash, store.AuthRequest{ID: ident.New(ident.AuthRequest), BrowserHash: sum("browser")}, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a code belongs to the first browser in which it is typed", func(w *world) {
		g := w.waiting("build")
		r := w.typed(g)
		w.equal(w.typed(g), r)
		for name, hash := range map[string][]byte{"another browser": g.UserCodeHash, "another code": sum("typed x"), "no code": nil} {
			_, err := w.s.TypeUserCode(w.ctx, hash, store.AuthRequest{ID: ident.New(ident.AuthRequest), BrowserHash: sum(name), CreatedAt: w.now}, w.quiet())
			w.want(store.ErrNotFound, err)
		}
	}},
	{"who polls too soon waits longer, and one with another key learns nothing", func(w *world) {
		g, u := w.waiting("build"), w.user("alice")
		w.ok(w.said(u, w.typed(g)))
		thief := g
		thief.Thumbprint = "x"
		_, err := w.poll(thief)
		w.want(store.ErrDenied, err)
		soon := func(after time.Duration) error {
			w.now = w.now.Add(after - time.Minute)
			_, err := w.poll(g)
			return err
		}
		bob := w.waiting("other") // pending, so that polls do not end it
		g = bob
		w.want(store.ErrPending, soon(time.Minute))
		w.want(store.ErrTooSoon, soon(5*time.Second-time.Microsecond))
		w.want(store.ErrTooSoon, soon(10*time.Second-time.Microsecond))
		w.want(store.ErrPending, soon(15*time.Second))
	}},
	{"administrators, who may not, and who has not shown it anew, sign no device in by a code", func(w *world) {
		g := w.waiting("build")
		r := w.typed(g)
		admin := w.user("root")
		must[store.User](w)(w.s.UpdateUser(w.ctx, admin.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		w.want(store.ErrDenied, w.said(admin, r))
		u := w.user("alice")
		w.page(u, sum("old page"))
		w.now = w.now.Add(time.Second)
		young := w.waiting("young")
		r2 := w.typed(young)
		_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r2.ID, BrowserHash: r2.BrowserHash, User: u.ID, LoginHash: sum("old page")}, w.quiet())
		w.want(store.ErrDenied, err)
		w.ok(w.said(u, r2))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Admin: ptr(true)}, w.quiet()))
		_, err = w.poll(young)
		w.want(store.ErrDenied, err)
	}},
	{"without the team's word there is none of it", func(w *world) {
		u := w.user("alice")
		g := w.waiting("build")
		r := w.typed(g)
		yes := w.waiting("yes")
		w.ok(w.said(u, w.typed(yes)))
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{DeviceCode: ptr(false)}, w.quiet()))
		for i, err := range []error{
			func() error { g := g; g.ID = "dgr_x"; return w.s.CreateDeviceGrant(w.ctx, g, w.quiet()) }(),
			w.said(u, r),
			func() error { _, err := w.poll(yes); return err }(),
			func() error {
				_, err := w.s.TypeUserCode(w.ctx, g.UserCodeHash, store.AuthRequest{ID: "x", BrowserHash: sum("browser")}, w.quiet())
				return err
			}(),
		} {
			if w.want(store.ErrDenied, err); w.Failed() {
				w.Fatal(fmt.Sprint("command ", i))
			}
		}
	}},
	{"ApproveDevice lets in what waits, notes it of what is in, and is over then", func(w *world) {
		v := w.signIn(w.user("alice"))
		approve := func() error {
			_, err := w.s.ApproveDevice(w.ctx, v.Device.ID, w.meta("device.approve"))
			return err
		}
		state := func() store.Device { return must[store.Device](w)(w.s.Device(w.ctx, v.Device.ID)) }
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, store.Revoked, w.quiet()))
		w.want(store.ErrDenied, approve())
		w.unlogged("device.approve")
		w.equal(state().State, store.Revoked)
		for _, before := range []string{store.Pending, store.Active} {
			v = w.signIn(w.user("user " + before))
			w.equal(v.Device.ApprovedAt, time.Time{})
			must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, before, w.quiet()))
			woken := w.s.Watch(w.ctx, store.UserTopic(v.User.ID))
			w.ok(approve())
			w.awake(woken)
			v.Device.ApprovedAt = w.now
			w.equal(state(), v.Device)
			w.want(store.ErrDenied, approve())
			w.equal(state(), v.Device)
		}
		_, err := w.s.ApproveDevice(w.ctx, "dev_none", w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a token of a fleet spares a new device the approval, and counts as one", func(w *world) {
		u := w.user("alice")
		redeem := func(key string, state string, token []byte) store.Device {
			r := w.approved(u, key)
			r.Device.State, r.Enrolment = state, token
			return must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet())).Device
		}
		left := func() int {
			n := 0
			tokens, _, err := w.s.EnrolmentTokens(w.ctx, store.Page{Limit: 100})
			w.ok(err)
			for _, t := range tokens {
				n += t.UsesLeft
			}
			return n
		}
		gateway := w.token(store.KindGateway, "", 1)
		for name, token := range map[string][]byte{"none": nil, "unknown": sum("x"), "of a gateway": gateway} {
			w.equal(redeem("key "+name, store.Pending, token).State, store.Pending)
		}
		w.equal(left(), 1)
		fleet := w.token(store.KindDevice, "", 2)
		w.equal(redeem("not waiting", store.Active, nil).ApprovedAt, time.Time{})
		w.equal(redeem("not waiting", store.Active, fleet).ApprovedAt, time.Time{}) // it is not new
		w.equal(redeem("key none", store.Pending, fleet).State, store.Pending)      // it waits already: an administrator has seen it
		w.equal(left(), 3)
		for range 2 {
			d := redeem("one", store.Pending, fleet)
			w.equal(d.State, store.Active)
			w.equal(d.ApprovedAt, w.now)
			w.equal(must[store.Device](w)(w.s.Device(w.ctx, d.ID)), d)
		}
		w.equal(left(), 2)
		w.equal(redeem("two", store.Active, fleet).ApprovedAt, w.now) // where projects ask for an approval
		w.equal(left(), 1)
		w.equal(redeem("three", store.Pending, fleet).State, store.Pending)
	}},
	{"what a device says of itself is that of its last sign-in", func(w *world) {
		u := w.user("alice")
		says := func(report string) store.Device {
			w.now = w.now.Add(time.Minute)
			r := w.approved(u, "key")
			r.Device.Report = report
			v := must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
			w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)), v)
			w.equal(must[store.Device](w)(w.s.Device(w.ctx, v.Device.ID)), v.Device)
			return v.Device
		}
		if d := says(""); d.Report != "" || !d.ReportedAt.IsZero() {
			w.Errorf("of nothing: %+v", d)
		}
		for _, report := range []string{`{"key":"tpm"}`, `{"key":"tpm"}`, `{"key":"file"}`, ""} {
			if d := says(report); d.Report != report || !d.ReportedAt.Equal(w.now) {
				w.Errorf("of %s at %s: %+v", report, w.now, d)
			}
		}
	}},
}
