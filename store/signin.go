package store

import (
	"context"
	"time"
)

// Device is a machine of a user, known by its key.
type Device struct {
	ID, User   string
	Name       string
	Thumbprint string // unique with User
	State      string // Pending, Active, Revoked
	CreatedAt  time.Time
	// Report is what it said of itself when it last signed in, opaque to the store; empty if
	// it said nothing since ReportedAt or ever.
	Report     string
	ReportedAt time.Time
	ApprovedAt time.Time // by ApproveDevice or an enrolment token; zero is never
}

// Session is a signed-in device of a user.
type Session struct {
	ID, User, Device string
	TokenHash        []byte // SHA-256
	Thumbprint       string // of the device key that it is bound to
	AuthenticatedAt  time.Time
	CreatedAt        time.Time
	ExpiresAt        time.Time
	RevokedAt        time.Time
	SeenAt           time.Time // last use, as far as SeeSession was told
}

// AuthRequest is one run through the browser (RFC 6749 section 4.1).
type AuthRequest struct {
	ID          string
	RedirectURI string
	State       string // the client's, given back unchanged
	Challenge   string // S256 (RFC 7636)
	Thumbprint  string // dpop_jkt (RFC 9449 section 10)
	DeviceName  string
	BrowserHash []byte // SHA-256 of the cookie of the browser that began it
	User        string // set when a person has confirmed
	Source      string // address of the browser
	Project     string // for which a person is asked again who he is, as the link names it; empty for a sign-in
	Grant       string // the DeviceGrant that it decides; empty for a device with a browser of its own
	Origin      string // address of the device of the grant
	// Replaces is the id or name of the device in whose place this one comes, or else
	// ReplacesKey the thumbprint of its key: as the device says, for the page. Both empty
	// for none.
	Replaces, ReplacesKey string
	ExpiresAt             time.Time
	CreatedAt             time.Time
}

// BrowserSession is a person signed in to the pages.
type BrowserSession struct {
	ID              string
	User            string
	TokenHash       []byte
	AuthenticatedAt time.Time
	ExpiresAt       time.Time
	// Provider is the id of the one that said so; empty for a password of ours.
	Provider string
	// AMR is how the person showed it who he is (RFC 8176); empty if it does not tell.
	AMR       []string
	Needs     string // NeedsNothing, …: a half session is good for that alone
	Challenge string // what it has to answer next
}

// Approval is a person's yes to a request.
type Approval struct {
	Request     string // its ID
	BrowserHash []byte // of the browser that the request is bound to
	User        string
	LoginHash   []byte // the TokenHash of the browser session that says yes
	CodeHash    []byte
	CodeExpires time.Time
}

// Redemption trades a code for a session; all of it must match.
type Redemption struct {
	CodeHash    []byte
	RedirectURI string
	Challenge   string // computed from the verifier
	Thumbprint  string // of the proof's key
	Project     string // of the request
	Session     Session
	Device      Device // ID, Name and State are used if the user has none with this key; Report always
	// Enrolment is the SecretHash of a token of KindDevice, nil for none. A new device that
	// would be Pending takes a use of it and is Active; a token that is worthless changes
	// nothing.
	Enrolment []byte
	// Replaces is the id of the user's device in whose place this one comes; empty for none.
	Replaces string
}

// PasswordChange is of a person's own password, at a browser.
type PasswordChange struct {
	Login    []byte         // the TokenHash of the browser session
	Since    time.Time      // when he must have signed in there, or later
	Old, New string         // hashes; Old is that of Credential
	Session  BrowserSession // takes its place; ID and TokenHash are used
}

// Touch is when the user of a device last showed who he is, to go on in a project.
type Touch struct {
	Device, Project string // ids
	At              time.Time
}

// Subject is who a token belongs to.
type Subject struct {
	Kind        string    // KindUser, KindServer, KindGateway
	Token       string    // KindUser: which token of the session it is: TokenCurrent, …
	ReplacedAt  time.Time // of a TokenReplaced
	IdleSeconds int       // KindUser: how long the session may go unused, 0 for ever
	Thumbprint  string    // the proof must be by this key
	ExpiresAt   time.Time
	Session     Session // KindUser
	Device      Device  // KindUser
	User        User    // KindUser
	Server      Server  // KindServer
	Gateway     Gateway // KindGateway
}

// Which token of its session somebody has shown. A session has one that is current, for
// moments a next one, and all those before.
const (
	TokenCurrent  = ""
	TokenNext     = "next"
	TokenReplaced = "replaced"
)

// TokenOffer is the next token of a session.
type TokenOffer struct {
	Session       string
	Current, Next []byte        // hashes
	Every         time.Duration // how long after one the session is given no other
	Report        *string       // what the device says of itself now; nil if it says nothing new
}

