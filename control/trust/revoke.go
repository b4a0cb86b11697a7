package trust

import (
	"context"
	"errors"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxReason bounds why a key was revoked, in bytes.
const maxReason = 200

// Revoke has all servers refuse a key, or what a CA that is not ours has signed.
func (s *Service) Revoke(ctx context.Context, by caller.Caller, in api.NewRevokedKey) (*api.RevokedKey, error) {
	if !ident.IsFingerprint(in.Fingerprint) {
		return nil, api.Errorf(api.Invalid, "%q is no fingerprint", lookup.Shown(in.Fingerprint)).WithHint("give what `ssh-keygen -l` prints: SHA256:…")
	}
	if len(in.Reason) > maxReason {
		return nil, api.Errorf(api.Invalid, "the reason has %d bytes, more than %d", len(in.Reason), maxReason)
	}
	e := by.Event(s.now(), audit.KeyRevoke)
	e.Detail = map[string]string{"key": in.Fingerprint, "reason": in.Reason}
	k := store.RevokedKey{Fingerprint: in.Fingerprint, Reason: in.Reason, CreatedAt: e.Time}
	err := s.Store.RevokeKey(ctx, k, by.MetaFor(e.Time, k.Fingerprint, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, api.Errorf(api.Conflict, "%s is a CA of this team", in.Fingerprint).
			WithHint("rotate it and retire it; to see which it is type: cardea admin ca list").WithCause(err)
	}
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "revocation of "+in.Fingerprint)
	}
	out := revokedOf(k)
	return &out, nil
}

func revokedOf(k store.RevokedKey) api.RevokedKey {
	return api.RevokedKey{Fingerprint: k.Fingerprint, Reason: k.Reason, CreatedAt: k.CreatedAt}
}

// Revoked lists what was revoked by hand.
func (s *Service) Revoked(ctx context.Context, p api.Page) (*api.List[api.RevokedKey], error) {
	rows, next, err := s.Store.RevokedKeys(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of revoked keys")
	}
	return lookup.List(rows, next, revokedOf), nil
}

// Unrevoke takes a revocation back.
func (s *Service) Unrevoke(ctx context.Context, by caller.Caller, fingerprint string) (*api.Named, error) {
	e := by.Event(s.now(), audit.KeyUnrevoke)
	e.Detail = map[string]string{"key": lookup.Shown(fingerprint)}
	err := s.Store.UnrevokeKey(ctx, fingerprint, by.MetaFor(e.Time, fingerprint, audit.Encode(e)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Errorf(api.NotFound, "no key %q is revoked", lookup.Shown(fingerprint)).
			WithHint("to see what is type: cardea admin ca revoked").WithCause(err)
	}
	return lookup.Named(fingerprint, caller.Explain(err, "revocation of "+lookup.Shown(fingerprint)))
}
