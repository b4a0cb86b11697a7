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

var invitationCases = []testCase{
	{"who holds an invitation chooses the password, once", func(w *world) {
		u := w.user("alice")
		v := w.signIn(u)
		w.ok(w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("first"), User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.meta("invite")))
		w.ok(w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("second"), User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
		_, err := w.s.Invited(w.ctx, sum("first"), w.now)
		w.want(store.ErrNotFound, err) // the second took its place
		w.equal(must[store.User](w)(w.s.Invited(w.ctx, sum("second"), w.now.Add(time.Hour-time.Microsecond))), u)
		_, err = w.s.Invited(w.ctx, sum("second"), w.now.Add(time.Hour))
		w.want(store.ErrNotFound, err)
		late := w.meta("late")
		late.Now = w.now.Add(time.Hour)
		_, err = w.s.AcceptInvitation(w.ctx, sum("second"), "new", late)
		w.want(store.ErrUsed, err)
		w.unlogged("late")
		w.equal(must[store.User](w)(w.s.AcceptInvitation(w.ctx, sum("second"), "new", w.quiet())).ID, u.ID)
		_, hash, err := w.s.Credential(w.ctx, "alice")
		w.ok(err)
		w.equal(hash, "new")
		w.equal(must[store.Session](w)(w.s.Session(w.ctx, v.Session.ID)).RevokedAt, w.now) // as with any new password
		_, err = w.s.AcceptInvitation(w.ctx, sum("second"), "other", w.quiet())
		w.want(store.ErrUsed, err)
	}},
	{"a new password takes away the invitation that was out", func(w *world) {
		// Mallory reads a set-up code over alice's shoulder; alice does not use it, for she knows
		// her password, and chooses another one because of mallory.
		u := w.user("alice")
		w.sitting(u, "page")
		for i, change := range []func() error{
			func() error {
				_, err := w.s.ChangePassword(w.ctx, store.PasswordChange{Login: sum("page"), Since: w.now, Old: "hash of alice", New: "new",
					Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), TokenHash: sum("page+")}}, w.quiet())
				return err
			},
			func() error {
				_, err := w.s.UpdateUser(w.ctx, u.ID, store.UserChange{PasswordHash: ptr("newer")}, w.quiet())
				return err
			},
		} {
			code := sum(fmt.Sprint("code", i))
			w.ok(w.s.Invite(w.ctx, store.Invitation{TokenHash: code, User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
			w.equal(must[store.User](w)(w.s.Invited(w.ctx, code, w.now)).ID, u.ID)
			w.ok(change())
			_, err := w.s.AcceptInvitation(w.ctx, code, "mallory's", w.quiet())
			w.want(store.ErrUsed, err)
		}
	}},
	{"of many who accept an invitation at once one succeeds", func(w *world) {
		u := w.user("alice")
		w.ok(w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("x"), User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
		var wg sync.WaitGroup
		var won atomic.Int64
		for i := range 16 {
			wg.Go(func() {
				_, err := w.s.AcceptInvitation(w.ctx, sum("x"), fmt.Sprint("password", i), w.quiet())
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrUsed) {
					w.Error(err)
				}
			})
		}
		wg.Wait()
		w.equal(won.Load(), int64(1))
	}},
	{"nobody is invited who is not an active local user, or stays so", func(w *world) {
		sso := w.person("carol", false)
		sso.Issuer = "https://idp.example.com"
		sso = must[store.User](w)(w.s.CreateUser(w.ctx, sso, "", w.meta("user.create")))
		u := w.user("alice")
		for _, id := range []string{sso.ID, "usr_none"} {
			w.want(store.ErrDenied, w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("x"), User: id, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
		}
		w.ok(w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("x"), User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
		must[store.User](w)(w.s.UpdateUser(w.ctx, u.ID, store.UserChange{Status: ptr(store.Disabled)}, w.quiet()))
		_, err := w.s.AcceptInvitation(w.ctx, sum("x"), "new", w.quiet())
		w.want(store.ErrDenied, err)
		w.want(store.ErrDenied, w.s.Invite(w.ctx, store.Invitation{TokenHash: sum("y"), User: u.ID, ExpiresAt: w.now.Add(time.Hour)}, w.quiet()))
	}},
}
