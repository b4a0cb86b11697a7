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
	e.Outcome, e.Reason = audit.Denied, reason
	if err := s.Store.AppendAudit(ctx, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)}); err != nil {
		return err
	}
	return why
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
	for _, k := range keys {
		if k.State != store.Active {
			continue
		}
		fresh, err := s.open(ctx, k, old)
		if err != nil {
			return found{}, err
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
	return found{}, fmt.Errorf("there is no active key for %s of %s", purpose, scope)
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
