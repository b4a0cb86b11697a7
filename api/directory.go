package api

import (
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
)

// User is a person. The identity is Issuer and Subject; Login is the Unix
// name, derived by a separate strict rule and unchangeable once given.
type User struct {
	ID        string    `json:"id"`
	Name      string    `json:"name" doc:"name to sign in with, unique in the team"`
	FullName  string    `json:"full_name,omitempty"`
	Email     string    `json:"email,omitempty"`
	Login     string    `json:"login" doc:"Unix login"`
	UID       int       `json:"uid" doc:"Unix uid, given by the control plane, never reused"`
	Status    string    `json:"status" enum:"active,disabled,deleted"`
	Admin     bool      `json:"admin" doc:"team administrator"`
	CreatedAt time.Time `json:"created_at"`
	// Issuer and Subject are empty for local accounts.
	Issuer  string `json:"issuer,omitempty" doc:"of the identity provider at which he signs in, or service for a program"`
	Subject string `json:"subject,omitempty" doc:"who he is there"`
	// KeptBy is what says of him that he may enter: administrators, who signs in there, or SCIM.
	KeptBy     string `json:"kept_by,omitempty" enum:"hand,provider,scim"`
	Keeper     string `json:"keeper,omitempty" doc:"id of that identity provider or SCIM client"`
	KeeperName string `json:"keeper_name,omitempty"`
	// DisabledBy is the administrator or the SCIM client who disabled or deleted him.
	DisabledBy     string    `json:"disabled_by,omitempty" doc:"id; empty where nobody knows"`
	DisabledByName string    `json:"disabled_by_name,omitempty"`
	DisabledAt     time.Time `json:"disabled_at,omitzero"`
	SignedInAt     time.Time `json:"signed_in_at,omitzero" doc:"when a device of his was signed in last"`
}

// What keeps a user.
const (
	KeptByHand     = "hand"
	KeptByProvider = "provider"
	KeptByScim     = "scim"
)

// NewUser asks for a user: POST /v1/users. An empty Login is Name if that is a
// valid login, else an error. With an empty Password one is made and told once.
type NewUser struct {
	Name     string `json:"name"`
	FullName string `json:"full_name,omitempty"`
	Email    string `json:"email,omitempty"`
	Login    string `json:"login,omitempty"`
	Admin    bool   `json:"admin,omitempty"`
	Password string `json:"password,omitempty"`
	// Provider and Subject make a user who signs in there, and has no password here.
	Provider string `json:"provider,omitempty" doc:"id or name of the identity provider at which he signs in"`
	Subject  string `json:"subject,omitempty" doc:"who he is there (the claim sub)"`
}

// CreatedUser is the answer of POST /v1/users and of a password reset.
type CreatedUser struct {
	User
	// Password is set once, only when the control plane made it.
	Password string `json:"password,omitempty"`
}

// UserPatch changes a user: PATCH /v1/users/{user}. Nil leaves a field alone.
type UserPatch struct {
	FullName *string `json:"full_name,omitempty"`
	Email    *string `json:"email,omitempty"`
	Status   *string `json:"status,omitempty" enum:"active,disabled"`
	Admin    *bool   `json:"admin,omitempty"`
	// Password sets a new one; the empty string has one made and told once.
	Password *string `json:"password,omitempty"`
}

// Group is a set of users.
type Group struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	GID       int       `json:"gid" doc:"Unix gid, given by the control plane, never reused"`
	CreatedAt time.Time `json:"created_at"`
	// Provider keeps the members, who then are not put and removed by hand.
	Provider string `json:"provider,omitempty" doc:"id of the identity provider that keeps the members"`
	External string `json:"external,omitempty" doc:"what the provider calls the group"`
}

// NewGroup asks for a group: POST /v1/groups.
type NewGroup struct {
	Name     string `json:"name"`
	Provider string `json:"provider,omitempty" doc:"id or name of the identity provider that is to keep the members"`
	External string `json:"external,omitempty" doc:"what the provider calls the group (default its name)"`
}

// Member is one user's membership in a group.
type Member struct {
	Group    string `json:"group"`
	User     string `json:"user"`
	UserName string `json:"user_name"`
	// Until ends the membership; zero means no end.
	Until time.Time `json:"until,omitzero"`
}

// NewMember puts a user into a group: PUT /v1/groups/{group}/members/{user}.
type NewMember struct {
	Until time.Time `json:"until,omitzero"`
}

