package store

import (
	"context"
	"time"
)

// DeviceGrant is a device without a browser that asks to be signed in (RFC 8628).
type DeviceGrant struct {
	ID           string
	CodeHash     []byte // of what the device polls with
	UserCodeHash []byte // of what a person types in a browser elsewhere
	Thumbprint   string // of the device's key
	DeviceName   string
	Source       string // address of the device
	Wait         int    // seconds between two polls
	// Replaces and ReplacesKey are those of the AuthRequest that comes of it.
	Replaces, ReplacesKey string
	CreatedAt             time.Time
	ExpiresAt             time.Time
}

// SlowDown is what a poll that comes too soon adds to the wait between two, in seconds
// (RFC 8628 section 3.5).
const SlowDown = 5

// DeviceRedemption is one poll.
type DeviceRedemption struct {
	CodeHash   []byte
	User       string // who said yes, as far as the caller knows; empty for nobody
	Thumbprint string // of the proof's key
	Session    Session
	Device     Device // as that of a Redemption
	Enrolment  []byte // as that of a Redemption
	Replaces   string // as that of a Redemption
}

// DeviceGrants sign in devices without a browser. Each command is ErrDenied while the team
// does not let them.
type DeviceGrants interface {
	// CreateDeviceGrant keeps one. ErrExists if another has its user code.
	CreateDeviceGrant(ctx context.Context, g DeviceGrant, m Meta) error
	// TypeUserCode makes a request of the grant whose code was typed, for a person to
	// decide at that browser with ApproveAuthRequest or RefuseAuthRequest: ID, BrowserHash,
	// Source and CreatedAt are r's, the rest is the grant's. The same browser gets the
	// same request again. ErrNotFound if there is no such grant, it is over, or the code
	// was typed in another browser: one answer, because who types may be guessing.
	//
	// A yes to such a request has to rest on what was shown after it was made, and is
	// ErrDenied for an administrator.
	TypeUserCode(ctx context.Context, userCodeHash []byte, r AuthRequest, m Meta) (AuthRequest, error)
	// ApproveDeviceGrant is the yes of somebody who typed the code on a device of his: it
	// consumes the code r of a request that has a Project, as Touch does, by which a.User
	// showed who he is after a.Request was made, and approves that one, whose BrowserHash
	// is a's. ErrUsed and ErrDenied are those of Touch and ApproveAuthRequest.
	ApproveDeviceGrant(ctx context.Context, r Redemption, a Approval, m Meta) (AuthRequest, error)
	// RefuseDeviceGrant ends the request of a grant, whose BrowserHash is given, because of
	// who would say yes: DeviceGrantRequest names him from then on. The errors are those of
	// RefuseAuthRequest, and ErrDenied for a request of another kind.
	RefuseDeviceGrant(ctx context.Context, id string, browserHash []byte, user string, m Meta) (AuthRequest, error)
	// DeviceGrantRequest is the request that decides the grant. ErrNotFound before its code
	// was typed.
	DeviceGrantRequest(ctx context.Context, codeHash []byte) (AuthRequest, error)
	// PollDeviceGrant makes the session, once, as Redeem does. ErrPending until somebody
	// has decided, and is r.User if it is a yes: the audit row of m names him; ErrTooSoon for a poll that comes before the wait is over, which grows by
	// SlowDown; ErrRefused for a no; ErrUsed for a code that is unknown, over or used;
	// ErrDenied for another key, or a user who is not active, an administrator, or whose
	// device is revoked.
	PollDeviceGrant(ctx context.Context, r DeviceRedemption, m Meta) (Subject, error)
}
