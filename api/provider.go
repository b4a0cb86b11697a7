package api

import "time"

// CallbackPath and the name of a provider are where it sends browsers back to, below the
// public URL: its redirect URI.
const CallbackPath = "/oauth/callback/"

// Provider is an identity provider at which people sign in (OpenID Connect).
type Provider struct {
	ID     string `json:"id"`
	Name   string `json:"name" doc:"unique; part of the redirect URI, so it never changes"`
	Issuer string `json:"issuer" doc:"with the subject it is who somebody is, so it never changes"`
	ProviderSettings
	HasSecret   bool      `json:"has_secret"`
	RedirectURI string    `json:"redirect_uri" doc:"to be registered at the provider"`
	State       string    `json:"state" enum:"active,disabled"`
	CreatedAt   time.Time `json:"created_at"`
}

// ProviderSettings are what an administrator may change.
type ProviderSettings struct {
	Title    string `json:"title,omitempty" doc:"what people read on the button (default the name)"`
	ClientID string `json:"client_id"`
	// Scopes are asked for; openid always is.
	Scopes     []string `json:"scopes,omitempty" doc:"default openid profile email"`
	LoginClaim string   `json:"login_claim,omitempty" default:"preferred_username" doc:"claim of which a new user's Unix login is made"`
	LoginRule  string   `json:"login_rule,omitempty" enum:"whole,local-part" default:"whole"`
	Domains    []string `json:"domains,omitempty" doc:"for local-part: the domains of addresses that may have accounts"`
	// GroupsClaim lists a person's groups; without one the provider keeps no groups.
	GroupsClaim string            `json:"groups_claim,omitempty"`
	Require     map[string]string `json:"require,omitempty" doc:"claims that everybody must have, each with its value"`
	// Create makes a user of whoever the provider sends and nobody knows.
	Create bool `json:"create" required:"false" doc:"make users of people who sign in for the first time"`
}

// NewProvider asks for one: POST /v1/providers.
type NewProvider struct {
	Name         string `json:"name"`
	Issuer       string `json:"issuer"`
	ClientSecret string `json:"client_secret,omitempty" doc:"kept encrypted, and never shown"`
	ProviderSettings
}

// ProviderPatch changes one: PATCH /v1/providers/{provider}. Nil leaves a field alone.
type ProviderPatch struct {
	Title        *string            `json:"title,omitempty"`
	ClientID     *string            `json:"client_id,omitempty"`
	ClientSecret *string            `json:"client_secret,omitempty"`
	Scopes       *[]string          `json:"scopes,omitempty"`
	LoginClaim   *string            `json:"login_claim,omitempty"`
	LoginRule    *string            `json:"login_rule,omitempty" enum:"whole,local-part"`
	Domains      *[]string          `json:"domains,omitempty"`
	GroupsClaim  *string            `json:"groups_claim,omitempty"`
	Require      *map[string]string `json:"require,omitempty"`
	Create       *bool              `json:"create,omitempty"`
	State        *string            `json:"state,omitempty" enum:"active,disabled"`
}

// ProviderTest is what a provider says of itself right now: POST /v1/providers/{provider}/test.
type ProviderTest struct {
	Provider     string   `json:"provider"`
	Works        bool     `json:"works" doc:"its document and its keys could be read"`
	RedirectURI  string   `json:"redirect_uri"`
	Milliseconds int      `json:"milliseconds"`
	AuthURL      string   `json:"authorization_endpoint,omitempty"`
	TokenURL     string   `json:"token_endpoint,omitempty"`
	Algorithms   []string `json:"algorithms,omitempty"`
	Keys         int      `json:"keys"`
	// Problems keep people from signing in, or will; Notes are good to know.
	Problems []string `json:"problems,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// GroupPatch changes who keeps the members of a group: PATCH /v1/groups/{group}.
type GroupPatch struct {
	// Provider keeps them from now on, by id or name; "" gives them back to
	// administrators.
	Provider *string `json:"provider,omitempty"`
	// External is what the provider calls the group.
	External *string `json:"external,omitempty" doc:"what the provider calls the group (default its name)"`
}
