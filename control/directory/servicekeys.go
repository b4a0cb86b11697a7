package directory

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// minKeyAge and maxKeyAge bound the age at which keys are called old: within an hour none
// can be changed in peace, and after ten years nobody asks.
const minKeyAge, maxKeyAge = time.Hour, 10 * 365 * 24 * time.Hour

// UpdateServiceUser says when its keys are old. Nothing ends by that.
func (s *Service) UpdateServiceUser(ctx context.Context, by caller.Caller, ref string, in api.ServiceUserPatch) (*api.ServiceUser, error) {
	u, err := s.serviceUser(ctx, ref)
	if err != nil {
		return nil, err
	}
	age := time.Duration(in.KeySeconds) * time.Second
	if in.KeySeconds < 0 || in.KeySeconds > int(maxKeyAge/time.Second) || age != 0 && age < minKeyAge {
		return nil, api.Errorf(api.Invalid, "keys are old after %s to %s, or never with 0", lookup.Span(minKeyAge), lookup.Span(maxKeyAge))
	}
	e := by.Event(s.now(), audit.ServiceKeyAge)
	e.User, e.Detail = u.ID, map[string]string{"name": u.Name, "seconds": strconv.Itoa(in.KeySeconds)}
	err = s.Store.SetServiceKeyAge(ctx, u.ID, age, by.MetaFor(e.Time, u.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "service user "+u.Name)
	}
	return s.withKeys(ctx, u)
}

// byOwnKey refuses whoever is no program that has signed in with a key: a job has none that
// could be changed.
func byOwnKey(by caller.Caller) error {
	if by.User.Issuer != store.ServiceIssuer {
		return api.Errorf(api.Invalid, "only a service user changes its keys so").WithHint("to see your devices type: cardea device list")
	}
	return nil
}

// NextServiceKey registers the key that is to take the place of the one with which the
// caller has signed in: the proof of the call is by that.
func (s *Service) NextServiceKey(ctx context.Context, by caller.Caller, in api.NextServiceKey) (*api.ServiceKey, error) {
	if err := byOwnKey(by); err != nil {
		return nil, err
	}
	if err := checkThumbprint(in.Thumbprint); err != nil {
		return nil, lookup.Invalid(err)
	}
	k := store.ServiceKey{ID: ident.New(ident.ServiceKey), User: by.User.ID, Thumbprint: in.Thumbprint, CreatedAt: s.now()}
	e := by.Event(k.CreatedAt, audit.ServiceKeyNext)
	e.User, e.Detail = by.User.ID, map[string]string{"key": by.Prover, "next": k.Thumbprint}
	made, err := s.Store.NextServiceKey(ctx, by.Prover, k, by.MetaFor(k.CreatedAt, k.ID, audit.Encode(e)))
	if id, again := lookup.Repeated(err); again {
		made, err = s.keyOf(ctx, by.User, id)
	}
	switch {
	case errors.Is(err, store.ErrTooMany):
		return nil, s.refuse(ctx, e, api.Errorf(api.Conflict, "%s has %d keys, and that is all it may have", by.User.Name, store.MaxServiceKeys).
			WithHint("an administrator takes one away by: cardea admin service-users remove-key %s KEY", by.User.Name).WithCause(err))
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, api.Errorf(api.Gone, "the next key was taken away before, or the one of this session is over").
			WithHint("try again; another key is made then").WithCause(err))
	case errors.Is(err, store.ErrNotFound):
		return nil, s.refuse(ctx, e, notByKey(by, err))
	case err != nil:
		return nil, caller.Explain(err, "key")
	}
	out := serviceKeyOf(made)
	return &out, nil
}

// RetireServiceKey ends the key whose place the one of the caller's session has taken. There
// need be none: who lost the answer asks again.
func (s *Service) RetireServiceKey(ctx context.Context, by caller.Caller) (*api.RetiredServiceKey, error) {
	if err := byOwnKey(by); err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.ServiceKeyRetire)
	e.User, e.Detail = by.User.ID, map[string]string{"key": by.Prover}
	r, err := s.Store.RetireServiceKey(ctx, by.User.ID, by.Prover, by.Meta(e.Time, audit.Encode(e)))
	_, again := lookup.Repeated(err)
	switch {
	case again, errors.Is(err, store.ErrNotFound):
		return &api.RetiredServiceKey{}, nil
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, notByKey(by, err))
	case err != nil:
		return nil, caller.Explain(err, "key")
	}
	return &api.RetiredServiceKey{ID: r.ID, Thumbprint: r.Thumbprint}, nil
}

func notByKey(by caller.Caller, cause error) *api.Error {
	return api.Errorf(api.Denied, "the key of this session is none that %s signs in with any more", by.User.Name).
		WithHint("type: cardea login --service-key FILE").WithCause(cause)
}
