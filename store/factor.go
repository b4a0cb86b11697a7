package store

import (
	"context"
	"time"
)

// Kinds of second factor.
const (
	FactorTOTP    = "totp"
	FactorPasskey = "passkey"
)

// Factor is a second factor of a local account.
type Factor struct {
	ID, User   string
	Kind, Name string
	Sealed     []byte // the secret of a FactorTOTP
	// CredentialID is unique over all users; it and Credential are of a FactorPasskey.
	CredentialID string
	Credential   string
	// Counter only rises with use: the time step of a FactorTOTP, the sign count of a
	// FactorPasskey (where 0 is that of one which does not count).
	Counter   int64
	CreatedAt time.Time
	UsedAt    time.Time
}

// What a browser session still needs before it is one.
const (
	NeedsNothing   = ""
	NeedsFactor    = "factor"    // the user has one, and has not shown it
	NeedsEnrolment = "enrolment" // he must have one, and has none
)

// FactorUse is a factor that was shown, in exchange for a whole browser session.
type FactorUse struct {
	Login   []byte // the TokenHash of the half browser session
	Session BrowserSession
	// Either a factor, with what it is from now on; or the hash of a recovery code.
	Factor       string
	Counter      int64
	Credential   string
	RecoveryHash []byte
	// Challenge is that of the half session, which is used up; empty where there was none.
	Challenge string
}

// NewFactor adds a factor from a browser session.
type NewFactor struct {
	Factor
	Login     []byte         // the TokenHash of the browser session
	Session   BrowserSession // takes its place
	Since     time.Time      // when the user must have signed in there, or later
	Challenge string         // of the browser session, which is used up
}

// Factors keeps second factors.
type Factors interface {
	// Factors lists those of a user, oldest first.
	Factors(ctx context.Context, user string) ([]Factor, error)
	// RecoveryCodes is how many a user has left.
	RecoveryCodes(ctx context.Context, user string) (int, error)
	// SetChallenge keeps what a browser session has to answer next, in place of what was
	// there. ErrNotFound for one that is over.
	SetChallenge(ctx context.Context, login []byte, challenge string, m Meta) error
	// UseFactor puts a whole browser session with a new token in the place of a half
	// one. ErrDenied if that is over or not half, its challenge is another, the factor
	// is not the user's or he is not active; ErrUsed if the counter did not rise, or
	// the recovery code is unknown or used. What failed uses up the challenge all the same.
	UseFactor(ctx context.Context, u FactorUse, m Meta) (BrowserSession, error)
	// AddFactor adds one and puts a browser session with a new token in the place of that
	// from which it was done; all other browser sessions of the user end. ErrDenied if
	// that is over, older than Since or needs a factor, or its challenge is another;
	// ErrExists for a passkey that is known, ErrInUse if the user has MaxFactors.
	AddFactor(ctx context.Context, f NewFactor, m Meta) (BrowserSession, error)
	// RemoveFactor removes one from a browser session that is whole and no older than
	// since. ErrInUse for the last of who must have one; with the last go the recovery codes.
	RemoveFactor(ctx context.Context, login []byte, since time.Time, id string, m Meta) error
	// SetRecoveryCodes replaces those of the user of a browser session that is whole and no
	// older than since. ErrDenied if he has no factor.
	SetRecoveryCodes(ctx context.Context, login []byte, since time.Time, hashes [][]byte, m Meta) error
	// KnowBrowser remembers until expires a browser in which the user has just shown a second
	// factor. Of more than MaxKnownBrowsers of a user the one that was seen longest ago is
	// forgotten. A new password, and whatever ends his sign-ins, forgets all.
	KnowBrowser(ctx context.Context, user string, tokenHash []byte, expires time.Time, m Meta) error
	// KnownBrowser reports whether it is remembered at now.
	KnownBrowser(ctx context.Context, user string, tokenHash []byte, now time.Time) (bool, error)

	// ResetFactors takes all factors, recovery codes and invitations from a user, and ends his browser
	// sessions. It returns how many factors there were.
	ResetFactors(ctx context.Context, user string, m Meta) (int, error)
}

// MaxFactors bounds those of a user: a few keys and a telephone.
const MaxFactors = 16

// MaxKnownBrowsers bounds those of a user: each may try codes of its own.
const MaxKnownBrowsers = 16

// FactorAttempts is the key of Attempt for what all browsers but the known ones tried of a
// user's second factor. A new password forgets it: who tried had the one before.
func FactorAttempts(user string) string { return "factor-day/" + user }
