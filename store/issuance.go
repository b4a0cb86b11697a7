package store

import (
	"context"
	"time"
)

// Facts is everything that a decision about one user and one server rests on,
// read at one instant.
type Facts struct {
	Team        Team
	Session     Session
	Device      Device
	User        User
	Server      Server
	Project     Project
	Memberships []Member // of the user, all groups
	Grants      []Grant  // of the project
	// BreakGlass is the project's latest one, over or not; empty if it never had one.
	BreakGlass []BreakGlass
	// ShownAt is that of the Touch of Device for Project; zero if there is none.
	ShownAt time.Time
}

// Kinds of issuance.
const (
	IssueUser   = "user"
	IssueHost   = "host"
	IssueCanary = "canary"
)

// Issued is the durable record of a certificate, written before the signature.
type Issued struct {
	Serial    uint64 // 63 bits, unique
	Kind      string
	CA        string // id of the key
	Principal string
	KeyID     string
	PublicKey string // fingerprint of the subject key, SHA256:…
	User      string
	Session   string
	Device    string
	Server    string
	Project   string
	Login     string
	Grant     string // that allowed it
	Ticket    string
	NotBefore time.Time
	NotAfter  time.Time
	CreatedAt time.Time
	// Gateway and GatewaySession are set where it was issued to a gateway.
	Gateway, GatewaySession string
	// Labels are the server's as the decision saw them: a grant may rest on them.
	// RecordIssuance compares them, for a user, and keeps none.
	Labels map[string]string
}

// Claim is a gateway's claim of a hello.
type Claim struct {
	Nonce       []byte // 32 bytes, unique for ever (kept until the ticket is long over)
	Ticket      string
	Fingerprint []byte // of the fresh key
	Session     GatewaySession
	UserSession string
	ExpiresAt   time.Time // of the ticket; the claim is refused at or after it
	// Record is nil for a session that is not recorded.
	Record *ClaimedRecord
}

// GatewaySession is one connection through a gateway.
type GatewaySession struct {
	ID, Gateway, User, Server, Project, Login string
	UserSession                               string
	Source                                    string
	StartedAt, EndedAt                        time.Time
	Cause                                     string
	Up, Down                                  int64
	// Recording is the state of its recording, "" where it is not recorded; filled by
	// reads. Overdue says that nobody finishes it.
	Recording string
	Overdue   bool
	// EndBy is the id of the user who ordered its end, if one did; EndReason is why it was
	// ordered, for the person in it. Both are set by orders alone.
	EndBy, EndReason string
}

// SessionFilter selects gateway sessions; empty fields select all.
type SessionFilter struct {
	ID, User, Server, Project string
	Live                      bool // only those that are not over
}

// EndOrder is a live session that must end, and why.
type EndOrder struct{ Session, Reason string }

// LiveProject is a project with live sessions.
type LiveProject struct {
	ID       string
	Revision int64
}

// MaxNamesakes bounds how many servers of one name are looked at: each costs a
// decision, and nobody reads a longer list of what a name could mean.
const MaxNamesakes = 64

// Issuance keeps certificates and sessions.
type Issuance interface {
	// Facts reads them. ErrNotFound for an unknown session or server.
	Facts(ctx context.Context, session, server string) (Facts, error)
	// FactsByName reads them for the first MaxNamesakes servers of a name, by id:
	// of the project of that name, or of all for "". None for an unknown session.
	FactsByName(ctx context.Context, session, project, name string) ([]Facts, error)
	// CatalogFacts reads what a user's catalog is made of.
	CatalogFacts(ctx context.Context, user string) (CatalogFacts, error)
	// RecordIssuance writes the record if at m.Now: the user and the device are
	// active, the session is neither over nor revoked, the server is active and
	// in the project, user and server still have the login and the labels that were
	// decided on, and the named grant exists, is not over, and is for a
	// group in which the user has a membership that is not over, and no break-glass
	// suspends it. Else ErrDenied. For IssueHost and IssueCanary only the server must be active.
	// ErrExists for a serial in use (make another).
	RecordIssuance(ctx context.Context, v Issued, m Meta) error
	Issued(ctx context.Context, serial uint64) (Issued, error)

	// ClaimHello claims the nonce and starts the session's record if at m.Now the
	// gateway, user, device and server are active, the user session is neither
	// over nor revoked, and an issuance with this ticket exists for the same user,
	// server, login and key fingerprint, whose grant is still in force for that user
	// as RecordIssuance has it. ErrReplayed for a nonce that was
	// claimed, ErrDenied otherwise. With Record it begins the recording, and records
	// both issuances, each under the conditions of RecordIssuance; then ErrUsed is
	// for a target key that was certified before, ErrExists for a serial in use.
	ClaimHello(ctx context.Context, c Claim, m Meta) error
	// EndGatewaySession ends a session of this gateway once; a second end is nil.
	EndGatewaySession(ctx context.Context, s GatewaySession, m Meta) error
	// GatewaySession reads one.
	GatewaySession(ctx context.Context, id string) (GatewaySession, error)
	// GatewaySessions lists them, newest first.
	GatewaySessions(ctx context.Context, f SessionFilter, p Page) ([]GatewaySession, string, error)
	// OrderEnd orders the end of the live sessions that the filter selects and that have
	// no order yet, and returns how many those were. by is the id of a user, or empty. Where
	// there is none nothing happens, audit rows included.
	OrderEnd(ctx context.Context, f SessionFilter, by, reason string, m Meta) (int, error)
	// EndOrders returns the live sessions of the gateway that must end, with
	// order numbers above after, and the highest number.
	EndOrders(ctx context.Context, gateway string, after int64) ([]EndOrder, int64, error)
	// LiveProjects are the projects with live sessions, and their revisions.
	LiveProjects(ctx context.Context) ([]LiveProject, error)
}

// CatalogFacts is one consistent read.
type CatalogFacts struct {
	User        User
	Memberships []Member
	Grants      []Grant   // of the user's groups
	Projects    []Project // of those grants
	Servers     []Server  // of those projects
	HostCAs     []Key
	BreakGlass  []BreakGlass // the latest of each of those projects, over or not
	GatewayCAs  []Key
	Gateways    []Gateway // active ones with a host key, by name; none where no project records
}
