package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrChanged: the row has another version than the command rests on.
	ErrChanged = errors.New("changed meanwhile")
	// ErrBraked: too many people would lose access at once.
	ErrBraked = errors.New("too many at once")
)

// The brake: a client that would lock out, delete or take out of groups more than one in
// BrakeShare of its users within BrakeWindow, and at least BrakeLeast, is paused for such
// changes. An identity provider whose directory was emptied by mistake, or by somebody who
// should not, does not shut a whole company out.
const (
	BrakeShare  = 10
	BrakeLeast  = 10
	BrakeWindow = 10 * time.Minute
	// BrakePause is how long it lasts unless an administrator ends it: time to look, also
	// over a night, and no reason to forget about it.
	BrakePause = 24 * time.Hour
	// BrakeRelease is how long nothing is counted after an administrator ended a pause: for
	// the change that he has looked at to go through.
	BrakeRelease = time.Hour
)

const (
	// MaxScimClients of a team: one for each identity provider, and some to spare.
	MaxScimClients = 20
	// MaxScimResource bounds what is kept of one resource, in bytes. A provider's user has 4 KiB.
	MaxScimResource = 64 << 10
)

// ScimClient is an identity provider's connector that keeps users and groups by SCIM
// (RFC 7644).
type ScimClient struct {
	ID   string
	Name string // unique
	// Provider is the one at which its users sign in, and LinkClaim what that says of a
	// person that is the ExternalID of his user here; empty: nobody is ever linked.
	Provider, LinkClaim string
	TokenHash           []byte // SHA-256
	OldHash             []byte // of the token before, good until OldUntil
	OldUntil            time.Time
	State               string    // Active, Disabled
	PausedUntil         time.Time // the brake holds; zero if it does not
	Why                 string    // for people
	FreeUntil           time.Time // the brake is released
	CreatedAt           time.Time
	UsedAt              time.Time
	// Users and Groups are how many it keeps; filled by reads of one by id or name, and by lists.
	Users, Groups int
}

// Paused reports whether the brake holds at now.
func (c ScimClient) Paused(now time.Time) bool { return now.Before(c.PausedUntil) }

// ScimClientChange changes what is not nil.
type ScimClientChange struct {
	State *string
	// TokenHash is that of a new token; the one before is good until OldUntil.
	TokenHash []byte
	OldUntil  time.Time
	// Resume ends a pause, and releases the brake for BrakeRelease.
	Resume bool
}

// ScimUser is a user that a client keeps.
type ScimUser struct {
	Client string
	// User is the user. CreateScimUser takes id, login, name, full name and e-mail of it,
	// PutScimUser full name and e-mail; the rest is the store's.
	User                 User
	ExternalID, UserName string
	Active               bool // as the client said; an administrator may have disabled the user all the same
	Resource             []byte
	Version              int64 // from 1; given by the store
	CreatedAt, ChangedAt time.Time
}

// ScimGroup is a group that a client keeps.
type ScimGroup struct {
	Client string
	// Group is the group; CreateScimGroup takes id and name of it, which stays.
	Group                Group
	ExternalID           string
	Name                 string   // what the client calls it
	Members              []string // ids of its users; filled by ScimGroup alone
	Resource             []byte   // without members
	Version              int64    // from 1; given by the store
	CreatedAt, ChangedAt time.Time
	// Source is the client's address, for the audit rows that the store adds.
	Source string
}

// ScimQuery selects rows of a client; what is empty selects all. Names are the same in any case.
type ScimQuery struct {
	ID, ExternalID, Name string
	// Offset rows are passed over, and Limit (1 to 1000) given, by id.
	Offset, Limit int
}

