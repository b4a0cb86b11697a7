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
