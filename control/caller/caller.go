// Package caller says on whose behalf the control plane works: who was
// authenticated, from where, and what the call brought along that the store
// must consume with the change (its proof, its idempotency key).
//
// The HTTP layer makes one Caller per call; the domains below it take it as a
// plain argument and never see HTTP. It also translates the store's sentinels
// into sentences that a caller may read, so that the same fault reads the same
// everywhere.
package caller

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Caller is one authenticated call. The zero Kind means that nobody has been
// authenticated: a public call, or one with a proof but no token (enrolment).
type Caller struct {
	store.Subject
	// Source is the address of the peer, without a port.
	Source string
	// Prover is the thumbprint of the key that made this call's proof; empty for
	// public calls. For a call with a token it equals Subject.Thumbprint.
	Prover string
	// Proof is set for every call that may change something; nil for reads, whose
	// freshness the nonce alone shows.
	Proof *store.Proof
	// Idempotency is nil if the caller gave no key.
	Idempotency *store.Idempotency
	// RequestID finds this call in the log and is in every error that it gets.
	RequestID string
}

// ID is the id of the user's session, the server or the gateway: what rights
// and limits are counted by. Empty for nobody.
func (c Caller) ID() string {
	switch c.Kind {
	case store.KindUser:
		return c.Session.ID
	case store.KindServer:
		return c.Server.ID
	case store.KindGateway:
		return c.Gateway.ID
	default:
		return ""
	}
}

// IsAdmin reports whether the caller is a person who administers the team.
func (c Caller) IsAdmin() bool { return c.Kind == store.KindUser && c.User.Admin }

// Meta is what travels with a command of this call: its time, its proof and
// its idempotency key, and the audit rows that commit with it.
func (c Caller) Meta(now time.Time, rows ...[]byte) store.Meta {
	return store.Meta{Now: now, Audit: rows, Proof: c.Proof, Idempotency: c.Idempotency}
}

// MetaFor is Meta for a command that makes a row: a repeat of the call answers
// with the row of this id.
func (c Caller) MetaFor(now time.Time, id string, rows ...[]byte) store.Meta {
	m := c.Meta(now, rows...)
	if c.Idempotency != nil {
		i := *c.Idempotency
		i.Ref = id
		m.Idempotency = &i
	}
	return m
}

type key struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// From returns the caller of ctx. Without one there is no caller, and nothing
// may be done on anybody's behalf.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(key{}).(Caller)
	return c, ok
}
