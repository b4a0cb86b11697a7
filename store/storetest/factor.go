package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// sitting makes a browser session as a password does, and returns what it needs.
func (w *world) sitting(u store.User, token string) store.BrowserSession {
	w.Helper()
	b := store.BrowserSession{ID: ident.New(ident.BrowserSession), User: u.ID, TokenHash: sum(token), AuthenticatedAt: w.now, ExpiresAt: w.now.Add(time.Hour)}
	got := must[store.BrowserSession](w)(w.s.CreateBrowserSession(w.ctx, b, "hash of "+u.Name, w.quiet()))
	read, _, err := w.s.BrowserSession(w.ctx, sum(token), w.now)
	w.ok(err)
	w.equal(read, got)
	return got
}

// fresh is what takes the place of a browser session.
func (w *world) fresh(token string) store.BrowserSession {
	return store.BrowserSession{TokenHash: sum(token), AuthenticatedAt: w.now, ExpiresAt: w.now.Add(2 * time.Hour)}
}

// factor adds one of a kind from a new browser session.
func (w *world) factor(u store.User, kind string) store.Factor {
	w.Helper()
	login := fmt.Sprint("adds", w.number())
	if b := w.sitting(u, login); b.Needs == store.NeedsFactor {
		have := must[[]store.Factor](w)(w.s.Factors(w.ctx, u.ID))
		must[store.BrowserSession](w)(w.s.UseFactor(w.ctx, store.FactorUse{Login: sum(login), Session: w.fresh(login + "+"), Factor: have[0].ID, Counter: have[0].Counter + 1}, w.quiet()))
		login += "+"
	}
	f := store.Factor{ID: ident.New(ident.Factor), User: u.ID, Kind: kind, Name: "a " + kind, Sealed: []byte("sealed"), Counter: 1, CreatedAt: w.now}
	if kind == store.FactorPasskey {
		f.Sealed, f.CredentialID, f.Credential = nil, f.ID, "{}"
	}
	must[store.BrowserSession](w)(w.s.AddFactor(w.ctx, store.NewFactor{Factor: f, Login: sum(login), Session: w.fresh(login + "++"), Since: w.now}, w.meta("factor.add")))
	return f
}

