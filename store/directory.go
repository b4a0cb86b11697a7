package store

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
)

// States of users, devices, servers and gateways.
const (
	Active   = "active"
	Disabled = "disabled"
	Deleted  = "deleted"
	Pending  = "pending"
	Revoked  = "revoked"
)

// LocalIssuer is the issuer of users whose password the control plane keeps.
const LocalIssuer = "local"

// FirstID is the first uid and gid that is given out. Users and groups share
// one counter, which only rises: an id is never given twice, so files of a
// removed user can never fall to a new one. They begin above UID_MAX of
// login.defs (60000) and what systemd takes up to 65535: below it useradd gives
// a local account the next number after the highest, which would be the one that
// our next user has.
const FirstID = 70000

// User is a person; a deleted one stays as a tombstone that holds its name's
// history, login and uid for ever.
type User struct {
	ID        string
	Issuer    string // "local" for local accounts
	Subject   string // unique with Issuer
	Name      string // to sign in with; unique among users not deleted
	FullName  string
	Email     string
	Login     string // unique for ever
	UID       int    // given by the store
	Status    string // Active, Disabled, Deleted
	Admin     bool
	Revision  int64 // of the last change that agents must know
	CreatedAt time.Time

	// The rest is for people, and filled by User, UserByName and Users alone.

	// DisabledBy is the administrator or the ScimClient who disabled or deleted him, by id;
	// empty where nobody knows.
	DisabledBy string
	DisabledAt time.Time
	Keeper     string    // id of the ScimClient that keeps him, empty for none
	SignedInAt time.Time // when a session of his began last
}

// UserChange changes what is not nil. A user of ServiceIssuer is never an administrator and
// has no password: that is ErrDenied.
type UserChange struct {
	FullName, Email *string
	Status          *string
	By              string // who changes Status: User.DisabledBy from then on
	Admin           *bool
	PasswordHash    *string
}

// Group is a set of users with a Unix gid.
type Group struct {
	ID        string
	Name      string // unique
	GID       int    // given by the store
	CreatedAt time.Time
	// Source is the id of the provider that keeps the members; empty: they are put and
	// removed by hand.
	Source string
	// External is what that provider calls the group; unique with Source.
	External string
}

// Member is a membership; Until zero has no end.
type Member struct {
	Group, User string
	UserName    string // filled by reads
	Until       time.Time
	Revision    int64
}

// InForce tells whether it lasts at now. The end itself is outside.
func (m Member) InForce(now time.Time) bool { return m.Until.IsZero() || now.Before(m.Until) }

// Words of Project.Gateway: whether the way to its servers leads through one.
const (
	GatewayNone     = "none"
	GatewayAllowed  = "allowed"
	GatewayRequired = "required"
)

// Project is the scope of a CA, of accounts and of rules.
type Project struct {
	ID                 string
	Name               string // unique
	CertificateSeconds int
	Gateway            string // none, allowed, required
	GatewaySelector    string
	PortForwarding     bool
	AgentForwarding    bool
	AccountRules
	RecordRules
	// NameSuffixes are the domains that names of its servers may be in, without a dot
	// before them.
	NameSuffixes []string
	// ReauthSeconds is how long it counts that a user showed who he is; 0 is for as long as
	// his session.
	ReauthSeconds int
	// DeviceRules have to hold by the device's own word; DeviceApproval lets in devices with
	// an ApprovedAt alone.
	DeviceRules    []string
	DeviceApproval bool
	// Revision is the team's revision at the last change that can alter the
	// desired state of this project's servers or its users' catalogs.
	Revision  int64
	CreatedAt time.Time
}

// ProjectChange changes what is not nil.
type ProjectChange struct {
	CertificateSeconds              *int
	Gateway, GatewaySelector        *string
	PortForwarding, AgentForwarding *bool
	AccountRulesChange
	RecordRulesChange
	NameSuffixes   *[]string
	ReauthSeconds  *int
	DeviceRules    *[]string
	DeviceApproval *bool
}

// Grant gives a group access to a project's servers.
type Grant struct {
	ID, Project, Group string
	GroupName          string // filled by reads
	Role               string // user, admin
	Selector           string
	Until              time.Time
	// Entitlements are what its members may run by sudo, by name; filled by Grants,
	// EntitlementGrants and ProjectFacts alone.
	Entitlements []EntitlementRef
	Revision     int64
	CreatedAt    time.Time
}

// InForce tells whether it lasts at now. The end itself is outside.
func (g Grant) InForce(now time.Time) bool { return g.Until.IsZero() || now.Before(g.Until) }

// GrantChange puts these entitlements in place of all that the grant has. Their
// names need not be filled in.
type GrantChange struct {
	Entitlements []EntitlementRef
}

// Entitlement is a named list of commands that may be run by sudo.
type Entitlement struct {
	ID          string
	Name        string // unique
	Description string
	Commands    []entitlement.Command
	CreatedAt   time.Time
}

