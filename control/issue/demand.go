package issue

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// renewPart is the part of an account's life that may pass before a further
// certificate prolongs it: somebody who connects each second does not write each
// second.
const renewPart = 8

// demanded is whether the login of this decision is an account on demand.
func demanded(t target) bool {
	return t.decision.Allow && t.facts.Project.Accounts == store.AccountsOnDemand && t.decision.Login == t.facts.User.Login
}

// demand has the account of an allowed connection live on, and has it made if
// there is none: that is on record before anybody waits for it.
func (s *Service) demand(ctx context.Context, by caller.Caller, t target) (store.Demand, error) {
	f, now := t.facts, s.now()
	life := time.Duration(f.Project.AccountSeconds) * time.Second
	d, err := s.Store.Demand(ctx, f.Server.ID, f.User.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	if err == nil && !d.Over && d.Until.Sub(now) > life-life/renewPart {
		return d, nil
	}
	m := by.Meta(now)
	m.Proof, m.Idempotency = nil, nil // the certificate's record claims them
	if err != nil || d.Over || !d.Until.After(now) {
		e := by.Event(now, audit.AccountDemand)
		e.User, e.Server, e.Project = f.User.ID, f.Server.ID, f.Project.ID
		e.Detail = map[string]string{"login": f.User.Login}
		m.Audit = audit.EncodeAll(e)
	}
	d, err = s.Store.DemandAccount(ctx, f.Server.ID, f.User.ID, now.Add(life), m)
	if errors.Is(err, store.ErrDenied) {
		return d, api.Errorf(api.Denied, "your user is disabled").WithHint("ask your administrator").WithCause(err)
	}
	return d, caller.Explain(err, "server "+f.Server.Name)
}

// unmade refuses a connection to an account that is not there yet. Unlike an
// account that may only have changed, this one cannot be entered.
func unmade(f store.Facts, now time.Time) *api.Error {
	if f.Server.LastSeen.IsZero() || now.Sub(f.Server.LastSeen) > longUnheard {
		return api.Errorf(api.Unavailable, "your account on server %s has to be made first, and its agent has not been heard of", f.Server.Name).
			WithHint("tell your administrator")
	}
	return api.Errorf(api.Unavailable, "your account on server %s is being made", f.Server.Name).
		WithHint("type the same again in a moment")
}

// made reports whether the server has confirmed the account on demand.
func made(f store.Facts, d policy.Decision, wants store.Demand) bool {
	return d.Login != f.User.Login || f.Server.ConfirmedEpoch == f.Team.Epoch && f.Server.ConfirmedCounter >= wants.Revision
}