// Project is the scope of a CA, of accounts and of rules.
type Project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	ProjectSettings
	// UserCA is the project's user CA in authorized_keys form.
	UserCA    string    `json:"user_ca"`
	CreatedAt time.Time `json:"created_at"`
	// BreakGlass is the one that is in force; lists of projects do not have it.
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`
}

// ProjectSettings are what an administrator may set on a project.
type ProjectSettings struct {
	// CertificateSeconds is the life of a user certificate; 60 to 600, 180 by default.
	CertificateSeconds int `json:"certificate_seconds" minimum:"60" maximum:"600" default:"180"`
	// Gateway says whether connections go through one.
	Gateway string `json:"gateway" enum:"none,allowed,required" default:"allowed"`
	// GatewaySelector picks the gateways, for example "region=eu"; empty is all.
	GatewaySelector string `json:"gateway_selector,omitempty"`
	// Forwarding permissions of certificates.
	PortForwarding  bool `json:"port_forwarding"`
	AgentForwarding bool `json:"agent_forwarding"`
	AccountSettings
	RecordSettings
	DeviceSettings
	// NameSuffixes are the domains in which names of its servers may be, for example
	// prod.example.com; a name with a dot in no such domain is refused.
	NameSuffixes []string `json:"name_suffixes,omitempty" doc:"domains, at most 16"`
	// ReauthSeconds is how long it counts that a person showed who he is; 0 is for as long
	// as his session.
	ReauthSeconds int `json:"reauth_seconds,omitempty" minimum:"0" maximum:"90000" doc:"60 to 90000, or 0 for never asking again"`
}

// NewProject asks for a project: POST /v1/projects. Its user CA is made with it.
type NewProject struct {
	Name string `json:"name"`
	ProjectSettings
}

// ProjectPatch changes a project: PATCH /v1/projects/{project}.
type ProjectPatch struct {
	CertificateSeconds *int    `json:"certificate_seconds,omitempty" minimum:"60" maximum:"600"`
	Gateway            *string `json:"gateway,omitempty" enum:"none,allowed,required"`
	GatewaySelector    *string `json:"gateway_selector,omitempty"`
	PortForwarding     *bool   `json:"port_forwarding,omitempty"`
	AgentForwarding    *bool   `json:"agent_forwarding,omitempty"`
	AccountPatch
	RecordPatch
	// NameSuffixes stand in place of those that it has. Servers keep their names.
	NameSuffixes  *[]string `json:"name_suffixes,omitempty" doc:"domains, at most 16"`
	ReauthSeconds *int      `json:"reauth_seconds,omitempty" minimum:"0" maximum:"90000"`
	DevicePatch
}

// Grant gives a group access to a project's servers.
type Grant struct {
	ID        string    `json:"id"`
	Project   string    `json:"project"`
	Group     string    `json:"group"`
	GroupName string    `json:"group_name"`
	Role      string    `json:"role" enum:"user,admin" doc:"admin may use sudo"`
	Selector  string    `json:"selector,omitempty" doc:"label selector of servers; empty is all"`
	Until     time.Time `json:"until,omitzero"`
	// Sudo are names of entitlements. A name never changes and is free only when no
	// grant has it, so it is as good as an id.
	Sudo      []string  `json:"sudo,omitempty" doc:"names of entitlements: what its members may run by sudo"`
	CreatedAt time.Time `json:"created_at"`
}

// NewGrant asks for a grant: POST /v1/projects/{project}/grants.
type NewGrant struct {
	Group    string    `json:"group"`
	Role     string    `json:"role" enum:"user,admin" default:"user"`
	Selector string    `json:"selector,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Sudo     []string  `json:"sudo,omitempty" doc:"names or ids of entitlements, at most 8; not with the role admin, who may run everything"`
}

// GrantPatch changes a grant: PATCH /v1/projects/{project}/grants/{grant}.
type GrantPatch struct {
	// Sudo stands in place of all that the grant has.
	Sudo *[]string `json:"sudo,omitempty" doc:"names or ids of entitlements, in place of all that it has; at most 8"`
}

// Entitlement is a named list of commands that grants let people run by sudo.
type Entitlement struct {
	ID          string                `json:"id"`
	Name        string                `json:"name" doc:"unique in the team, for ever"`
	Description string                `json:"description,omitempty"`
	Commands    []entitlement.Command `json:"commands"`
	CreatedAt   time.Time             `json:"created_at"`
}

// NewEntitlement asks for one: POST /v1/entitlements.
type NewEntitlement struct {
	Name        string                `json:"name"`
	Description string                `json:"description,omitempty"`
	Commands    []entitlement.Command `json:"commands" doc:"1 to 128"`
}

// EntitlementPatch changes one: PATCH /v1/entitlements/{entitlement}. Nil leaves a field alone.
type EntitlementPatch struct {
	Description *string                `json:"description,omitempty"`
	Commands    *[]entitlement.Command `json:"commands,omitempty" doc:"in place of all that it has"`
}
