package signin

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
)

// errBusy is for who comes while too many passwords are looked at.
func errBusy() *api.Error {
	return api.Errorf(api.Limited, "many people sign in right now").WithHint("try again in a moment").WithRetry(2 * time.Second)
}

// ChangePassword gives who sits at the browser another password, which the caller has found
// good enough, if he knows the present one: who finds a browser open does not. A try counts as
// one to sign in does. All his sign-ins end but this one, whose new secret is returned. from is
// what the browser's address is counted by.
func (s *Service) ChangePassword(ctx context.Context, present, fresh string, b Browser, from string) (login string, err error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return "", err
	}
	now, tries := s.now(), tryKey(at.User.Name, from)
	if err := s.countTry(ctx, tries, at.User.Name, b, now); err != nil {
		return "", err
	}
	e := s.event(now, audit.UserPassword, audit.Allowed, "", at.User, b, map[string]string{"name": at.User.Name, "by": "himself", "sessions": "ended"})
	user, hash, err := s.Store.Credential(ctx, at.User.Name)
	if err != nil {
		return "", err
	}
	ok, err := s.Passwords.Verify(ctx, hash, present)
	if err == nil && (!ok || user.ID != at.User.ID) {
		e.Outcome, e.Reason, e.Detail = audit.Denied, "wrong present password", nil
		s.record(ctx, e)
		return "", api.Errorf(api.Denied, "the present password is wrong").WithHint("who has forgotten it asks an administrator for another one")
	}
	var next string
	if err == nil {
		next, err = s.Passwords.Hash(ctx, fresh)
	}
	if errors.Is(err, password.ErrBusy) {
		return "", errBusy()
	}
	if err != nil {
		return "", err
	}
	login = NewSecret()
	_, err = s.Store.ChangePassword(ctx, store.PasswordChange{
		Login: hashOf(b.Login), Since: now.Add(-AccountFresh), Old: hash, New: next,
		Session: store.BrowserSession{ID: ident.New(ident.BrowserSession), TokenHash: hashOf(login)},
	}, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) {
		return "", api.Errorf(api.SignIn, "this account was changed just now").WithHint("sign in again").WithCause(err)
	}
	if err != nil {
		return "", err
	}
	return login, s.Store.ForgiveAttempts(ctx, tries)
}
