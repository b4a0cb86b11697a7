// Package fleet keeps the machines of a team: it lets servers and gateways in,
// tells server agents what to make true, hears their reports, and chooses the
// gateways of a connection.
//
// What matters about a machine comes from an administrator or from the
// enrolment token that he made: its name, address, labels and egress addresses.
// What a machine says of itself is kept apart, and grants nothing: a server that
// someone has taken over cannot call itself db-prod, and nobody's gateway can
// join somebody's pool.
package fleet

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Service works on one store. Store and Keys are needed.
type Service struct {
	Store store.Store
	// Keys opens the key that signs desired states.
	Keys *ca.Keyring
	// Strangers bounds the audit rows of those who try to enrol without a good
	// token: nobody is known by whom to count. Nil holds none back.
	Strangers *caller.Ration
	// Spent is the same for tokens that were good once, which junk must not hide.
	Spent *caller.Ration
	// Instances is for enrolment without tokens.
	Instances Instances
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	states   states
	signing  signing
	roster   roster
	relabels relabels
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// refuse audits a refusal and gives back why. If even that cannot be written
// down, the fault is what the caller hears of.
func (s *Service) refuse(ctx context.Context, e audit.Event, why *api.Error) error {
	return caller.Refuse(ctx, s.Store, e, why.Detail, why)
}

// refuseStranger is refuse within the ration of strangers.
func (s *Service) refuseStranger(ctx context.Context, e audit.Event, why *api.Error) error {
	return s.refuseWithin(ctx, s.Strangers, e, why)
}

// refuseSpent audits who came with a token that was used, or that is over.
func (s *Service) refuseSpent(ctx context.Context, t store.EnrolmentToken, e audit.Event, why *api.Error) error {
	e.Project, e.Detail = t.Project, map[string]string{"token": t.ID}
	return s.refuseWithin(ctx, s.Spent, e, why)
}

func (s *Service) refuseWithin(ctx context.Context, ration *caller.Ration, e audit.Event, why *api.Error) error {
	if ration != nil {
		held, ok := ration.Take(e.Time)
		if !ok {
			return why
		}
		caller.NoteHeld(&e, held)
	}
	return s.refuse(ctx, e, why)
}

func (s *Service) project(ctx context.Context, ref string) (store.Project, error) {
	return lookup.Find(ctx, lookup.Kind[store.Project]{Name: "project", Prefix: ident.Project, ByID: s.Store.Project, ByName: s.Store.ProjectByName}, ref)
}

// key returns the active key of the team for a purpose.
func (s *Service) key(ctx context.Context, purpose ca.Purpose) (store.Key, error) {
	keys, err := s.Store.Keys(ctx, ca.Team, string(purpose))
	if err != nil {
		return store.Key{}, err
	}
	for _, k := range keys {
		if k.State == store.Active {
			return k, nil
		}
	}
	return store.Key{}, fmt.Errorf("the team has no active key for %s", purpose)
}

func record(k store.Key) ca.Record {
	return ca.Record{
		Ref:    ca.Ref{ID: k.ID, Scope: k.Scope, Purpose: ca.Purpose(k.Purpose)},
		Public: k.Public, Fingerprint: k.Fingerprint, Sealed: k.Sealed,
	}
}

// gatewayKeys are what gateways verify tickets with: the active key, and its
// neighbours while a rotation runs.
func (s *Service) gatewayKeys(ctx context.Context) (api.GatewayKeys, error) {
	keys, err := s.Store.Keys(ctx, ca.Team, string(ca.Ticket))
	if err != nil {
		return api.GatewayKeys{}, err
	}
	out := api.GatewayKeys{TicketKeys: make(map[string][]byte, len(keys))}
	for _, k := range keys {
		if len(k.Public) != ed25519.PublicKeySize {
			return api.GatewayKeys{}, fmt.Errorf("ticket key %s has %d bytes", k.ID, len(k.Public))
		}
		id := hello.KeyIDOf(k.Public)
		out.TicketKeys[hex.EncodeToString(id[:])] = k.Public
	}
	if len(out.TicketKeys) == 0 {
		return out, errors.New("the team has no ticket key")
	}
	return out, nil
}
