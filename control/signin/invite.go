package signin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
)

// InvitationLife is how long the set-up of a new control plane may take.
const InvitationLife = 24 * time.Hour

// NewInvitation makes the code that lets its holder choose a user's password.
func NewInvitation(user string, now time.Time) (code string, v store.Invitation) {
	code = NewSecret()
	return code, store.Invitation{TokenHash: hashOf(code), User: user, ExpiresAt: now.Add(InvitationLife)}
}

func invitationHash(code string) []byte { return hashOf(strings.ToLower(strings.TrimSpace(code))) }

var errInvitation = api.Errorf(api.Gone, "this code is wrong, was used or is over").
	WithHint("on the control plane's machine a new one is made by: cardea-control setup-code --admin NAME")

// Invited is the user whose password the holder of the code may choose.
func (s *Service) Invited(ctx context.Context, code string, b Browser) (store.User, error) {
	now := s.now()
	u, err := s.Store.Invited(ctx, invitationHash(code), now)
	if errors.Is(err, store.ErrNotFound) {
		s.record(ctx, s.event(now, audit.SignInFailed, audit.Denied, "wrong set-up code", store.User{}, b, nil))
		return u, errInvitation.WithCause(err)
	}
	return u, err
}

// Accept sets the password, which the caller has found good enough for the user.
func (s *Service) Accept(ctx context.Context, code, secret string, u store.User, b Browser) error {
	hash, err := s.Passwords.Hash(ctx, secret)
	if errors.Is(err, password.ErrBusy) {
		return errBusy()
	}
	if err != nil {
		return err
	}
	now := s.now()
	e := s.event(now, audit.UserPassword, audit.Allowed, "", u, b, map[string]string{"name": u.Name, "by": "set-up code"})
	_, err = s.Store.AcceptInvitation(ctx, invitationHash(code), hash, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrDenied) {
		return errInvitation.WithCause(err)
	}
	return err
}
