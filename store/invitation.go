package store

import (
	"context"
	"time"
)

// Invitation lets who holds its token choose the password of a local user, once.
type Invitation struct {
	TokenHash []byte
	User      string
	ExpiresAt time.Time
}

// Invitations keeps them.
type Invitations interface {
	// Invite makes one, in place of any that the user has; whatever gives him a password takes
	// it away. ErrDenied unless he is an active local user.
	Invite(ctx context.Context, v Invitation, m Meta) error
	// Invited finds whose it is; ErrNotFound for an unknown, used or over one.
	Invited(ctx context.Context, tokenHash []byte, now time.Time) (User, error)
	// AcceptInvitation uses it up and sets the password, as UpdateUser does. ErrUsed for
	// an unknown, used or over one, ErrDenied if the user is not active.
	AcceptInvitation(ctx context.Context, tokenHash []byte, passwordHash string, m Meta) (User, error)
}
