package signin

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// MachineLife is how long a session of a program lasts at the most: it can sign in anew at
// any time without a person.
const MachineLife = time.Hour

// serviceKey signs in the service user who has the key of the call's proof. The proof is the
// assertion: it is made for this very endpoint, with a nonce of ours, and its one use is
// claimed with the session that it brings.
func (s *Service) serviceKey(ctx context.Context, by caller.Caller, form url.Values) (api.SignedIn, error) {
	if err := fields(form, "client_id"); err != nil {
		return api.SignedIn{}, err
	}
	token, session, device, err := s.machineSession(ctx, by, "", MachineLife)
	if err != nil {
		return api.SignedIn{}, err
	}
	e := audit.Event{
		Time: session.CreatedAt, Action: audit.SignInService, Outcome: audit.Allowed, Session: session.ID, Source: by.Source,
		Detail: map[string]string{"key": by.Prover},
	}
	owner, err := s.Store.ServiceKeyOwner(ctx, by.Prover)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return api.SignedIn{}, err
	}
	e.Actor, e.User = owner, owner // of nobody's key it is nobody, whom the store refuses
	who, err := s.Store.SignInService(ctx, store.ServiceSignIn{User: owner, Thumbprint: by.Prover, Session: session, Device: device}, by.Meta(session.CreatedAt, audit.Encode(e)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return api.SignedIn{}, s.notSignedIn(ctx, e, "nobody has this key", err)
	case errors.Is(err, store.ErrDenied):
		return api.SignedIn{}, s.notSignedIn(ctx, e, "the key is over or revoked, or its user is not active", err)
	case err != nil:
		return api.SignedIn{}, s.notRedeemed(ctx, e, err)
	}
	return signedIn(who, token, session), nil
}

// machineSession is a session and a device to be made for a program. It lasts no longer
// than the team lets a person's. The device is active whatever the team wants of people's:
// an administrator registered the key, or made the rule, and that is the approval.
func (s *Service) machineSession(ctx context.Context, by caller.Caller, device string, life time.Duration) (string, store.Session, store.Device, error) {
	demands, err := s.Store.TeamSettings(ctx)
	now := s.now()
	token := tokenPrefix + NewSecret()
	return token, store.Session{
			ID: ident.New(ident.Session), TokenHash: hashOf(token), Thumbprint: by.Prover,
			AuthenticatedAt: now, CreatedAt: now, ExpiresAt: now.Add(min(life, s.life(demands))),
		}, store.Device{
			ID: ident.New(ident.Device), Name: device, Thumbprint: by.Prover, State: store.Active, CreatedAt: now,
		}, err
}

// notSignedIn audits why a program may not come in. The program hears one sentence
// whatever it was: who tries keys out learns nothing of them.
func (s *Service) notSignedIn(ctx context.Context, e audit.Event, reason string, cause error) error {
	e.Action, e.Outcome, e.Session, e.Reason = audit.SignInFailed, audit.Denied, "", reason
	s.record(ctx, e)
	return oauth("invalid_grant", "this key may not sign in; an administrator adds it by: cardea admin service-users add-key NAME THUMBPRINT").because(cause)
}

// fields refuses a form in which one of these is missing, empty or there twice, and one
// that is of another client.
func fields(form url.Values, names ...string) error {
	for _, name := range names {
		if len(form[name]) != 1 || form.Get(name) == "" {
			return oauth("invalid_request", name+" is missing or there twice")
		}
	}
	if form.Get("client_id") != api.ClientID {
		return oauth("invalid_client", "this client is not known here")
	}
	return nil
}
