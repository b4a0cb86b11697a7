package storetest

import (
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// replacing is the redemption of a new device that comes in the place of another.
func (w *world) replacing(u store.User, old, key string) store.Redemption {
	w.Helper()
	r := w.approved(u, key)
	r.Replaces = old
	return r
}

var deviceCases = []testCase{
	{"DeviceByKey finds a user's own device, whatever its state", func(w *world) {
		u := w.user("alice")
		v := w.signInWith(u, "key")
		w.equal(must[store.Device](w)(w.s.DeviceByKey(w.ctx, u.ID, "key")), v.Device)
		_, err := w.s.DeviceByKey(w.ctx, u.ID, "another")
		w.want(store.ErrNotFound, err)
		_, err = w.s.DeviceByKey(w.ctx, w.user("bob").ID, "key")
		w.want(store.ErrNotFound, err)
		must[store.Device](w)(w.s.SetDeviceState(w.ctx, v.Device.ID, store.Revoked, w.quiet()))
		w.equal(must[store.Device](w)(w.s.DeviceByKey(w.ctx, u.ID, "key")).State, store.Revoked)
	}},
	{"a device that replaces another revokes it and all that it began, with its own first session", func(w *world) {
		p := w.path()
		connection := w.session(p)
		old, stays := p.subject, w.signIn(p.user)
		woken := w.s.Watch(w.ctx, store.UserTopic(p.user.ID))
		v := must[store.Subject](w)(w.s.Redeem(w.ctx, w.replacing(p.user, old.Device.ID, "new key"), w.meta("replaced")))
		w.logged("replaced")
		w.awake(woken)
		w.equal(must[store.Device](w)(w.s.Device(w.ctx, old.Device.ID)).State, store.Revoked)
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, old.Session.TokenHash)).Session.RevokedAt, w.now)
		ids, _, err := w.orders(p.gateway.ID, 0)
		w.ok(err)
		w.equal(ids, []string{connection.ID})
		_, err = w.s.Redeem(w.ctx, w.approved(p.user, old.Device.Thumbprint), w.quiet())
		w.want(store.ErrDenied, err) // its key is refused for ever
		for _, s := range []store.Subject{v, stays} {
			w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, s.Session.TokenHash)), s)
		}
		// What was lost is replaced afterwards, too.
		must[store.Subject](w)(w.s.Redeem(w.ctx, w.replacing(p.user, old.Device.ID, "newer key"), w.quiet()))
	}},
	{"an approval stays with the device that is replaced", func(w *world) {
		u := w.user("alice")
		v := w.signIn(u)
		must[store.Device](w)(w.s.ApproveDevice(w.ctx, v.Device.ID, w.quiet()))
		r := w.replacing(u, v.Device.ID, "new key")
		r.Device.State = store.Pending
		d := must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet())).Device
		w.equal([]any{d.State, d.ApprovedAt}, []any{store.Pending, time.Time{}})
	}},
	{"a device replaces only another one of the same user, and a refusal consumes nothing", func(w *world) {
		u := w.user("alice")
		v, other := w.signInWith(u, "key"), w.signIn(w.user("bob"))
		for _, tc := range []struct {
			name, replaces, key string
			want                error
		}{
			{"another's", other.Device.ID, "a", store.ErrNotFound},
			{"none", "dev_none", "b", store.ErrNotFound},
			{"itself", v.Device.ID, "key", store.ErrInUse},
		} {
			r := w.replacing(u, tc.replaces, tc.key)
			if tc.replaces == v.Device.ID {
				r.Device.ID = v.Device.ID
			}
			_, err := w.s.Redeem(w.ctx, r, w.meta("replaced"))
			if w.want(tc.want, err); w.Failed() {
				w.Fatal(tc.name)
			}
			w.unlogged("replaced")
			for _, s := range []store.Subject{v, other} {
				w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, s.Session.TokenHash)), s)
			}
			r.Replaces = ""
			must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet()))
		}
		// The audit row names the device that comes: one that the key has already must be it.
		known := w.signInWith(u, "known")
		r := w.replacing(u, v.Device.ID, "known")
		_, err := w.s.Redeem(w.ctx, r, w.quiet())
		w.want(store.ErrInUse, err)
		r.Device.ID = known.Device.ID
		w.equal(must[store.Subject](w)(w.s.Redeem(w.ctx, r, w.quiet())).Device.ID, known.Device.ID)
	}},
	{"a device without a browser replaces another, too", func(w *world) {
		g, u := w.waiting("build"), w.user("alice")
		old := w.signIn(u)
		w.ok(w.said(u, w.typed(g)))
		w.now = w.now.Add(time.Minute)
		id := ident.New(ident.Session)
		must[store.Subject](w)(w.s.PollDeviceGrant(w.ctx, store.DeviceRedemption{
			CodeHash: g.CodeHash, User: u.ID, Thumbprint: g.Thumbprint, Replaces: old.Device.ID,
			Session: store.Session{ID: id, TokenHash: sum(id), ExpiresAt: w.now.Add(time.Hour)}, Device: store.Device{ID: ident.New(ident.Device)},
		}, w.quiet()))
		w.equal(must[store.Device](w)(w.s.Device(w.ctx, old.Device.ID)).State, store.Revoked)
	}},
	{"what a device says of itself is renewed with the next token, or not at all", func(w *world) {
		v := w.signIn(w.user("alice"))
		says := func(next string, report *string) error {
			o := offer(v, next)
			o.Report = report
			return w.s.OfferToken(w.ctx, o, w.quiet())
		}
		device := func() store.Device { return must[store.Device](w)(w.s.Device(w.ctx, v.Device.ID)) }
		w.ok(says("first", nil)) // as an older client
		w.equal(device(), v.Device)
		w.want(store.ErrInUse, says("second", ptr(`{"screen_lock":"no"}`)))
		w.equal(device(), v.Device)
		for _, report := range []string{`{"screen_lock":"no"}`, `{"screen_lock":"no"}`, ""} {
			w.now = w.now.Add(time.Hour)
			w.ok(says("at "+w.now.String(), &report))
			v.Device.Report, v.Device.ReportedAt = report, w.now
			w.equal(device(), v.Device)
		}
	}},
	{"RefuseDeviceGrant says no for who may not say yes, and names him", func(w *world) {
		g, u := w.waiting("build"), w.user("root")
		r := w.typed(g)
		refuse := func(id string, browser []byte) error {
			_, err := w.s.RefuseDeviceGrant(w.ctx, id, browser, u.ID, w.meta("refused"))
			return err
		}
		w.want(store.ErrDenied, refuse(r.ID, sum("elsewhere")))
		w.want(store.ErrNotFound, refuse("req_none", r.BrowserHash))
		own := w.request("key")
		w.want(store.ErrDenied, refuse(own.ID, own.BrowserHash))
		w.unlogged("refused")
		_, err := w.poll(g)
		w.want(store.ErrPending, err)
		w.ok(refuse(r.ID, r.BrowserHash))
		w.logged("refused")
		w.equal(must[store.AuthRequest](w)(w.s.DeviceGrantRequest(w.ctx, g.CodeHash)).User, u.ID)
		_, err = w.poll(g)
		w.want(store.ErrRefused, err)
		w.want(store.ErrUsed, refuse(r.ID, r.BrowserHash))
		w.want(store.ErrUsed, w.said(u, r))
	}},
}
