package api

import "time"

// ScimPath is where identity providers' connectors send what they say of users and groups,
// below the public URL.
const ScimPath = "/scim/v2"

// ScimClient is a connector of an identity provider that keeps users and groups here by SCIM.
type ScimClient struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	URL       string    `json:"url" doc:"what the connector is given as the address"`
	Provider  string    `json:"provider,omitempty" doc:"id of the identity provider at which its users sign in"`
	LinkClaim string    `json:"link_claim,omitempty" doc:"claim of that provider that is the externalId of a user"`
	State     string    `json:"state" enum:"active,paused,disabled"`
	Why       string    `json:"why,omitempty" doc:"why it is paused"`
	PausedTo  time.Time `json:"paused_until,omitzero"`
	Users     int       `json:"users"`
	Groups    int       `json:"groups"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
}

// NewScimClient asks for one: POST /v1/scim-clients.
type NewScimClient struct {
	Name string `json:"name"`
	// Provider and LinkClaim tie its users to the people who sign in there.
	Provider  string `json:"provider,omitempty" doc:"id or name of the identity provider at which its users sign in"`
	LinkClaim string `json:"link_claim,omitempty" doc:"claim of that provider that is the externalId of a user (default sub)"`
}

// ScimToken is a client with a token that is told this once.
type ScimToken struct {
	ScimClient
	Token string `json:"token"`
	// OldUntil is how long the token before is good.
	OldUntil time.Time `json:"old_until,omitzero"`
}

// ScimClientPatch changes one: PATCH /v1/scim-clients/{client}.
type ScimClientPatch struct {
	State *string `json:"state,omitempty" enum:"active,disabled"`
}

// ScimWaiting is somebody whom a SCIM client wanted to make and could not, because a user is
// in the way who was there before.
type ScimWaiting struct {
	UserName   string          `json:"user_name" doc:"what the client calls him"`
	ExternalID string          `json:"external_id,omitempty"`
	Login      string          `json:"login" doc:"Unix login that the name stands for"`
	FullName   string          `json:"full_name,omitempty"`
	Email      string          `json:"email,omitempty"`
	Active     bool            `json:"active" doc:"as the client says"`
	Since      time.Time       `json:"since"`
	TriedAt    time.Time       `json:"tried_at" doc:"when the client tried last"`
	Candidates []ScimCandidate `json:"candidates" doc:"users who may be meant"`
}

// ScimCandidate is a user who may be meant by one who waits.
type ScimCandidate struct {
	User     string `json:"user"`
	Name     string `json:"name"`
	Login    string `json:"login"`
	FullName string `json:"full_name,omitempty"`
	Email    string `json:"email,omitempty"`
	Status   string `json:"status" enum:"active,disabled"`
	// Standing is whether the client may keep him: by itself, by the word of an
	// administrator, or not at all.
	Standing string   `json:"standing" enum:"certain,confirm,never"`
	Why      string   `json:"why" doc:"what he is"`
	Same     []string `json:"same" enum:"identity,login,email" doc:"what the two have in common; an address proves nothing"`
}

// Standings of a ScimCandidate.
const (
	StandingCertain = "certain"
	StandingConfirm = "confirm"
	StandingNever   = "never"
)

// ScimAdopt has a client keep a user who was there before it: POST /v1/scim-clients/{client}/adopt.
type ScimAdopt struct {
	UserName string `json:"user_name" doc:"of one who waits"`
	User     string `json:"user" doc:"id or name of the user who he is"`
	DryRun   bool   `json:"dry_run,omitempty" doc:"tell what would happen, and do nothing"`
}

// ScimAdoption is what that did, or would do.
type ScimAdoption struct {
	UserName string `json:"user_name"`
	User     string `json:"user"`
	Name     string `json:"name"`
	Login    string `json:"login"`
	Done     bool   `json:"done"`
	Text     string `json:"text" doc:"what follows from it"`
}

// ScimRelease takes a user from a client: POST /v1/scim-clients/{client}/release.
type ScimRelease struct {
	User string `json:"user" doc:"id or name"`
}
