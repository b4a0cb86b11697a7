// Package issue decides about connections and makes what they need: a
// certificate for one login on one server, the way there, and the ticket that
// opens the gateways on it.
//
// The order is always the same: read the facts, decide, build and lint the
// certificate, record it durably, sign, answer. The store checks the decisive
// facts once more in the transaction that writes the record, so nothing that
// ended meanwhile is signed for. What is refused is audited with its reason.
package issue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// Router chooses the way to a server whose facts were read. Unconfirmed tells
// that there will be one, or a better one, once the server confirms its state.
type Router interface {
	Routes(ctx context.Context, f store.Facts) (routes []api.Route, unconfirmed bool, err error)
}

// confirmWait is how long a connection waits for the server to confirm the
// account: an agent that is awake needs a fraction of it, and a person is
// waiting.
const confirmWait = 2 * time.Second

// Service works on one store. Store, Keys and Router are needed.
type Service struct {
	Store  store.Store
	Keys   *ca.Keyring
	Router Router
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// ConfirmWait replaces the two seconds in tests; zero means those.
	ConfirmWait time.Duration

	signers signers
	looks   looks
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// refuse audits a refusal and gives back why. If even that cannot be written
// down, the fault is what the caller hears of.
func (s *Service) refuse(ctx context.Context, e audit.Event, reason string, why error) error {
	return caller.Refuse(ctx, s.Store, e, reason, why)
}

// keyLife is how long it is believed which key of a scope is the active one. A
// rotation publishes its keys long before it switches.
const keyLife = 5 * time.Second

// signers keeps what signs, open: opening a key costs more than signing with
// it. The zero value is empty.
type signers struct {
	mu    sync.Mutex
	found map[place]*found // guarded by mu
}

type place struct {
	scope   string
	purpose ca.Purpose
}

// found is the active key of a place, as of some moment.
type found struct {
	previous  *found // that was active before, while a rotation runs
	key       store.Key
	at        time.Time
	authority *ca.Authority // of SSH authorities
	signer    *ca.Signer    // of ticket keys
}

// active returns the key that signs for a place now.
func (s *Service) active(ctx context.Context, scope string, purpose ca.Purpose) (found, error) {
	at, c := place{scope, purpose}, &s.signers
	now := time.Now() // how long ago, and not what time it is
	c.mu.Lock()
	old := c.found[at]
	c.mu.Unlock()
	if old != nil && now.Sub(old.at) < keyLife {
		return *old, nil
	}
	keys, err := s.Store.Keys(ctx, scope, string(purpose))
	if err != nil {
		return found{}, err
	}
	fresh, err := s.openAll(ctx, keys, old)
	if err != nil {
		return found{}, err
	}
	if fresh.key.ID == "" {
		return found{}, fmt.Errorf("there is no active key for %s of %s", purpose, scope)
	}
	fresh.at = now
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil {
		c.found = map[place]*found{}
	}
	c.found[at] = &fresh
	return fresh, nil
}

// openAll opens the active key and the one before it.
func (s *Service) openAll(ctx context.Context, keys []store.Key, old *found) (active found, err error) {
	var previous *found
	for _, k := range keys {
		switch k.State {
		case store.Active:
			active, err = s.open(ctx, k, old)
		case store.KeyPrevious:
			var before found
			if old == nil {
				old = &found{}
			}
			before, err = s.open(ctx, k, old.previous)
			previous = &before
		}
		if err != nil {
			return found{}, err
		}
	}
	active.previous = previous
	return active, nil
}

// signer is who shall sign: the active key of a place, or where that is new to the
// server which has to accept the certificate, the one before it. So a server whose
// agent is away while a CA is rotated can be entered all the time.
type signer struct {
	place
	// confirmed is the revision of the state that the server has in force; nil if it
	// does not matter who signs.
	confirmed *int64
}

// confirmedBy is the revision that a server has confirmed of this epoch; 0 is none.
func confirmedBy(v store.Server, t store.Team) *int64 {
	revision := int64(0)
	if v.ConfirmedEpoch == t.Epoch {
		revision = v.ConfirmedCounter
	}
	return &revision
}

func (s *Service) signing(ctx context.Context, at signer) (found, error) {
	active, err := s.active(ctx, at.scope, at.purpose)
	if err == nil && at.confirmed != nil && active.previous != nil && *at.confirmed < active.key.Revision {
		return *active.previous, nil
	}
	return active, err
}

// shownCAs are the CAs of which servers, or recording gateways in their place, may show
// a certificate now: the one that signs, and the one before it while they leave it. Where
// they cannot be told, the client's catalog decides, as it does anyway.
func (s *Service) shownCAs(ctx context.Context, of ca.Purpose) []string {
	active, err := s.active(ctx, ca.Team, of)
	if err != nil {
		return nil
	}
	out := []string{active.key.Line()}
	if active.previous != nil {
		out = append(out, active.previous.key.Line())
	}
	return out
}

// open opens a key, unless it is the one that was open before.
func (s *Service) open(ctx context.Context, k store.Key, old *found) (found, error) {
	if old != nil && old.key.ID == k.ID && string(old.key.Sealed) == string(k.Sealed) {
		return *old, nil
	}
	r := ca.Record{
		Ref:    ca.Ref{ID: k.ID, Scope: k.Scope, Purpose: ca.Purpose(k.Purpose)},
		Public: k.Public, Fingerprint: k.Fingerprint, Sealed: k.Sealed,
	}
	out, err := found{key: k}, error(nil)
	if r.Purpose == ca.Ticket {
		out.signer, err = s.Keys.Signer(ctx, r)
	} else {
		out.authority, err = s.Keys.Authority(ctx, r)
	}
	return out, err
}