var factorCases = []testCase{
	{"a person changes his password from a whole and young page, which alone is left", func(w *world) {
		u := w.user("alice")
		old := "hash of alice"
		w.sitting(u, "other")
		w.sitting(u, "page")
		change := store.PasswordChange{Login: sum("page"), Since: w.now, Old: old, New: "new", Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), TokenHash: sum("page+")}}
		refused := func(with func(*store.PasswordChange)) {
			w.Helper()
			c := change
			with(&c)
			_, err := w.s.ChangePassword(w.ctx, c, w.meta("user.password"))
			w.want(store.ErrDenied, err)
		}
		refused(func(c *store.PasswordChange) { c.Login = sum("none") })
		refused(func(c *store.PasswordChange) { c.Since = w.now.Add(time.Second) })
		refused(func(c *store.PasswordChange) { c.Old = "hash of bob" })
		refused(func(c *store.PasswordChange) { c.Old = "" })
		b := must[store.BrowserSession](w)(w.s.ChangePassword(w.ctx, change, w.meta("user.password")))
		read, _, err := w.s.BrowserSession(w.ctx, sum("page+"), w.now)
		w.ok(err)
		w.equal(read, b)
		for _, gone := range []string{"page", "other"} {
			_, _, err := w.s.BrowserSession(w.ctx, sum(gone), w.now)
			w.want(store.ErrNotFound, err)
		}
		_, hash, err := w.s.Credential(w.ctx, "alice")
		w.ok(err)
		w.equal(hash, "new")
		refused(func(c *store.PasswordChange) { c.Login = sum("page+") }) // it has the one before
	}},
	{"who has yet to show a factor changes no password", func(w *world) {
		u := w.user("alice")
		w.factor(u, store.FactorTOTP)
		w.sitting(u, "half")
		_, err := w.s.ChangePassword(w.ctx, store.PasswordChange{Login: sum("half"), Since: w.now, Old: "hash of alice", New: "new", Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), TokenHash: sum("half+")}}, w.meta("user.password"))
		w.want(store.ErrDenied, err)
	}},
	{"a browser is known to one user, for its time, until a new password or his end", func(w *world) {
		u, other := w.user("alice"), w.user("bob")
		known := func(u store.User, token string) bool {
			return must[bool](w)(w.s.KnownBrowser(w.ctx, u.ID, sum(token), w.now))
		}
		know := func(u store.User, token string) {
			w.Helper()
			w.ok(w.s.KnowBrowser(w.ctx, u.ID, sum(token), w.now.Add(time.Hour), w.quiet()))
		}
		know(u, "one")
		know(u, "one")
		know(other, "two")
		w.equal([]bool{known(u, "one"), known(u, "two"), known(other, "one"), known(other, "two")}, []bool{true, false, false, true})
		w.now = w.now.Add(time.Hour)
		w.equal(known(u, "one"), false)
		for i := range store.MaxKnownBrowsers {
			w.now = w.now.Add(time.Second)
			know(u, fmt.Sprint("b", i))
		}
		w.equal(known(u, "b0"), true)
		w.now = w.now.Add(time.Second)
		know(u, "more")
		w.equal([]bool{known(u, "b0"), known(u, "b1"), known(u, "more")}, []bool{false, true, true})
		key := store.FactorAttempts(u.ID)
		_, _, err := w.s.Attempt(w.ctx, key, time.Hour, w.now)
		w.ok(err)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("new")}, w.quiet()))
		n, _, err := w.s.Attempt(w.ctx, key, time.Hour, w.now)
		w.ok(err)
		w.equal([]any{known(u, "more"), n}, []any{false, 1})
		know(other, "two")
		must[store.User](w)(w.s.UpdateUser(w.ctx, other.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		w.equal(known(other, "two"), false)
		w.want(store.ErrDenied, w.s.KnowBrowser(w.ctx, other.ID, sum("two"), w.now.Add(time.Hour), w.quiet()))
	}},
	{"who has a factor is only half signed in by his password, and wholly, with another token, once he has shown it", func(w *world) {
		u := w.user("alice")
		w.equal(w.sitting(u, "before").Needs, store.NeedsNothing)
		f := w.factor(u, store.FactorTOTP)
		_, _, err := w.s.BrowserSession(w.ctx, sum("before"), w.now)
		w.want(store.ErrNotFound, err) // it began without a factor
		half := w.sitting(u, "half")
		w.equal(half.Needs, store.NeedsFactor)
		r := w.request("key")
		yes := func(login string) error {
			_, err := w.s.ApproveAuthRequest(w.ctx, store.Approval{Request: r.ID, BrowserHash: r.BrowserHash, User: u.ID, LoginHash: sum(login),
				CodeHash: sum("code"), CodeExpires: w.now.Add(time.Minute)}, w.quiet())
			return err
		}
		w.want(store.ErrDenied, yes("half"))
		use := store.FactorUse{Login: sum("half"), Session: w.fresh("whole"), Factor: f.ID, Counter: 2}
		w.now = w.now.Add(time.Minute)
		got := must[store.BrowserSession](w)(w.s.UseFactor(w.ctx, use, w.meta("used")))
		w.equal([]any{got.ID, got.User, got.Needs, got.TokenHash}, []any{half.ID, u.ID, store.NeedsNothing, sum("whole")})
		_, _, err = w.s.BrowserSession(w.ctx, sum("half"), w.now)
		w.want(store.ErrNotFound, err)
		w.ok(yes("whole"))
		have := must[[]store.Factor](w)(w.s.Factors(w.ctx, u.ID))
		f.Counter, f.UsedAt = 2, w.now
		w.equal(have, []store.Factor{f})
	}},
	{"a code is good once, also if many show it at once", func(w *world) {
		u := w.user("alice")
		f := w.factor(u, store.FactorTOTP)
		for i := range 8 {
			w.sitting(u, fmt.Sprint("half", i))
		}
		var wg sync.WaitGroup
		var won atomic.Int64
		for i := range 8 {
			wg.Go(func() {
				_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum(fmt.Sprint("half", i)), Session: w.fresh(fmt.Sprint("whole", i)), Factor: f.ID, Counter: 5}, w.quiet())
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrUsed) {
					w.Error(err)
				}
			})
		}
		wg.Wait()
		w.equal(won.Load(), int64(1))
		w.sitting(u, "late")
		_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum("late"), Session: w.fresh("x"), Factor: f.ID, Counter: 4}, w.meta("an older code"))
		w.want(store.ErrUsed, err)
		w.unlogged("an older code")
	}},
	{"a passkey that counts may not stand still, and one that does not count may", func(w *world) {
		u := w.user("alice")
		f := w.factor(u, store.FactorPasskey)
		use := func(counter int64) error {
			login := fmt.Sprint("half", w.number())
			w.sitting(u, login)
			_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum(login), Session: w.fresh(login + "+"), Factor: f.ID, Counter: counter, Credential: "{}"}, w.quiet())
			return err
		}
		w.want(store.ErrUsed, use(1))
		w.ok(use(2))
		w.want(store.ErrUsed, use(0))
		p := f
		p.ID, p.CredentialID, p.Counter = ident.New(ident.Factor), "another", 0
		w.sitting(u, "adds")
		must[store.BrowserSession](w)(w.s.UseFactor(w.ctx, store.FactorUse{Login: sum("adds"), Session: w.fresh("adds+"), Factor: f.ID, Counter: 3}, w.quiet()))
		must[store.BrowserSession](w)(w.s.AddFactor(w.ctx, store.NewFactor{Factor: p, Login: sum("adds+"), Session: w.fresh("adds++")}, w.quiet()))
		f = p
		w.ok(use(0))
		w.ok(use(0))
	}},
	{"a challenge is answered once, and a wrong answer uses it up", func(w *world) {
		u := w.user("alice")
		f := w.factor(u, store.FactorPasskey)
		w.sitting(u, "half")
		w.ok(w.s.SetChallenge(w.ctx, sum("half"), "first", w.quiet()))
		w.ok(w.s.SetChallenge(w.ctx, sum("half"), "second", w.quiet()))
		use := func(challenge string) error {
			_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum("half"), Session: w.fresh("whole"), Factor: f.ID, Counter: 9, Challenge: challenge}, w.quiet())
			return err
		}
		w.want(store.ErrDenied, use("first"))
		w.want(store.ErrDenied, use("second")) // gone with that
		w.ok(w.s.SetChallenge(w.ctx, sum("half"), "third", w.quiet()))
		w.ok(use("third"))
		w.want(store.ErrNotFound, w.s.SetChallenge(w.ctx, sum("none"), "x", w.quiet()))
	}},
	{"UseFactor is ErrDenied for a session that is whole, over or another's, and for another's factor", func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		f, g := w.factor(alice, store.FactorTOTP), w.factor(bob, store.FactorTOTP)
		w.sitting(alice, "half")
		use := func(login, factor string, at time.Time) error {
			m := w.quiet()
			m.Now = at
			_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum(login), Session: w.fresh("whole"), Factor: factor, Counter: 9}, m)
			return err
		}
		w.want(store.ErrDenied, use("half", g.ID, w.now))
		w.want(store.ErrDenied, use("none", f.ID, w.now))
		w.want(store.ErrDenied, use("half", f.ID, w.now.Add(time.Hour)))
		w.ok(use("half", f.ID, w.now))
		w.want(store.ErrDenied, use("whole", f.ID, w.now))
		w.sitting(bob, "bob's half")
		must[store.User](w)(w.s.UpdateUser(w.ctx, bob.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		w.want(store.ErrDenied, use("bob's half", g.ID, w.now))
	}},
	{"a recovery code is good once, and new ones take the place of the old", func(w *world) {
		u := w.user("alice")
		f := w.factor(u, store.FactorTOTP)
		codes := func(login string, since time.Time, names ...string) error {
			var hashes [][]byte
			for _, n := range names {
				hashes = append(hashes, sum(n))
			}
			return w.s.SetRecoveryCodes(w.ctx, sum(login), since, hashes, w.quiet())
		}
		use := func(code string) error {
			login := fmt.Sprint("half", w.number())
			w.sitting(u, login)
			_, err := w.s.UseFactor(w.ctx, store.FactorUse{Login: sum(login), Session: w.fresh(login + "+"), RecoveryHash: sum(code)}, w.quiet())
			return err
		}
		w.sitting(u, "half")
		w.want(store.ErrDenied, codes("half", w.now, "a"))
		must[store.BrowserSession](w)(w.s.UseFactor(w.ctx, store.FactorUse{Login: sum("half"), Session: w.fresh("whole"), Factor: f.ID, Counter: 9}, w.quiet()))
		w.want(store.ErrDenied, codes("whole", w.now.Add(time.Microsecond), "a"))
		w.ok(codes("whole", w.now, "a", "b"))
		w.ok(codes("whole", w.now, "b", "c", "d"))
		w.equal(must[int](w)(w.s.RecoveryCodes(w.ctx, u.ID)), 3)
		w.want(store.ErrUsed, use("a"))
		w.ok(use("b"))
		w.want(store.ErrUsed, use("b"))
		w.equal(must[int](w)(w.s.RecoveryCodes(w.ctx, u.ID)), 2)
		bob := w.user("bob")
		w.sitting(bob, "bob's")
		w.want(store.ErrDenied, codes("bob's", w.now, "x")) // without a factor they would be one
	}},
	{"the team demands a factor of administrators, or of all local accounts", func(w *world) {
		alice := w.user("alice")
		sso := w.person("carol", true)
		sso.Issuer = "https://idp.example.com"
		sso = must[store.User](w)(w.s.CreateUser(w.ctx, sso, "hash of carol", w.meta("user.create")))
		for who, want := range map[string][3]string{
			store.FactorNobody: {"", "", ""},
			store.FactorAdmins: {"", store.NeedsEnrolment, ""},
			store.FactorAll:    {store.NeedsEnrolment, store.NeedsEnrolment, ""},
		} {
			must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SecondFactor: ptr(who)}, w.quiet()))
			got := [3]string{}
			for i, u := range []store.User{alice, w.admin, sso} {
				got[i] = w.sitting(u, fmt.Sprint("x", w.number())).Needs
			}
			w.equal(got, want)
		}
	}},
	{"who must have a factor enrols one before he is signed in, and cannot remove the last", func(w *world) {
		u := w.user("alice")
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SecondFactor: ptr(store.FactorAll)}, w.quiet()))
		w.sitting(u, "half")
		f := store.Factor{ID: ident.New(ident.Factor), Kind: store.FactorTOTP, Name: "x", Sealed: []byte("s"), Counter: 1}
		got := must[store.BrowserSession](w)(w.s.AddFactor(w.ctx, store.NewFactor{Factor: f, Login: sum("half"), Session: w.fresh("whole"), Since: w.now}, w.quiet()))
		w.equal(got.Needs, store.NeedsNothing)
		w.want(store.ErrInUse, w.s.RemoveFactor(w.ctx, sum("whole"), w.now, f.ID, w.quiet()))
		w.want(store.ErrNotFound, w.s.RemoveFactor(w.ctx, sum("whole"), w.now, "fac_none", w.quiet()))
		w.want(store.ErrDenied, w.s.RemoveFactor(w.ctx, sum("whole"), w.now.Add(time.Microsecond), f.ID, w.quiet()))
		must[store.TeamSettings](w)(w.s.UpdateTeam(w.ctx, store.TeamChange{SecondFactor: ptr("")}, w.quiet()))
		w.sitting(u, "half again")
		w.want(store.ErrDenied, w.s.RemoveFactor(w.ctx, sum("half again"), w.now, f.ID, w.quiet()))
		w.ok(w.s.SetRecoveryCodes(w.ctx, sum("whole"), w.now, [][]byte{sum("a")}, w.quiet()))
		w.ok(w.s.RemoveFactor(w.ctx, sum("whole"), w.now, f.ID, w.meta("removed")))
		w.equal(must[int](w)(w.s.RecoveryCodes(w.ctx, u.ID)), 0)
		w.equal(w.sitting(u, "plain").Needs, store.NeedsNothing)
	}},
	{"AddFactor is refused for who has to show one, an old session, a challenge of another question, a passkey that is known and one too many", func(w *world) {
		u, bob := w.user("alice"), w.user("bob")
		f := w.factor(u, store.FactorPasskey)
		add := func(login, challenge string, since time.Time, f store.Factor) error {
			f.ID = ident.New(ident.Factor)
			_, err := w.s.AddFactor(w.ctx, store.NewFactor{Factor: f, Login: sum(login), Session: w.fresh(login), Since: since, Challenge: challenge}, w.quiet())
			return err
		}
		w.sitting(u, "half")
		w.want(store.ErrDenied, add("half", "", w.now, f))
		w.sitting(bob, "bob's")
		w.want(store.ErrDenied, add("bob's", "", w.now.Add(time.Microsecond), f))
		w.ok(w.s.SetChallenge(w.ctx, sum("bob's"), "c", w.quiet()))
		w.want(store.ErrDenied, add("bob's", "another", w.now, f))
		w.want(store.ErrDenied, add("bob's", "c", w.now, f))
		w.want(store.ErrExists, add("bob's", "", w.now, f))
		for i := range store.MaxFactors {
			f.CredentialID = fmt.Sprint("key", i)
			w.ok(add("bob's", "", w.now, f))
		}
		f.CredentialID = "one too many"
		w.want(store.ErrInUse, add("bob's", "", w.now, f))
	}},
	{"ResetFactors takes all of a user's, ends his browser sessions, and knows none of his browsers", func(w *world) {
		u, bob := w.user("alice"), w.user("bob")
		f := w.factor(u, store.FactorTOTP)
		w.factor(u, store.FactorPasskey)
		w.factor(bob, store.FactorTOTP)
		w.sitting(u, "half")
		must[store.BrowserSession](w)(w.s.UseFactor(w.ctx, store.FactorUse{Login: sum("half"), Session: w.fresh("whole"), Factor: f.ID, Counter: 9}, w.quiet()))
		w.ok(w.s.SetRecoveryCodes(w.ctx, sum("whole"), w.now, [][]byte{sum("a")}, w.quiet()))
		w.ok(w.s.KnowBrowser(w.ctx, u.ID, sum("known"), w.now.Add(time.Hour), w.quiet()))
		w.equal(must[int](w)(w.s.ResetFactors(w.ctx, u.ID, w.meta("reset"))), 2)
		w.equal(must[bool](w)(w.s.KnownBrowser(w.ctx, u.ID, sum("known"), w.now)), false)
		w.equal(len(must[[]store.Factor](w)(w.s.Factors(w.ctx, u.ID))), 0)
		w.equal(must[int](w)(w.s.RecoveryCodes(w.ctx, u.ID)), 0)
		_, _, err := w.s.BrowserSession(w.ctx, sum("whole"), w.now)
		w.want(store.ErrNotFound, err)
		w.equal(len(must[[]store.Factor](w)(w.s.Factors(w.ctx, bob.ID))), 1)
		_, err = w.s.ResetFactors(w.ctx, "usr_none", w.quiet())
		w.want(store.ErrNotFound, err)
	}},
	{"who is deleted has no factor, and his key may be another's", func(w *world) {
		u := w.user("alice")
		f := w.factor(u, store.FactorPasskey)
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Deleted)}, w.quiet()))
		w.equal(len(must[[]store.Factor](w)(w.s.Factors(w.ctx, u.ID))), 0)
		w.sitting(w.user("bob"), "bob's")
		f.ID = ident.New(ident.Factor)
		must[store.BrowserSession](w)(w.s.AddFactor(w.ctx, store.NewFactor{Factor: f, Login: sum("bob's"), Session: w.fresh("x"), Since: w.now}, w.quiet()))
	}},
}
