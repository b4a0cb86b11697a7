package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// service is a user who is a program.
func (w *world) service(name string) store.User {
	w.Helper()
	return must[store.User](w)(w.s.CreateUser(w.ctx, w.newService(name), "", w.meta("user.create")))
}

func (w *world) newService(name string) store.User {
	u := w.person(name, false)
	u.Issuer = store.ServiceIssuer
	return u
}

func (w *world) newServiceKey(u store.User, thumbprint string) store.ServiceKey {
	return store.ServiceKey{ID: ident.New(ident.ServiceKey), User: u.ID, Name: "of " + thumbprint, Thumbprint: thumbprint, CreatedAt: w.now}
}

func (w *world) serviceKey(u store.User, thumbprint string) store.ServiceKey {
	w.Helper()
	return must[store.ServiceKey](w)(w.s.AddServiceKey(w.ctx, w.newServiceKey(u, thumbprint), w.meta("service-key.add")))
}

// byKey is a sign-in by a key.
func (w *world) byKey(u store.User, thumbprint string) store.ServiceSignIn {
	n := w.number()
	return store.ServiceSignIn{User: u.ID, Thumbprint: thumbprint,
		Session: store.Session{ID: ident.New(ident.Session), TokenHash: sum(fmt.Sprint("service", n)), AuthenticatedAt: w.now, CreatedAt: w.now, ExpiresAt: w.now.Add(time.Hour)},
		Device:  store.Device{ID: ident.New(ident.Device), Name: "ci", State: store.Active, CreatedAt: w.now}}
}