// SignIn keeps sessions.
type SignIn interface {
	// Authenticate finds the subject of a token in one read: whatever its state,
	// so that the caller can say why not. ErrNotFound for an unknown hash. For a
	// session every token counts that it ever had; Subject.Token says which it is.
	Authenticate(ctx context.Context, tokenHash []byte) (Subject, error)
	// OfferToken gives a session its next token, beside the current one. It becomes
	// the current one when it is first used, so whoever never got it has lost
	// nothing. ErrDenied if the session is over or revoked, or Current is not its
	// current token (any more); ErrInUse if it was given one within Every. What the
	// device says of itself takes the place of what it said before, with the token or not
	// at all: so no token is younger than what the device said with it.
	OfferToken(ctx context.Context, o TokenOffer, m Meta) error
	// UseToken makes the next token of a session the current one, and the one before
	// a replaced one. Nil if it is the current one already; ErrNotFound otherwise.
	UseToken(ctx context.Context, tokenHash []byte, m Meta) error
	// SeeSession notes that a session was used at m.Now.
	SeeSession(ctx context.Context, id string, m Meta) error

	CreateAuthRequest(ctx context.Context, r AuthRequest, m Meta) error
	AuthRequest(ctx context.Context, id string) (AuthRequest, error)
	// ApproveAuthRequest binds the request to the user and its one code, once.
	// ErrUsed if it was approved, refused or is over; ErrDenied if the user is
	// not active, BrowserHash differs, or the user's browser session has ended or is half: a
	// yes that began before a new password does not count after it. A request with a
	// Project needs a browser session that is younger than itself. ErrDenied for one that
	// leads to the dashboard.
	ApproveAuthRequest(ctx context.Context, a Approval, m Meta) (AuthRequest, error)
	// RefuseAuthRequest ends it.
	RefuseAuthRequest(ctx context.Context, id string, browserHash []byte, m Meta) (AuthRequest, error)
	// Redeem consumes the code and makes the session, and the device where the
	// user has none with this key. ErrUsed for an unknown, over or used code (a
	// second use revokes the session of the first, and that is kept); ErrDenied
	// for a mismatch (which consumes the code), a user that is not active or was not
	// meanwhile, or had another password, or a device that is revoked.
	//
	// With Replaces that device is revoked with it, as SetDeviceState does; one that is
	// revoked already stays so. ErrNotFound if the user has no such device, and ErrInUse if
	// the device of the session is that one, or another than r.Device.ID (there was one with
	// this key): both consume nothing.
	Redeem(ctx context.Context, r Redemption, m Meta) (Subject, error)
	// Touch consumes the code of a request that has a Project, as Redeem does that of
	// one without, and notes for the device of r.Session, which must be the user's and
	// last, when he showed who he is.
	Touch(ctx context.Context, r Redemption, t Touch, m Meta) (Touch, error)

	// CreateBrowserSession is for who has shown the password whose hash is given
	// (that of Credential). ErrDenied if the user is not active or has another
	// password by now. It returns the session with what it needs: a factor if the user
	// has one, or the enrolment of one if the team demands it.
	CreateBrowserSession(ctx context.Context, b BrowserSession, passwordHash string, m Meta) (BrowserSession, error)
	// ChangePassword gives the user of a browser session another password, as UpdateUser does:
	// all that his sign-ins began ends, and one browser session with a new token takes the
	// place of that from which it was done. ErrDenied if that is over, older than Since or
	// needs a factor, or if his password is not Old (any more).
	ChangePassword(ctx context.Context, c PasswordChange, m Meta) (BrowserSession, error)
	// BrowserSession finds one that is not over, half or whole.
	BrowserSession(ctx context.Context, tokenHash []byte, now time.Time) (BrowserSession, User, error)
	DeleteBrowserSession(ctx context.Context, tokenHash []byte, m Meta) error

	// Attempt counts a try under key within a window that begins with the first
	// try. It returns how many tries there were, this one included, and when the
	// window ends. Shared by all instances.
	Attempt(ctx context.Context, key string, window time.Duration, now time.Time) (int, time.Time, error)
	// ForgiveAttempts forgets them after a success.
	ForgiveAttempts(ctx context.Context, key string) error

	// Sessions lists those of a user, or all for "".
	Sessions(ctx context.Context, user string, p Page) ([]Session, string, error)
	Session(ctx context.Context, id string) (Session, error)
	// RevokeSession also orders the end of the gateway sessions that it began, and
	// revokes its certificates that are not over, with those of the sessions on its device in
	// whose place it may have come.
	RevokeSession(ctx context.Context, id string, m Meta) error
	// RenewSession ends a session in whose place next has come, of the same user, device and
	// key, and by the same rule if a rule brought it. The gateway sessions that it began go on, and
	// belong to next from then on: they end with that one, as do its certificates. ErrDenied
	// where next is none such or one of both is over; then nothing has changed.
	RenewSession(ctx context.Context, id, next string, m Meta) error
	Devices(ctx context.Context, user string, p Page) ([]Device, string, error)
	Device(ctx context.Context, id string) (Device, error)
	// DeviceByKey finds the device of a user by the thumbprint of its key.
	DeviceByKey(ctx context.Context, user, thumbprint string) (Device, error)
	// ApproveDevice makes a Pending device Active, and notes for an Active one too that
	// somebody looked at it; ErrDenied for one that is approved already or revoked.
	ApproveDevice(ctx context.Context, id string, m Meta) (Device, error)
	// SetDeviceState: Revoked revokes its sessions as RevokeSession does.
	SetDeviceState(ctx context.Context, id, state string, m Meta) (Device, error)
}
