package store

import (
	"context"
	"time"
)

// States of a CA's keys besides Active. A rotation takes a new key from next to
// active, and the one before it from active over previous to retired.
const (
	KeyNext     = "next"     // trusted, does not sign yet
	KeyPrevious = "previous" // trusted, signs only for servers that do not know the active one
	KeyRetired  = "retired"  // trusted nowhere; its private part is gone
)

// KeySettle is how long after a switch a CA cannot be retired: by then every
// instance has read which key signs.
const KeySettle = 10 * time.Second

// Laggard is an active server that keeps a rotation from its next step.
type Laggard struct {
	ID, Project, Name string
	LastSeen          time.Time
}

// Rotation is how far the rotation of one CA has come, read at one instant.
type Rotation struct {
	// Next and Previous have no ID where there is none.
	Next, Active, Previous Key
	// Servers is how many active servers are concerned.
	Servers int
	// Behind are those that have not confirmed a state with the newest key in it.
	Behind []Laggard
	// OldHost are, for a CA of hosts, those that do not show a certificate of the
	// active key.
	OldHost []Laggard
	// LiveUntil is when the last certificate of users ends that Previous, or Next
	// after a switch back, has signed; zero if there is none.
	LiveUntil time.Time
}

// Without says which servers a step of a rotation need not wait for.
type Without struct {
	Servers []string // ids
	All     bool     // also not for the end of certificates
}

// RevokedKey is a key that an administrator has revoked.
type RevokedKey struct {
	Fingerprint string // SHA256:…, of a key or of a CA that is not ours
	Reason      string
	CreatedAt   time.Time
}

// Trust keeps the CAs over time. A CA is named by its scope (id of a project, or
// "team") and purpose ("user-ca", "host-ca", "gateway-ca"). All that changes what
// servers or users trust raises the revision of the projects concerned: one for a
// user CA, all for the others.
type Trust interface {
	// CAs are the keys of all CAs, retired ones too, by scope and purpose, newest
	// first. Nothing sealed is in them.
	CAs(ctx context.Context) ([]Key, error)
	// Key finds one of any state.
	Key(ctx context.Context, id string) (Key, error)
	// Rotation: ErrNotFound if there is no such CA.
	Rotation(ctx context.Context, scope, purpose string, now time.Time) (Rotation, error)

	// PublishCA stores the key as the next of its CA. ErrNotFound if there is no
	// such CA, ErrExists while a rotation of it runs or for a known fingerprint.
	PublishCA(ctx context.Context, k Key, m Meta) error
	// SwitchCA makes the next key the active one. ErrNotFound if there is none;
	// ErrInUse while an active server, other than those named, is behind.
	SwitchCA(ctx context.Context, scope, purpose string, w Without, m Meta) error
	// RetireCA retires the previous key and destroys its private part. ErrNotFound
	// if there is none. ErrInUse within KeySettle of the switch; while a server
	// other than those named is behind, shows a host certificate that is not the
	// active key's, or could be entered with a certificate of the previous one.
	RetireCA(ctx context.Context, scope, purpose string, w Without, m Meta) error
	// AbortCA goes one step back: after a switch the previous key becomes the
	// active one again, and the one that was active the next; before it the next
	// key is retired and destroyed, with ErrInUse as for RetireCA where it has
	// signed after all. ErrNotFound if no rotation runs.
	AbortCA(ctx context.Context, scope, purpose string, w Without, m Meta) error

	// RevokeKey: ErrInUse for a CA of ours that is not retired.
	RevokeKey(ctx context.Context, k RevokedKey, m Meta) error
	RevokedKeys(ctx context.Context, p Page) ([]RevokedKey, string, error)
	UnrevokeKey(ctx context.Context, fingerprint string, m Meta) error
}

// MaxRetired is how many retired CAs of a project its servers are told of, newest
// first: nobody has the private part of the others any more either.
const MaxRetired = 32

// Revocations are what the servers of a project must refuse.
type Revocations struct {
	// Keys are fingerprints: of keys that were revoked by hand, and of retired CAs.
	Keys []string
	// Serials are certificates whose session, device or user was revoked or
	// disabled before their end.
	Serials []RevokedSerial
}

// RevokedSerial is a certificate, the one server that it is for, and when it is over.
type RevokedSerial struct {
	Serial uint64
	Server string
	Until  time.Time
}