var serviceCases = []testCase{
	{"ServiceUsers lists users who are programs, and no others", func(w *world) {
		w.user("alice")
		b, a := w.service("deploy"), w.service("backup")
		rows, _, err := w.s.ServiceUsers(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.User{a, b})
	}},
	{"a service user is never an administrator, and has no password", func(w *world) {
		u := w.newService("deploy")
		u.Admin = true
		_, err := w.s.CreateUser(w.ctx, u, "", w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.CreateUser(w.ctx, w.newService("deploy"), "hash", w.quiet())
		w.want(store.ErrDenied, err)
		u = w.service("deploy")
		_, err = w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Admin: ptr(true)}, w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("hash")}, w.quiet())
		w.want(store.ErrDenied, err)
		w.equal(must[store.User](w)(w.s.User(w.ctx, u.ID)), u)
	}},
	{"a service user has two keys at most, each of nobody else", func(w *world) {
		u, v := w.service("deploy"), w.service("backup")
		a := w.serviceKey(u, "a")
		w.now = w.now.Add(time.Second)
		b := w.serviceKey(u, "b")
		w.equal(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID)), []store.ServiceKey{a, b})
		_, err := w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "c"), w.quiet())
		w.want(store.ErrTooMany, err)
		_, err = w.s.AddServiceKey(w.ctx, w.newServiceKey(v, "a"), w.quiet())
		w.want(store.ErrExists, err)
		w.want(store.ErrNotFound, w.s.RemoveServiceKey(w.ctx, v.ID, a.ID, w.quiet()))
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet()))
		w.serviceKey(u, "c")
	}},
	{"only a service user who is not deleted is given a key", func(w *world) {
		_, err := w.s.AddServiceKey(w.ctx, w.newServiceKey(w.user("alice"), "a"), w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.AddServiceKey(w.ctx, w.newServiceKey(store.User{ID: "usr_none"}, "a"), w.quiet())
		w.want(store.ErrNotFound, err)
		u := w.service("deploy")
		w.serviceKey(u, "a")
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		w.equal(len(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))), 0)
		_, err = w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "b"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"SignInService makes a session for who has the key, on one device", func(w *world) {
		u := w.service("deploy")
		k := w.serviceKey(u, "a")
		w.equal(must[string](w)(w.s.ServiceKeyOwner(w.ctx, "a")), u.ID)
		_, err := w.s.ServiceKeyOwner(w.ctx, "b")
		w.want(store.ErrNotFound, err)
		v := w.byKey(u, "a")
		who := must[store.Subject](w)(w.s.SignInService(w.ctx, v, w.meta("signin")))
		w.equal([]any{who.User, who.Device.ID, who.Device.State, who.Session.Thumbprint}, []any{u, v.Device.ID, store.Active, "a"})
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)), who)
		w.equal(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))[0].UsedAt, w.now)
		again := must[store.Subject](w)(w.s.SignInService(w.ctx, w.byKey(u, "a"), w.quiet()))
		w.equal(again.Device, who.Device)
		for _, v := range []store.ServiceSignIn{w.byKey(u, "b"), w.byKey(w.service("backup"), "a"), w.byKey(store.User{}, "a")} {
			_, err = w.s.SignInService(w.ctx, v, w.quiet())
			w.want(store.ErrNotFound, err)
		}
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err = w.s.SignInService(w.ctx, w.byKey(u, "a"), w.quiet())
		w.want(store.ErrDenied, err)
		w.equal(k.UsedAt.IsZero(), true)
	}},
	{"a key is good until its end, and not at it", func(w *world) {
		u := w.service("deploy")
		k := w.newServiceKey(u, "a")
		k.ExpiresAt = w.now.Add(time.Hour)
		w.equal(must[store.ServiceKey](w)(w.s.AddServiceKey(w.ctx, k, w.quiet())), k)
		m := w.quiet()
		m.Now = k.ExpiresAt.Add(-time.Microsecond)
		must[store.Subject](w)(w.s.SignInService(w.ctx, w.byKey(u, "a"), m))
		m.Now = k.ExpiresAt
		_, err := w.s.SignInService(w.ctx, w.byKey(u, "a"), m)
		w.want(store.ErrDenied, err)
	}},
	{"RemoveServiceKey ends the sessions of the key alone, and it never comes back", func(w *world) {
		u := w.service("deploy")
		a := w.serviceKey(u, "a")
		w.serviceKey(u, "b")
		first, second := w.byKey(u, "a"), w.byKey(u, "b")
		must[store.Subject](w)(w.s.SignInService(w.ctx, first, w.quiet()))
		must[store.Subject](w)(w.s.SignInService(w.ctx, second, w.quiet()))
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet()))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, first.Session.ID)).RevokedAt, w.now)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, second.Session.ID)).RevokedAt.IsZero(), true)
		_, err := w.s.SignInService(w.ctx, w.byKey(u, "a"), w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "a"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"of twenty keys that are added at once two stay", func(w *world) {
		u := w.service("deploy")
		stores := w.instances(3)
		errs := parallel(20, func(i int) error {
			_, err := stores[i%len(stores)].AddServiceKey(w.ctx, w.newServiceKey(u, fmt.Sprint("key", i)), w.quiet())
			return err
		})
		w.equal(count(errs, nil), store.MaxServiceKeys)
		w.equal(count(errs, store.ErrTooMany), 20-store.MaxServiceKeys)
		w.equal(len(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))), store.MaxServiceKeys)
	}},
	{"a program answers no request, though it is among the approvers", func(w *world) {
		a := w.asking()
		bot, r := w.service("bot"), w.asked(a)
		w.member(a.lead, bot, time.Time{})
		w.want(store.ErrDenied, w.answer(yesBy(bot, r)))
		w.equal(must[bool](w)(w.s.MayAnswer(w.ctx, a.rule.ID, bot.ID, w.now)), false)
		w.ok(w.answer(yes(a, r)))
	}},
	{"a program asks for nothing, though it is among the askers", func(w *world) {
		a := w.asking()
		bot, r := w.service("bot"), newRequest(a)
		w.member(a.devs, bot, time.Time{})
		r.User = bot.ID
		_, err := w.s.CreateRequest(w.ctx, r, w.quiet())
		w.want(store.ErrDenied, err)
		w.equal(len(must[[]store.RequestRule](w)(w.s.RequestRulesFor(w.ctx, bot.ID, w.now))), 0)
	}},
}
