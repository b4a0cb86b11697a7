// Package store holds the control plane's records and the contract for keeping
// them. Two engines stand behind it, SQLite and PostgreSQL, with one set of
// statements (store/sqlstore); one conformance suite says what the contract
// means (store/storetest).
//
// The contract, for every method:
//
//   - A method that changes something is one whole atomic command: it checks the
//     facts that it depends on inside the same transaction that writes, so any
//     number of instances may call it at once. No transaction escapes. Engines
//     may commit several commands together; each succeeds or fails alone.
//   - When it returns nil, the change and the audit rows of its Meta are durable
//     (fsync). When it returns an error nothing of it happened, audit rows
//     included, unless the method says otherwise.
//   - Reads see every change that was acknowledged before the read began, on
//     this or any other instance.
//   - Errors: the sentinels below, wrapped; anything else is a fault of the
//     engine and may be tried again. A done context gives the context's error,
//     and the command may or may not have happened.
//   - Times are stored in UTC with microseconds. The zero time means "none".
//   - Text is UTF-8 without NUL; what is not is replaced by U+FFFD on its way in.
//   - All methods may be called from many goroutines.
package store

import (
	"context"
	"errors"
	"time"
)

// What a caller branches on.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: a unique name, login, key fingerprint or id is taken.
	ErrExists = errors.New("already exists")
	// ErrDenied: a fact that the command demands does not hold (any more): a user
	// is not active, a session is over, a grant is gone.
	ErrDenied = errors.New("denied")
	// ErrUsed: a one-time value was used, or is over.
	ErrUsed = errors.New("used or over")
	// ErrReplayed: the proof of this call was claimed before.
	ErrReplayed = errors.New("proof replayed")
	// ErrInUse: rows that depend on this one forbid the change.
	ErrInUse = errors.New("in use")
	// ErrLastAdmin: the team would be left without an active administrator.
	ErrLastAdmin = errors.New("last administrator")
	// ErrMismatch: an idempotency key came again with another request.
	ErrMismatch = errors.New("idempotency key used for another request")
	// ErrTooMany: there may be no more of these.
	ErrTooMany = errors.New("too many")
	// ErrSamePerson: two users who must be two people are one.
	ErrSamePerson = errors.New("the same person")
	// ErrPending: nobody has decided yet.
	ErrPending = errors.New("not decided yet")
	// ErrTooSoon: asked again before the time that was to be waited.
	ErrTooSoon = errors.New("asked too soon")
	// ErrRefused: a person said no.
	ErrRefused = errors.New("refused by a person")
	// ErrBusy: more commands wait than the engine takes; try again later.
	ErrBusy = errors.New("the store is busy")
)

// Repeated is the error of a command whose idempotency key was seen with the
// same request: Ref is what the first call stored there.
type Repeated struct{ Ref string }

func (*Repeated) Error() string { return "already done" }

// Meta travels with every command.
type Meta struct {
	// Now is the caller's clock; all conditions and new rows of the command use it.
	Now time.Time
	// Audit rows commit with the command, in this order, at the end of this
	// instance's chain. They are opaque to the store.
	Audit [][]byte
	// Proof is claimed with the command; nil where the caller has none.
	Proof *Proof
	// Idempotency is nil where the caller gave no key.
	Idempotency *Idempotency
}

// Proof is one proof of possession: claimed at most once until Expires.
type Proof struct {
	Thumbprint string // of the key, RFC 7638
	JTI        string
	Expires    time.Time
}

// Idempotency ties a repeated command to its first run. It is kept for a day.
type Idempotency struct {
	Scope string // who: the id of the session, server or gateway
	Key   string
	Hash  []byte // of method, path and body
	Ref   string // what a repeat answers with: the id of the row that was made
}

// Page asks for part of a list: at most Limit rows (1 to 1000) after Cursor, an
// opaque string from the call before ("" for the first page). Lists come in a
// stable order and return the next cursor, "" at the end.
type Page struct {
	Cursor string
	Limit  int
}

// Store is everything together.
type Store interface {
	Teams
	Directory
	Fleet
	Enrolments
	SignIn
	DeviceGrants
	Dashboards
	Providers
	Factors
	Invitations
	Issuance
	Recordings
	Trust
	Life
	BreakGlasses
	Requests
	Provisioning
	Adoption
	Machines
	Workloads
	AuditLog
	Watcher

	// Sweep ends what is over at now (memberships, grants, break-glass, requests) with the revisions
	// and wake-ups that a removal has and an audit event for each, and drops what is kept for a time only
	// (proofs, nonces, requests, idempotency keys). Any instance may call it at
	// any time; it is bounded to a thousand rows of each kind per call.
	Sweep(ctx context.Context, now time.Time) error
	// Ready proves that a durable write would succeed now.
	Ready(ctx context.Context) error
	Close() error
}

// Watcher tells of changes across all instances.
type Watcher interface {
	// Watch returns a channel that is closed at the first commit, here or on
	// another instance, that touches one of the topics after Watch was called
	// (or at any time without reason: the watcher reads again and compares).
	// Cancelling ctx releases it. Delivery takes under a second; a lost
	// connection to the engine closes the channels.
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Topics. The commands say what they touch: every change that can alter the
// desired state of a project's servers or its users' catalogs touches its
// ProjectTopic; an agent's report its ServerTopic; an order to end sessions and
// a new ticket key GatewayTopic; every append AuditTopic.
const AuditTopic = "audit"

// ProjectTopic is touched by changes of a project's desired state or catalog.
func ProjectTopic(id string) string { return "project/" + id }

// UserTopic is touched by changes of a user, its memberships and sessions.
func UserTopic(id string) string { return "user/" + id }

// ServerTopic is touched when a server reports, is enrolled, changed or deleted.
func ServerTopic(id string) string { return "server/" + id }

// GatewayTopic is touched by orders to a gateway.
func GatewayTopic(id string) string { return "gateway/" + id }
