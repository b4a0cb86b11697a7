// Package recordings knows of each recorded session how far its recording is, and with
// which keys it was signed. It lists them, and gives administrators what is stored, of
// which neither it nor they can read anything without a recipient's key.
//
// What gateways tell is stored as they tell it, within limits: a gateway speaks of the
// sessions that it ran itself, and of those of a gateway that is gone, whose spool it was
// given by an administrator's word. Nothing that is known is taken back; and whether a recording is whole, nobody has
// to believe: whoever holds the segments and the public keys, which are kept for ever, can
// verify it.
package recordings

import (
	"context"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// Service works on one store, which is needed.
type Service struct {
	Store store.Store
	// Bucket is where gateways store recordings; nil if nobody has said.
	Bucket opened
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	rations map[string]*rationed // guarded by mu: of sessions, for refusals
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// Keys lists the public halves of all keys that ever signed recordings, oldest first.
func (s *Service) Keys(ctx context.Context, p api.Page) (*api.List[api.RecordingKey], error) {
	rows, next, err := s.Store.RecordingKeys(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of recording keys")
	}
	return lookup.List(rows, next, func(k store.RecordingKey) api.RecordingKey {
		return api.RecordingKey{ID: k.ID, Public: k.Public, Gateway: k.Gateway, Since: k.Since}
	}), nil
}