// EntitlementRef names one.
type EntitlementRef struct{ ID, Name string }

// EntitlementChange changes what is not nil.
type EntitlementChange struct {
	Description *string
	Commands    *[]entitlement.Command
}

// Directory keeps people and rules. Commands that can alter desired states
// raise the team's revision and write it to the rows that they change and to
// every project that has a grant for a group concerned.
type Directory interface {
	// CreateUser gives the uid. ErrExists for a taken name, login or identity.
	CreateUser(ctx context.Context, u User, passwordHash string, m Meta) (User, error)
	User(ctx context.Context, id string) (User, error)
	// Credential returns a local user by name with the password hash ("" if there is none).
	Credential(ctx context.Context, name string) (User, string, error)
	// UserByName finds users that are not deleted.
	UserByName(ctx context.Context, name string) (User, error)
	Users(ctx context.Context, p Page) ([]User, string, error)
	// UpdateUser: disabling, deleting or a new password revokes the user's
	// sessions and browser sessions, spoils codes that were approved and not yet
	// redeemed, orders the end of its gateway sessions and revokes its
	// certificates that are not over, in the same
	// transaction: who stole a session or the old password has nothing any more.
	// Memberships stay, so that agents are told to
	// lock the account. ErrLastAdmin where no active administrator would be
	// left; ErrDenied for any change to a deleted user.
	UpdateUser(ctx context.Context, id string, c UserChange, m Meta) (User, error)

	// CreateGroup: ErrExists for a taken name, or what a provider calls two groups;
	// ErrNotFound for an unknown provider.
	CreateGroup(ctx context.Context, g Group, m Meta) (Group, error)
	Group(ctx context.Context, id string) (Group, error)
	GroupByName(ctx context.Context, name string) (Group, error)
	Groups(ctx context.Context, p Page) ([]Group, string, error)
	// DeleteGroup removes its memberships and grants with it, and request rules that name it.
	DeleteGroup(ctx context.Context, id string, m Meta) error
	// PutMember adds a membership or changes its end. ErrNotFound for an unknown
	// group or user; ErrDenied for a deleted user, and for a group that a provider keeps.
	PutMember(ctx context.Context, v Member, m Meta) error
	// RemoveMember: ErrDenied for a group that a provider keeps.
	RemoveMember(ctx context.Context, group, user string, m Meta) error
	Members(ctx context.Context, group string, p Page) ([]Member, string, error)

	// CreateProject stores the project with its user CA. ErrExists for a taken
	// name or a key whose fingerprint is known.
	CreateProject(ctx context.Context, v Project, ca Key, m Meta) (Project, error)
	Project(ctx context.Context, id string) (Project, error)
	ProjectByName(ctx context.Context, name string) (Project, error)
	Projects(ctx context.Context, p Page) ([]Project, string, error)
	// UpdateProject: ErrDenied where sessions would be recorded without a gateway that
	// is required, or for nobody who could read it; CreateProject likewise.
	UpdateProject(ctx context.Context, id string, c ProjectChange, m Meta) (Project, error)
	// DeleteProject removes an empty project with its grants and enrolment
	// tokens, retires its keys and destroys their private parts; ErrInUse while it
	// has servers.
	DeleteProject(ctx context.Context, id string, m Meta) error

	// CreateGrant: ErrNotFound for an unknown project, group or entitlement.
	CreateGrant(ctx context.Context, g Grant, m Meta) (Grant, error)
	Grants(ctx context.Context, project string, p Page) ([]Grant, string, error)
	// UpdateGrant: ErrNotFound for an unknown grant of this project or entitlement.
	UpdateGrant(ctx context.Context, project, id string, c GrantChange, m Meta) (Grant, error)
	DeleteGrant(ctx context.Context, project, id string, m Meta) error

	CreateEntitlement(ctx context.Context, e Entitlement, m Meta) (Entitlement, error)
	Entitlement(ctx context.Context, id string) (Entitlement, error)
	EntitlementByName(ctx context.Context, name string) (Entitlement, error)
	Entitlements(ctx context.Context, p Page) ([]Entitlement, string, error)
	// UpdateEntitlement: other commands raise the revision of every project with a
	// grant that names it, and of no other; another description raises none.
	UpdateEntitlement(ctx context.Context, id string, c EntitlementChange, m Meta) (Entitlement, error)
	// DeleteEntitlement: ErrInUse while a grant names it.
	DeleteEntitlement(ctx context.Context, id string, m Meta) error
	// EntitlementGrants lists the grants that name it, of all projects.
	EntitlementGrants(ctx context.Context, id string, p Page) ([]Grant, string, error)
	// GrantEntitlements are those that a grant names, by name.
	GrantEntitlements(ctx context.Context, grant string) ([]Entitlement, error)
}
