package storetest

import (
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func (w *world) newWorkloadIssuer(name string) store.WorkloadIssuer {
	return store.WorkloadIssuer{ID: ident.New(ident.WorkloadIssuer), Name: name, Issuer: "https://" + name + ".example.com", Audience: "https://access.example.com",
		State: store.Active, CreatedAt: w.now}
}

func (w *world) workloadIssuer(name string) store.WorkloadIssuer {
	w.Helper()
	return must[store.WorkloadIssuer](w)(w.s.CreateWorkloadIssuer(w.ctx, w.newWorkloadIssuer(name), w.meta("workload-issuer.create")))
}

func (w *world) newWorkloadRule(i store.WorkloadIssuer, u store.User) store.WorkloadRule {
	return store.WorkloadRule{ID: ident.New(ident.WorkloadRule), Issuer: i.ID, User: u.ID, UserName: u.Name,
		Claims: map[string]string{"sub": "repo:acme/web:**"}, SessionSeconds: 900, CreatedAt: w.now}
}

func (w *world) workloadRule(i store.WorkloadIssuer, u store.User) store.WorkloadRule {
	w.Helper()
	return must[store.WorkloadRule](w)(w.s.CreateWorkloadRule(w.ctx, w.newWorkloadRule(i, u), w.meta("workload-rule.create")))
}

// job is a sign-in by a token with a key.
func (w *world) job(r store.WorkloadRule, token, key string) store.WorkloadSignIn {
	n := w.number()
	return store.WorkloadSignIn{Rule: r.ID, TokenHash: sum(token), TokenExpires: w.now.Add(10 * time.Minute),
		Session: store.Session{ID: ident.New(ident.Session), TokenHash: sum(fmt.Sprint("job", n)), Thumbprint: key, AuthenticatedAt: w.now, CreatedAt: w.now, ExpiresAt: w.now.Add(time.Hour)},
		Device:  store.Device{ID: ident.New(ident.Device), Name: "job", State: store.Active, CreatedAt: w.now}}
}

var workloadCases = []testCase{
	{"an issuer is read back by id, name, URL and in the list", func(w *world) {
		b, a := w.workloadIssuer("gitlab"), w.workloadIssuer("github")
		w.equal(must[store.WorkloadIssuer](w)(w.s.WorkloadIssuer(w.ctx, a.ID)), a)
		w.equal(must[store.WorkloadIssuer](w)(w.s.WorkloadIssuerByName(w.ctx, a.Name)), a)
		w.equal(must[store.WorkloadIssuer](w)(w.s.WorkloadIssuerByURL(w.ctx, a.Issuer)), a)
		rows, _, err := w.s.WorkloadIssuers(w.ctx, store.Page{Limit: 10})
		w.ok(err)
		w.equal(rows, []store.WorkloadIssuer{a, b})
		_, err = w.s.WorkloadIssuerByURL(w.ctx, "https://none.example.com")
		w.want(store.ErrNotFound, err)
		for _, change := range []func(*store.WorkloadIssuer){
			func(v *store.WorkloadIssuer) { v.Name = a.Name },
			func(v *store.WorkloadIssuer) { v.Issuer = a.Issuer },
		} {
			v := w.newWorkloadIssuer("other")
			change(&v)
			_, err := w.s.CreateWorkloadIssuer(w.ctx, v, w.quiet())
			w.want(store.ErrExists, err)
		}
	}},
	{"an issuer has the keys that it was given, until it is given others", func(w *world) {
		v := w.newWorkloadIssuer("cluster")
		v.Keys, v.KeysAt = `{"keys":["first"]}`, w.now
		i := must[store.WorkloadIssuer](w)(w.s.CreateWorkloadIssuer(w.ctx, v, w.quiet()))
		w.equal(i, v)
		w.equal(w.workloadIssuer("github").KeysAt.IsZero(), true)
		w.now = w.now.Add(time.Hour)
		v.Keys, v.KeysAt = `{"keys":["second"]}`, w.now
		w.equal(must[store.WorkloadIssuer](w)(w.s.SetWorkloadIssuerKeys(w.ctx, i.ID, v.Keys, w.meta("keys"))), v)
		w.logged("keys")
		w.equal(must[store.WorkloadIssuer](w)(w.s.WorkloadIssuer(w.ctx, i.ID)), v)
		_, err := w.s.SetWorkloadIssuerKeys(w.ctx, "wis_none", v.Keys, w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"a rule is of an issuer and a service user, and keeps the issuer", func(w *world) {
		i, u := w.workloadIssuer("github"), w.service("deploy")
		r := w.workloadRule(i, u)
		w.equal(must[store.WorkloadRule](w)(w.s.WorkloadRule(w.ctx, r.ID)), r)
		w.equal(must[[]store.WorkloadRule](w)(w.s.WorkloadRules(w.ctx, i.ID)), []store.WorkloadRule{r})
		_, err := w.s.CreateWorkloadRule(w.ctx, w.newWorkloadRule(i, w.user("alice")), w.quiet())
		w.want(store.ErrDenied, err)
		_, err = w.s.CreateWorkloadRule(w.ctx, w.newWorkloadRule(store.WorkloadIssuer{ID: "wis_none"}, u), w.quiet())
		w.want(store.ErrNotFound, err)
		w.want(store.ErrInUse, w.s.DeleteWorkloadIssuer(w.ctx, i.ID, w.quiet()))
		w.ok(w.s.DeleteWorkloadRule(w.ctx, r.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeleteWorkloadRule(w.ctx, r.ID, w.quiet()))
		w.ok(w.s.DeleteWorkloadIssuer(w.ctx, i.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.DeleteWorkloadIssuer(w.ctx, i.ID, w.quiet()))
	}},
	{"a token is of the first key that came with it, until no clock takes it", func(w *world) {
		r := w.workloadRule(w.workloadIssuer("github"), w.service("deploy"))
		v := w.job(r, "token", "a")
		w.equal(must[bool](w)(w.s.WorkloadTokenUsed(w.ctx, v.TokenHash)), false)
		who := must[store.Subject](w)(w.s.SignInWorkload(w.ctx, v, w.meta("signin.workload")))
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)), who)
		w.equal(must[bool](w)(w.s.WorkloadTokenUsed(w.ctx, v.TokenHash)), true)
		_, err := w.s.SignInWorkload(w.ctx, w.job(r, "token", "b"), w.quiet())
		w.want(store.ErrUsed, err)
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "token", "a"), w.quiet()))
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "another token", "b"), w.quiet()))
		w.ok(w.s.Sweep(w.ctx, v.TokenExpires.Add(-time.Microsecond)))
		_, err = w.s.SignInWorkload(w.ctx, w.job(r, "token", "c"), w.quiet())
		w.want(store.ErrUsed, err)
		w.ok(w.s.Sweep(w.ctx, v.TokenExpires))
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "token", "c"), w.quiet()))
	}},
	{"no job signs in by a rule that is gone, at an issuer or as a user that is not active", func(w *world) {
		i, u := w.workloadIssuer("github"), w.service("deploy")
		r := w.workloadRule(i, u)
		denied := func() {
			w.Helper()
			_, err := w.s.SignInWorkload(w.ctx, w.job(r, fmt.Sprint("token", w.number()), "a"), w.quiet())
			w.want(store.ErrDenied, err)
		}
		must[store.WorkloadIssuer](w)(w.s.SetWorkloadIssuerState(w.ctx, i.ID, store.Disabled, w.quiet()))
		denied()
		must[store.WorkloadIssuer](w)(w.s.SetWorkloadIssuerState(w.ctx, i.ID, store.Active, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		denied()
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Active)}, w.quiet()))
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "good", "a"), w.quiet()))
		w.ok(w.s.DeleteWorkloadRule(w.ctx, r.ID, w.quiet()))
		denied()
		r = w.workloadRule(i, u)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		denied()
		w.equal(len(must[[]store.WorkloadRule](w)(w.s.WorkloadRules(w.ctx, i.ID))), 0)
	}},
	{"a token that was refused for another reason is still good", func(w *world) {
		i, u := w.workloadIssuer("github"), w.service("deploy")
		r := w.workloadRule(i, u)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.SignInWorkload(w.ctx, w.job(r, "token", "a"), w.quiet())
		w.want(store.ErrDenied, err)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Active)}, w.quiet()))
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, w.job(r, "token", "b"), w.quiet()))
	}},
	{"the end of a rule, and of its issuer, ends the sessions that it brought and no others", func(w *world) {
		i, u := w.workloadIssuer("github"), w.service("deploy")
		first, second := w.workloadRule(i, u), w.workloadRule(i, u)
		w.serviceKey(u, "k")
		a, b, c := w.job(first, "1", "a"), w.job(second, "2", "b"), w.byKey(u, "k")
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, a, w.quiet()))
		must[store.Subject](w)(w.s.SignInWorkload(w.ctx, b, w.quiet()))
		must[store.Subject](w)(w.s.SignInService(w.ctx, c, w.quiet()))
		over := func(id string) bool {
			return !must[store.Session](w)(w.s.Session(w.ctx, id)).RevokedAt.IsZero()
		}
		w.ok(w.s.DeleteWorkloadRule(w.ctx, first.ID, w.quiet()))
		w.equal([]bool{over(a.Session.ID), over(b.Session.ID), over(c.Session.ID)}, []bool{true, false, false})
		must[store.WorkloadIssuer](w)(w.s.SetWorkloadIssuerState(w.ctx, i.ID, store.Disabled, w.quiet()))
		w.equal([]bool{over(a.Session.ID), over(b.Session.ID), over(c.Session.ID)}, []bool{true, true, false})
	}},
	{"of fifty keys that come with one token at once one gets in", func(w *world) {
		r := w.workloadRule(w.workloadIssuer("github"), w.service("deploy"))
		stores := w.instances(3)
		errs := parallel(50, func(i int) error {
			_, err := stores[i%len(stores)].SignInWorkload(w.ctx, w.job(r, "token", fmt.Sprint("key", i)), w.quiet())
			return err
		})
		w.equal(count(errs, nil), 1)
		w.equal(count(errs, store.ErrUsed), 49)
		sessions, _, err := w.s.Sessions(w.ctx, r.User, store.Page{Limit: 100})
		w.ok(err)
		w.equal(len(sessions), 1)
	}},
}
