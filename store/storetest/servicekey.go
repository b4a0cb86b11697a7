package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// next registers the key with the thumbprint to as the next one of that with by.
func (w *world) next(u store.User, by, to string) (store.ServiceKey, error) {
	return w.s.NextServiceKey(w.ctx, by, w.newServiceKey(u, to), w.quiet())
}

// comesBy is how a key fares that somebody signs in with.
func (w *world) comesBy(u store.User, key string) error {
	_, err := w.s.SignInService(w.ctx, w.byKey(u, key), w.quiet())
	return err
}

var serviceKeyCases = []testCase{
	{"NextServiceKey has the name and the end of the key that it replaces, which goes on", func(w *world) {
		u := w.service("deploy")
		k := w.newServiceKey(u, "a")
		k.ExpiresAt = w.now.Add(time.Hour)
		a := must[store.ServiceKey](w)(w.s.AddServiceKey(w.ctx, k, w.quiet()))
		w.now = w.now.Add(time.Second)
		v := w.newServiceKey(u, "b")
		b := must[store.ServiceKey](w)(w.s.NextServiceKey(w.ctx, "a", v, w.meta("service-key.next")))
		v.Name, v.ExpiresAt, v.Replaces = a.Name, a.ExpiresAt, a.ID
		w.equal(b, v)
		w.logged("service-key.next")
		w.equal(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID)), []store.ServiceKey{a, b})
		w.ok(w.comesBy(u, "a"))
		w.ok(w.comesBy(u, "b"))
	}},
	{"NextServiceKey says the same again to who lost the answer", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		b := must[store.ServiceKey](w)(w.next(u, "a", "b"))
		w.equal(must[store.ServiceKey](w)(w.next(u, "a", "b")), b)
		w.ok(w.comesBy(u, "b"))
		b.UsedAt = w.now
		w.equal(must[store.ServiceKey](w)(w.next(u, "a", "b")), b)
	}},
	{"a next key that nobody used makes room for another one, and one that was used does not", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		must[store.ServiceKey](w)(w.next(u, "a", "lost"))
		must[store.ServiceKey](w)(w.next(u, "a", "b"))
		w.want(store.ErrNotFound, w.comesBy(u, "lost"))
		_, err := w.next(u, "a", "lost")
		w.want(store.ErrDenied, err)
		must[store.ServiceKey](w)(w.next(u, "a", "c"))
		w.ok(w.comesBy(u, "c"))
		_, err = w.next(u, "a", "d")
		w.want(store.ErrTooMany, err)
		w.ok(w.comesBy(u, "c"))
	}},
	{"NextServiceKey is for who has the key, as long as it and its user are good", func(w *world) {
		u, v := w.service("deploy"), w.service("backup")
		w.serviceKey(v, "theirs")
		over := w.newServiceKey(u, "over")
		over.ExpiresAt = w.now.Add(time.Second)
		must[store.ServiceKey](w)(w.s.AddServiceKey(w.ctx, over, w.quiet()))
		try := func(want error, u store.User, by, to string) {
			w.Helper()
			_, err := w.next(u, by, to)
			w.want(want, err)
		}
		try(store.ErrNotFound, u, "nobody's", "b")
		try(store.ErrNotFound, u, "theirs", "b")
		try(store.ErrNotFound, store.User{ID: "usr_none"}, "a", "b")
		try(store.ErrDenied, w.user("alice"), "a", "b")
		try(store.ErrExists, u, "over", "theirs")
		w.now = over.ExpiresAt
		try(store.ErrDenied, u, "over", "b")
		must[store.User](w)(w.s.UpdateUser(w.ctx, v.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		try(store.ErrDenied, v, "theirs", "b")
		w.equal(len(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))), 1)
	}},
	{"two keys that administrators registered leave no room for a next one", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		w.serviceKey(u, "b")
		_, err := w.next(u, "a", "c")
		w.want(store.ErrTooMany, err)
	}},
	{"RetireServiceKey ends the key before, and what that began goes on", func(w *world) {
		u := w.service("deploy")
		a := w.serviceKey(u, "a")
		begun := w.byKey(u, "a")
		must[store.Subject](w)(w.s.SignInService(w.ctx, begun, w.quiet()))
		b := must[store.ServiceKey](w)(w.next(u, "a", "b"))
		_, err := w.s.RetireServiceKey(w.ctx, u.ID, "a", w.quiet())
		w.want(store.ErrNotFound, err) // it took nobody's place
		_, err = w.s.RetireServiceKey(w.ctx, w.service("backup").ID, "b", w.quiet())
		w.want(store.ErrNotFound, err)
		_, err = w.s.FormerServiceKey(w.ctx, "a")
		w.want(store.ErrNotFound, err)
		want := store.RetiredServiceKey{ID: a.ID, User: u.ID, Thumbprint: "a", Next: b.ID, RetiredAt: w.now}
		w.equal(must[store.RetiredServiceKey](w)(w.s.RetireServiceKey(w.ctx, u.ID, "b", w.meta("service-key.retire"))), want)
		w.logged("service-key.retire")
		w.equal(must[store.RetiredServiceKey](w)(w.s.FormerServiceKey(w.ctx, "a")), want)
		_, err = w.s.RetireServiceKey(w.ctx, u.ID, "b", w.quiet())
		w.want(store.ErrNotFound, err)
		w.want(store.ErrNotFound, w.comesBy(u, "a"))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, begun.Session.ID)).RevokedAt.IsZero(), true)
		must[store.Subject](w)(w.s.Authenticate(w.ctx, begun.Session.TokenHash))
		_, err = w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "a"), w.quiet())
		w.want(store.ErrDenied, err)
		must[store.ServiceKey](w)(w.next(u, "b", "c"))
	}},
	{"a key that was taken away is remembered, also one that was never used", func(w *world) {
		u := w.service("deploy")
		a := w.serviceKey(u, "a")
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet()))
		w.equal(must[store.RetiredServiceKey](w)(w.s.FormerServiceKey(w.ctx, "a")), store.RetiredServiceKey{ID: a.ID, User: u.ID, Thumbprint: "a", RetiredAt: w.now})
		_, err := w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "a"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"RemoveServiceKey takes the key that was registered by its proof, which whoever copied it may have made", func(w *world) {
		u := w.service("deploy")
		a := w.serviceKey(u, "a")
		must[store.ServiceKey](w)(w.next(u, "a", "b"))
		begun := w.byKey(u, "b")
		must[store.Subject](w)(w.s.SignInService(w.ctx, begun, w.quiet()))
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet()))
		w.equal(len(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))), 0)
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, begun.Session.ID)).RevokedAt, w.now)
		w.want(store.ErrNotFound, w.comesBy(u, "b"))
		_, err := w.s.AddServiceKey(w.ctx, w.newServiceKey(u, "b"), w.quiet())
		w.want(store.ErrDenied, err)
	}},
	{"RemoveServiceKey leaves the key by whose proof one was registered", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		b := must[store.ServiceKey](w)(w.next(u, "a", "b"))
		begun := w.byKey(u, "a")
		must[store.Subject](w)(w.s.SignInService(w.ctx, begun, w.quiet()))
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, b.ID, w.quiet()))
		w.ok(w.comesBy(u, "a"))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, begun.Session.ID)).RevokedAt.IsZero(), true)
	}},
	{"RemoveServiceKey ends what the keys began in whose place it came", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		begun := w.byKey(u, "a")
		must[store.Subject](w)(w.s.SignInService(w.ctx, begun, w.quiet()))
		b := must[store.ServiceKey](w)(w.next(u, "a", "b"))
		must[store.RetiredServiceKey](w)(w.s.RetireServiceKey(w.ctx, u.ID, "b", w.quiet()))
		w.ok(w.s.RemoveServiceKey(w.ctx, u.ID, b.ID, w.quiet()))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, begun.Session.ID)).RevokedAt, w.now)
	}},
	{"no key is left that was registered while the one of its proof was taken away", func(w *world) {
		stores := w.instances(3)
		for i := range 10 {
			u := w.service(fmt.Sprint("deploy", i))
			a := w.serviceKey(u, fmt.Sprint("a", i))
			parallel(6, func(n int) error {
				if n == 3 {
					return stores[0].RemoveServiceKey(w.ctx, u.ID, a.ID, w.quiet())
				}
				_, err := stores[n%len(stores)].NextServiceKey(w.ctx, a.Thumbprint, w.newServiceKey(u, fmt.Sprint("b", i, "-", n)), w.quiet())
				return err
			})
			w.equal(len(must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))), 0)
		}
	}},
	{"of twenty next keys that are registered at once one is left, beside the one in use", func(w *world) {
		u := w.service("deploy")
		w.serviceKey(u, "a")
		stores := w.instances(3)
		parallel(20, func(i int) error {
			_, err := stores[i%len(stores)].NextServiceKey(w.ctx, "a", w.newServiceKey(u, fmt.Sprint("key", i)), w.quiet())
			return err
		})
		keys := must[[]store.ServiceKey](w)(w.s.ServiceKeys(w.ctx, u.ID))
		w.equal(len(keys), store.MaxServiceKeys)
		if keys[0].Thumbprint != "a" { // they are of one moment
			keys[0], keys[1] = keys[1], keys[0]
		}
		w.equal(keys[1].Replaces, keys[0].ID)
	}},
	{"the age of keys is a service user's, and nobody else's", func(w *world) {
		u := w.service("deploy")
		w.equal(must[time.Duration](w)(w.s.ServiceKeyAge(w.ctx, u.ID)), time.Duration(0))
		w.ok(w.s.SetServiceKeyAge(w.ctx, u.ID, 90*24*time.Hour, w.meta("age")))
		w.logged("age")
		w.equal(must[time.Duration](w)(w.s.ServiceKeyAge(w.ctx, u.ID)), 90*24*time.Hour)
		alice := w.user("alice")
		w.want(store.ErrDenied, w.s.SetServiceKeyAge(w.ctx, alice.ID, time.Hour, w.quiet()))
		_, err := w.s.ServiceKeyAge(w.ctx, alice.ID)
		w.want(store.ErrNotFound, err)
	}},
}
