// Package policy decides who may enter which server under which login, and says why.
//
// Decide is a pure function: facts in, decision out, no clock and no store. So the same
// code answers a connection, `cardea why`, and an administrator's question "what if", and
// every rule has a line in a table of tests. What the facts do not say is a no: the zero
// value of Facts is denied, and so is any mixture of facts that do not belong together.
package policy

import "time"

// Role is what a grant gives on a server.
type Role string

// The roles, weaker first.
const (
	RoleUser  Role = "user"
	RoleAdmin Role = "admin" // may use sudo
)

// Facts are all that a decision depends on, as the database has them at one instant.
type Facts struct {
	Now     time.Time
	User    User
	Device  Device
	Session Session
	Project Project
	Server  Server
	// Memberships are the user's; Grants are the project's. Rows of others do no harm: they
	// are ignored.
	Memberships []Membership
	Grants      []Grant
	// BreakGlass is the project's latest one; the zero value is none.
	BreakGlass BreakGlass
	// ShownAt is when the user last showed on this device who he is, for this project; zero
	// is never since the sign-in.
	ShownAt time.Time
	// Login is the account that is asked for; empty means the one that is given.
	Login string
	// Of is the user's name where an administrator asks about him: sentences then speak of him,
	// and hints to who asks. Empty: both speak to the user.
	Of string
}

// tell chooses between what is said to the user and what to somebody else about him.
func (f Facts) tell(you, other string) string {
	if f.Of == "" {
		return you
	}
	return other
}

// User is a person or a program.
type User struct {
	ID     string
	Login  string // the Unix login that is his own
	Active bool
	// Program tells that no person sits at his devices: they were approved with the key or
	// the rule by which he signs in, say nothing of themselves, and nobody can be asked.
	Program bool
}

// Device is what holds the key of the session.
type Device struct {
	ID     string
	UserID string
	State  DeviceState
	// Approved tells that an administrator approved it, or one of his tokens.
	Approved bool
	// Posture is its own word.
	Posture Posture
}

// DeviceState is the state of a device; the zero value is not active.
type DeviceState string

// The states of a device.
const (
	DevicePending DeviceState = "pending" // waits for an administrator
	DeviceActive  DeviceState = "active"
	DeviceRevoked DeviceState = "revoked"
)

// Session is a sign-in. It is over at ExpiresAt exactly, and once RevokedAt is set.
type Session struct {
	ID        string
	UserID    string
	DeviceID  string
	ExpiresAt time.Time
	RevokedAt time.Time
	// AuthenticatedAt is when the user showed who he is to begin it.
	AuthenticatedAt time.Time
}

// Project is the scope of grants and servers.
type Project struct {
	ID   string
	Name string // for sentences
	// SharedLogin and SharedAdminLogin are the accounts of all who enter as user or
	// as administrator; empty means that each has his own.
	SharedLogin, SharedAdminLogin string
	// ReauthAge is how long it counts that the user showed who he is; zero is for as long
	// as his session.
	ReauthAge time.Duration
	// DeviceApproval and DeviceRules are what it demands of devices.
	DeviceApproval bool
	DeviceRules    []DeviceRule
}

// login is the account of somebody whose strongest grant has this role.
func (p Project) login(r Role, own string) string {
	switch {
	case r == RoleAdmin && p.SharedAdminLogin != "":
		return p.SharedAdminLogin
	case r == RoleUser && p.SharedLogin != "":
		return p.SharedLogin
	}
	return own
}

// Server is where the user wants to go.
type Server struct {
	ID        string
	ProjectID string
	Name      string // for sentences
	Active    bool
	Held      bool // two hosts use its credential; it is not active then
	Enrolled  bool // its agent has a credential
	// Labels are those of the administrator or the enrolment token. Keys that begin with
	// host/ are the server's own word and never grant anything.
	Labels map[string]string
}

// Membership is one user in one group. It is over at Until exactly; zero has no end.
type Membership struct {
	UserID  string
	GroupID string
	Until   time.Time
}

// Grant lets a group into a project's servers. It is over at Until exactly; zero has no end.
type Grant struct {
	ID        string
	ProjectID string
	GroupID   string
	GroupName string   // for the chain of facts
	Selector  Selector // the zero value selects every server
	Role      Role
	Until     time.Time
}

// BreakGlass is a time in which one grant of a project counts and all others are
// suspended. It is over at Until exactly, and once Ended is set, and whoever decides looks
// at the clock: nothing has to run for it to be over.
type BreakGlass struct {
	ID        string
	ProjectID string
	GrantID   string // the one that counts
	Reason    string // for sentences
	Until     time.Time
	Ended     bool
}

// InForce tells whether it lasts. One without an end never begins.
func (b BreakGlass) InForce(now time.Time) bool {
	return b.ID != "" && !b.Ended && now.Before(b.Until)
}

// Decision is the answer. Only Allow opens anything; the rest explains it.
type Decision struct {
	Allow  bool
	Reason Reason
	// Sentence may be shown to the user: it tells about his own standing, the server he
	// named and nothing else. Lower case, no full stop.
	Sentence string
	// Hint is what to type or do next; empty when allowed.
	Hint string
	// Reauth is the name of the project for which the user has to show again who he is; set
	// for that reason alone.
	Reauth string

	// Login is the account to enter. The fields from here on are set when allowed only.
	Login   string
	Role    Role
	GrantID string // the grant that gave Role
	// BreakGlass is the id of the one under which it is allowed; empty if there is none.
	BreakGlass string
	// Expires is when the first of session, membership and grant ends.
	Expires time.Time
}

// Reason is the stable name of why, for programs, audit and metrics.
type Reason string

// The reasons, in the order in which Decide looks.
const (
	Allowed           Reason = "allowed"
	FactsMismatch     Reason = "facts-mismatch" // rows that do not belong together: a bug or an attack
	UserInactive      Reason = "user-inactive"
	DevicePendingNo   Reason = "device-pending"
	DeviceRevokedNo   Reason = "device-revoked"
	SessionRevoked    Reason = "session-revoked"
	SessionExpired    Reason = "session-expired"
	NoGrant           Reason = "no-grant" // show it as "not found": the user may not see the server
	GrantOver         Reason = "grant-over"
	Suspended         Reason = "break-glass" // a grant would allow it, and counts again when the break-glass is over
	ServerInactive    Reason = "server-disabled"
	ServerNotEnrolled Reason = "server-not-enrolled"
	OtherLogin        Reason = "other-login"
	DeviceUnapproved  Reason = "device-unapproved" // the project demands an approval
	DevicePosture     Reason = "device-posture"    // what the device says of itself is not what the project demands
	Reauth            Reason = "reauth"            // all else is in order
)
