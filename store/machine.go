package store

import (
	"context"
	"time"
)

// ServiceIssuer is the issuer of users who are programs. Their subject is their id. No
// identity provider has this issuer, for it is no URL.
const ServiceIssuer = "service"

// MaxServiceKeys is how many keys a service user has: the one in use, and the one that
// takes its place.
const MaxServiceKeys = 2

// ServiceKey is a key by which a service user signs in.
type ServiceKey struct {
	ID, User   string
	Name       string
	Thumbprint string // RFC 7638, SHA-256; of one user alone
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero for never
	UsedAt     time.Time // at its last sign-in
	// Replaces is the id of the key by whose proof it was registered; empty for one that
	// an administrator registered.
	Replaces string
}

// RetiredServiceKey is one that is over for ever.
type RetiredServiceKey struct {
	ID, User, Thumbprint string
	Next                 string // id of the key that took its place; empty if it was taken away
	RetiredAt            time.Time
}

// ServiceSignIn is one by a key.
type ServiceSignIn struct {
	User       string  // whose key it was when that was asked
	Thumbprint string  // of the key that made the proof
	Session    Session // its User and Device are filled in
	Device     Device  // ID and Name, by default the key's, are used if the user has none with this key
}

// Machines keeps users who are programs, and how they sign in.
type Machines interface {
	// ServiceUsers lists the users of ServiceIssuer by name, tombstones among them.
	ServiceUsers(ctx context.Context, p Page) ([]User, string, error)
	// AddServiceKey: ErrNotFound for an unknown user, ErrDenied for one who is no service
	// user or deleted, and for a key that was taken from this user before; ErrTooMany
	// beyond MaxServiceKeys; ErrExists for a key that somebody has.
	AddServiceKey(ctx context.Context, k ServiceKey, m Meta) (ServiceKey, error)
	// ServiceKeys are those of a user, oldest first.
	ServiceKeys(ctx context.Context, user string) ([]ServiceKey, error)
	// RemoveServiceKey takes a key from its user, with the one that was registered by its
	// proof if there is one, and ends as SetDeviceState does what was signed in with them and
	// with keys of his that were retired.
	RemoveServiceKey(ctx context.Context, user, id string, m Meta) error
	// NextServiceKey registers k to take the place of its user's key with the thumbprint
	// by, whose name and end it gets. It says the same again to who comes with k twice. A
	// next key that was never used makes room for another one. ErrNotFound if he has not
	// (any more) the key by; ErrDenied if that is over or its user not active, and for a
	// k that is retired; ErrTooMany beyond MaxServiceKeys; ErrExists for a k that somebody
	// has.
	NextServiceKey(ctx context.Context, by string, k ServiceKey, m Meta) (ServiceKey, error)
	// RetireServiceKey ends the key whose place the user's key with the thumbprint by has
	// taken: it signs in no more, and what it began goes on. ErrNotFound if there is none.
	RetireServiceKey(ctx context.Context, user, by string, m Meta) (RetiredServiceKey, error)
	// FormerServiceKey is the key with this thumbprint that was retired last.
	FormerServiceKey(ctx context.Context, thumbprint string) (RetiredServiceKey, error)
	// SetServiceKeyAge says after which time the keys of a service user are old; 0 for
	// never. Nothing ends by it.
	SetServiceKeyAge(ctx context.Context, user string, age time.Duration, m Meta) error
	ServiceKeyAge(ctx context.Context, user string) (time.Duration, error)
	// ServiceKeyOwner is the id of the user who has this key.
	ServiceKeyOwner(ctx context.Context, thumbprint string) (string, error)
	// SignInService makes the session of a user who has this key. ErrNotFound if he has it
	// not (any more); ErrDenied if the key is over, the user not active or the device revoked.
	SignInService(ctx context.Context, v ServiceSignIn, m Meta) (Subject, error)
}
