package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// offer is the next token of a session that has just begun.
func offer(v store.Subject, next string) store.TokenOffer {
	return store.TokenOffer{Session: v.Session.ID, Current: v.Session.TokenHash, Next: sum(next), Every: time.Minute}
}

// shown is which token of which session a hash is.
func (w *world) shown(hash []byte) string {
	w.Helper()
	v, err := w.s.Authenticate(w.ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return "unknown"
	}
	w.ok(err)
	if v.Token == store.TokenCurrent {
		return "current"
	}
	return v.Token
}

var rotationCases = []testCase{
	{"a next token becomes the current one when it is first used, and not before", func(w *world) {
		v := w.signIn(w.user("alice"))
		w.ok(w.s.OfferToken(w.ctx, offer(v, "next"), w.quiet()))
		w.equal([]string{w.shown(v.Session.TokenHash), w.shown(sum("next"))}, []string{"current", "next"})
		w.now = w.now.Add(time.Hour)
		w.ok(w.s.UseToken(w.ctx, sum("next"), w.quiet()))
		w.equal([]string{w.shown(v.Session.TokenHash), w.shown(sum("next"))}, []string{"replaced", "current"})
		old := must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash))
		w.equal(old.ReplacedAt, w.now)
		w.equal(old.Session.TokenHash, sum("next"))
		w.equal([]any{old.Session.ID, old.User, old.Device, old.Thumbprint, old.ExpiresAt}, []any{v.Session.ID, v.User, v.Device, v.Thumbprint, v.ExpiresAt})
		w.ok(w.s.UseToken(w.ctx, sum("next"), w.quiet())) // the second request of the same client
		w.want(store.ErrNotFound, w.s.UseToken(w.ctx, v.Session.TokenHash, w.quiet()))
		w.want(store.ErrNotFound, w.s.UseToken(w.ctx, sum("none"), w.quiet()))
	}},
	{"OfferToken is ErrInUse within Every, and takes the place of one that nobody used", func(w *world) {
		v := w.signIn(w.user("alice"))
		w.ok(w.s.OfferToken(w.ctx, offer(v, "first"), w.quiet()))
		w.now = w.now.Add(time.Minute - time.Microsecond)
		w.want(store.ErrInUse, w.s.OfferToken(w.ctx, offer(v, "second"), w.quiet()))
		w.now = w.now.Add(time.Microsecond)
		w.ok(w.s.OfferToken(w.ctx, offer(v, "second"), w.quiet()))
		w.equal([]string{w.shown(v.Session.TokenHash), w.shown(sum("first")), w.shown(sum("second"))}, []string{"current", "replaced", "next"})
	}},
	{"OfferToken is ErrDenied for a token that is not current, and a session that is over or revoked", func(w *world) {
		v := w.signIn(w.user("alice"))
		o := offer(v, "next")
		o.Current = sum("another")
		w.want(store.ErrDenied, w.s.OfferToken(w.ctx, o, w.quiet()))
		late := w.quiet()
		late.Now = v.Session.ExpiresAt
		w.want(store.ErrDenied, w.s.OfferToken(w.ctx, offer(v, "next"), late))
		late.Now = v.Session.ExpiresAt.Add(-time.Microsecond)
		w.ok(w.s.OfferToken(w.ctx, offer(v, "next"), late))
		w.ok(w.s.RevokeSession(w.ctx, v.Session.ID, w.quiet()))
		w.now = w.now.Add(time.Hour)
		w.want(store.ErrDenied, w.s.OfferToken(w.ctx, offer(v, "later"), w.quiet()))
		o = offer(v, "x")
		o.Session = "ses_none"
		w.want(store.ErrNotFound, w.s.OfferToken(w.ctx, o, w.quiet()))
	}},
	{"a token that was used by two requests at once is used once", func(w *world) {
		v := w.signIn(w.user("alice"))
		w.ok(w.s.OfferToken(w.ctx, offer(v, "next"), w.quiet()))
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { errs[i] = w.s.UseToken(w.ctx, sum("next"), w.quiet()) })
		}
		wg.Wait()
		w.ok(errors.Join(errs...))
		w.equal([]string{w.shown(v.Session.TokenHash), w.shown(sum("next"))}, []string{"replaced", "current"})
	}},
	{"a token that is shown while it becomes current is never unknown", func(w *world) {
		v := w.signIn(w.user("alice"))
		at := v.Session.TokenHash
		var wg sync.WaitGroup
		for i := range 10 {
			next := sum(fmt.Sprint("next", i))
			w.ok(w.s.OfferToken(w.ctx, store.TokenOffer{Session: v.Session.ID, Current: at, Next: next}, w.quiet()))
			var err error
			wg.Go(func() {
				for range 5 {
					if _, e := w.s.Authenticate(w.ctx, next); e != nil {
						err = e
					}
				}
			})
			w.ok(w.s.UseToken(w.ctx, next, w.quiet()))
			wg.Wait()
			w.ok(err)
			at = next
		}
	}},
	{"tokens are forgotten when their session is over", func(w *world) {
		v := w.signIn(w.user("alice"))
		w.ok(w.s.OfferToken(w.ctx, offer(v, "next"), w.quiet()))
		w.ok(w.s.UseToken(w.ctx, sum("next"), w.quiet()))
		w.ok(w.s.Sweep(w.ctx, v.Session.ExpiresAt.Add(-time.Microsecond)))
		w.equal(w.shown(v.Session.TokenHash), "replaced")
		w.ok(w.s.Sweep(w.ctx, v.Session.ExpiresAt))
		w.equal([]string{w.shown(v.Session.TokenHash), w.shown(sum("next"))}, []string{"unknown", "current"})
	}},
	{"SeeSession keeps the latest use", func(w *world) {
		v := w.signIn(w.user("alice"))
		later := w.quiet()
		later.Now = w.now.Add(time.Hour)
		w.ok(w.s.SeeSession(w.ctx, v.Session.ID, later))
		w.ok(w.s.SeeSession(w.ctx, v.Session.ID, w.quiet()))
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, v.Session.ID)).SeenAt, later.Now)
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)).Session.SeenAt, later.Now)
	}},
	{"the team's settings are changed one by one, and every session hears how long it may go unused", func(w *world) {
		v := w.signIn(w.user("alice"))
		w.equal(must[store.TeamSettings](w)(w.s.TeamSettings(w.ctx)), store.TeamSettings{})
		got := must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SessionSeconds: ptr(3600), IdleSeconds: ptr(900)}, w.meta("team.update")))
		w.equal(got, store.TeamSettings{SessionSeconds: 3600, IdleSeconds: 900})
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SecondFactor: ptr(store.FactorAll)}, w.meta("team.update")))
		w.equal(must[store.TeamSettings](w)(w.s.TeamSettings(w.ctx)), store.TeamSettings{SessionSeconds: 3600, IdleSeconds: 900, SecondFactor: store.FactorAll})
		w.equal(must[store.Subject](w)(w.s.Authenticate(w.ctx, v.Session.TokenHash)).IdleSeconds, 900)
	}},
}