// Provisioning keeps what identity providers' connectors keep here. Every command on a user
// or a group takes the client: what another made, or people did, is ErrNotFound to it.
//
// Commands that could take access from people go through the brake. ErrBraked is the error of
// one that would pass it, and of every such one while the client is paused; of the first the
// pause and an audit event stay, although the change does not happen.
type Provisioning interface {
	// CreateScimClient: ErrExists for a taken name, ErrNotFound for an unknown provider,
	// ErrTooMany beyond MaxScimClients.
	CreateScimClient(ctx context.Context, c ScimClient, m Meta) (ScimClient, error)
	ScimClient(ctx context.Context, id string) (ScimClient, error)
	ScimClientByName(ctx context.Context, name string) (ScimClient, error)
	// ScimClients lists all, by name.
	ScimClients(ctx context.Context, p Page) ([]ScimClient, string, error)
	UpdateScimClient(ctx context.Context, id string, c ScimClientChange, m Meta) (ScimClient, error)
	// DeleteScimClient lets go of what it keeps: its users and groups stay, with all that
	// they may do, and are kept by hand from then on.
	DeleteScimClient(ctx context.Context, id string, m Meta) error
	// AuthenticateScim finds the client of a token that is good at now, whatever its state.
	AuthenticateScim(ctx context.Context, tokenHash []byte, now time.Time) (ScimClient, error)
	// SeenScimClient notes that it was used.
	SeenScimClient(ctx context.Context, id string, now time.Time) error

	// CreateScimUser makes a user whose issuer is ScimIssuer of the client and whose subject
	// is his own id, until he signs in. ErrExists for a taken UserName or login, also of a
	// group or of somebody who was deleted, and for the ExternalID of somebody who signs in
	// at the client's provider and is not its own; ErrDenied unless the client is active.
	CreateScimUser(ctx context.Context, u ScimUser, m Meta) (ScimUser, error)
	ScimUser(ctx context.Context, client, id string) (ScimUser, error)
	// ScimUsers gives a page and how many there are.
	ScimUsers(ctx context.Context, client string, q ScimQuery) ([]ScimUser, int, error)
	// PutScimUser replaces what the client says of a user; ErrChanged unless the user has
	// u.Version still. Where Active turns false, the user is disabled as by UpdateUser, with
	// all that follows from that; ErrLastAdmin as there. Where it turns true he is enabled,
	// if it was the client that disabled him: what an administrator did stays. ErrChanged
	// also if User.DisabledBy is not what the caller knows of any more then.
	PutScimUser(ctx context.Context, u ScimUser, m Meta) (ScimUser, error)
	// DeleteScimUser deletes the user as UpdateUser does; version 0 is any.
	DeleteScimUser(ctx context.Context, client, id string, version int64, m Meta) error

	// CreateScimGroup makes a group whose Source is the client. ErrExists for a name that is
	// taken by a group, or by the login of a user; ErrNotFound for a member that is no user
	// of the client. It adds an audit row for each member; so does PutScimGroup.
	CreateScimGroup(ctx context.Context, g ScimGroup, m Meta) (ScimGroup, error)
	ScimGroup(ctx context.Context, client, id string) (ScimGroup, error)
	// ScimGroups gives a page, without members, and how many there are.
	ScimGroups(ctx context.Context, client string, q ScimQuery) ([]ScimGroup, int, error)
	// ScimGroupsOf are those that a user of the client is in, by name, without members.
	ScimGroupsOf(ctx context.Context, client, user string) ([]ScimGroup, error)
	// PutScimGroup replaces what the client says of a group and puts and removes members to
	// match; ErrChanged unless the group has g.Version still.
	PutScimGroup(ctx context.Context, g ScimGroup, m Meta) (ScimGroup, error)
	// DeleteScimGroup deletes the group as DeleteGroup does; version 0 is any.
	DeleteScimGroup(ctx context.Context, client, id string, version int64, m Meta) error
}

// ScimIssuer is the issuer of users whom a client made and who have not signed in yet. It is
// no URL, so no identity provider has it.
func ScimIssuer(client string) string { return scimIssuer + client }
