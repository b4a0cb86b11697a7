package store

import (
	"context"
	"time"
)

// Rules by which a new user's Unix login comes out of a claim.
const (
	// LoginWhole takes the claim as it is.
	LoginWhole = "whole"
	// LoginLocalPart takes what stands before the @, of addresses in the provider's
	// Domains alone.
	LoginLocalPart = "local-part"
)

// Provider is an identity provider at which people sign in (OpenID Connect).
type Provider struct {
	ID       string
	Name     string // unique; part of the address to which it sends browsers back
	Title    string // what people read on the page
	Issuer   string // unique: with the subject it is who somebody is
	ClientID string
	Secret   []byte // sealed for ID; empty if the provider gave none
	Scopes   []string
	// LoginClaim and LoginRule give the Unix login of a new user.
	LoginClaim, LoginRule string
	Domains               []string // of addresses that LoginLocalPart takes
	// GroupsClaim lists the groups of a person; empty: it says nothing of groups.
	GroupsClaim string
	// Require are claims that everybody must have, each with this value.
	Require map[string]string
	// Create makes a user of whoever the provider sends and nobody knows.
	Create    bool
	State     string // Active, Disabled
	CreatedAt time.Time
}

// ProviderChange changes what is not nil.
type ProviderChange struct {
	Title, ClientID       *string
	Secret                *[]byte
	Scopes                *[]string
	LoginClaim, LoginRule *string
	Domains               *[]string
	GroupsClaim           *string
	Require               *map[string]string
	Create                *bool
	State                 *string
}

// GroupChange changes what is not nil.
type GroupChange struct {
	// Source is the provider that keeps the members from now on, or "" for hands.
	Source *string
	// External is what the provider calls the group.
	External *string
}

// Federation is one run of a browser through a provider.
type Federation struct {
	StateHash   []byte // SHA-256 of the state (RFC 6749 section 10.12)
	Provider    string
	Request     string // id of the AuthRequest
	BrowserHash []byte // of the browser that began both
	// Reauth: the provider was told to ask the person anew.
	Reauth    bool
	ExpiresAt time.Time
	CreatedAt time.Time
}

// Federated is what a provider said of the person who came back from it.
type Federated struct {
	StateHash, BrowserHash []byte
	// User has issuer and subject, and the id of the user with that identity. If there
	// is none it is who is to be made, under a new id.
	User User
	// Create allows that.
	Create bool
	// Link is why User, whom a SCIM client made and who has not signed in yet, is this
	// person; nil for all others.
	Link *ScimLink
	// Said is what it says of him in the claims, but sub, by which its SCIM clients link.
	Said map[string]string
	// FullName and Email are what the provider calls the user now; nil is unknown.
	FullName, Email *string
	// Groups are all that it counts the user to; nil if it says nothing of groups.
	Groups *[]string
	// Session is the page's; its User and Provider are filled in.
	Session BrowserSession
	// Source is the browser's address, for the audit rows that the store adds.
	Source string
}

// ScimLink ties a user whom a client made to who signs in: the client's provider says
// ExternalID of that person.
type ScimLink struct{ Client, ExternalID string }

// Providers keeps identity providers, and runs of sign-ins through them.
type Providers interface {
	// CreateProvider: ErrExists for a taken name or issuer.
	CreateProvider(ctx context.Context, p Provider, m Meta) (Provider, error)
	Provider(ctx context.Context, id string) (Provider, error)
	ProviderByName(ctx context.Context, name string) (Provider, error)
	Providers(ctx context.Context, p Page) ([]Provider, string, error)
	// UpdateProvider: disabling one ends its browser sessions. Sessions of devices stay.
	UpdateProvider(ctx context.Context, id string, c ProviderChange, m Meta) (Provider, error)
	// DeleteProvider removes one, with the runs that began and its browser sessions; its
	// users stay, and cannot sign in. ErrInUse while it keeps the members of a group.
	DeleteProvider(ctx context.Context, id string, m Meta) error
	// UpdateGroup: a group that a provider keeps loses at once the members who are not
	// of its issuer; who is stays until his next sign-in there says otherwise. A group
	// that is kept by hand again keeps its members. ErrNotFound for an unknown group or
	// provider, ErrExists if the provider has another group of this External.
	UpdateGroup(ctx context.Context, id string, c GroupChange, m Meta) (Group, error)

	// Identity is the user of this issuer and subject, whatever his status.
	Identity(ctx context.Context, issuer, subject string) (User, error)
	// CreateFederation: ErrDenied unless the provider is active and the request is open
	// and of this browser.
	CreateFederation(ctx context.Context, f Federation, m Meta) error
	// TakeFederation uses the state up, once: before anything is asked of the provider.
	// ErrNotFound for an unknown one, ErrDenied in another browser, ErrUsed for one
	// that was taken or is over.
	TakeFederation(ctx context.Context, stateHash, browserHash []byte, m Meta) (Federation, error)
	// FinishFederation ends one that was taken, in one command: it finds the user of this
	// identity or makes him, refreshes what is known of him, puts him into the groups
	// that this provider keeps and takes him out of them, and signs the browser in.
	// It adds audit rows for a new user and for each group.
	//
	// With a Link it gives the user the identity, with an audit row: ErrDenied unless he is
	// still the only one with this external id, and has no identity yet.
	//
	// ErrUsed for one that was not taken, is finished or is over, or whose request is not
	// open any more; ErrDenied if the provider or the user is not active; ErrNotFound
	// where nobody has the identity and Create does not allow a new one; ErrExists if
	// the identity has another id, or the login or name of a new user is taken, also by
	// a group.
	FinishFederation(ctx context.Context, v Federated, m Meta) (User, error)
}
