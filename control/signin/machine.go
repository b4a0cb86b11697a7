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
		return api.SignedIn{}, s.strangeKey(ctx, e, err)
	case errors.Is(err, store.ErrDenied):
		return api.SignedIn{}, s.deniedKey(ctx, e, err)
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

// strangeKey refuses a key that no service user has. Whoever has it is told what became of
// it: he has proved that it is his, and of no other key anything is told.
func (s *Service) strangeKey(ctx context.Context, e audit.Event, cause error) error {
	former, err := s.Store.FormerServiceKey(ctx, e.Detail["key"])
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil {
		return s.notAProgram(ctx, e, refused("nobody has this key", api.Denied, cause,
			"this key may not sign in; an administrator adds it by: cardea admin service-users add-key NAME THUMBPRINT"))
	}
	e.Actor, e.User, e.Detail["service_key"] = former.User, former.User, former.ID
	day := former.RetiredAt.UTC().Format(time.DateOnly)
	if former.Next == "" {
		return s.notAProgram(ctx, e, refused("the key was taken away", api.Denied, cause,
			"this key was taken away on %s; make another one and have it added, type: cardea service-key FILE", day))
	}
	e.Action, e.Detail["next"] = audit.ServiceKeyReuse, former.Next
	return s.notAProgram(ctx, e, refused("another key has taken the place of this one: somebody has a copy of it", api.Denied, cause,
		"another key took the place of this one on %s; use that one, and if nobody here changed it tell an administrator that somebody has a copy", day))
}

// deniedKey refuses a key that its user has.
func (s *Service) deniedKey(ctx context.Context, e audit.Event, cause error) error {
	if told := s.disabled(ctx, e.User); told != "" {
		return s.notAProgram(ctx, e, refused("the user of the key is not active", api.Denied, cause, "%s", told))
	}
	keys, err := s.Store.ServiceKeys(ctx, e.User)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Thumbprint == e.Detail["key"] && !k.ExpiresAt.IsZero() && !s.now().Before(k.ExpiresAt) {
			return s.notAProgram(ctx, e, refused("the key is over", api.Denied, cause,
				"this key was good until %s; make another one and have it added, type: cardea service-key FILE", k.ExpiresAt.UTC().Format(time.RFC3339)))
		}
	}
	return s.notAProgram(ctx, e, refused("the device of the key was revoked", api.Denied, cause,
		"this key was locked out; make another one and have it added, type: cardea service-key FILE"))
}

// notAProgram audits why a program may not come in, and returns what it hears.
func (s *Service) notAProgram(ctx context.Context, e audit.Event, why *unfit) error {
	e.Outcome, e.Session = audit.Denied, ""
	if e.Action == audit.SignInService {
		e.Action = audit.SignInFailed
	}
	return s.notAJob(ctx, e, why)
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
