package api

import "time"

// ServiceUser is a user who is a program: no browser, no password, never an administrator.
// Groups and grants are as for people, and so are disabling and deleting: /v1/users/{user}.
type ServiceUser struct {
	User
	Keys []ServiceKey `json:"keys" doc:"two at most"`
	// KeySeconds is how old its keys may become until they are called old.
	KeySeconds int `json:"key_seconds,omitempty" doc:"age after which a key is old; none if absent"`
}

// ServiceUserPatch changes one: PATCH /v1/service-users/{user}.
type ServiceUserPatch struct {
	KeySeconds int `json:"key_seconds" doc:"age after which a key is old, an hour to ten years; 0 for never"`
}

// NewServiceUser asks for one: POST /v1/service-users. An empty Login is Name if that is a
// valid login, else an error.
type NewServiceUser struct {
	Name     string `json:"name"`
	FullName string `json:"full_name,omitempty" doc:"what it is for"`
	Login    string `json:"login,omitempty"`
}

// ServiceKey is a key by which a service user signs in.
type ServiceKey struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Thumbprint string    `json:"thumbprint" doc:"RFC 7638, SHA-256, base64url"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	UsedAt     time.Time `json:"used_at,omitzero" doc:"at its last sign-in"`
	Replaces   string    `json:"replaces,omitempty" doc:"id of the key whose place it takes, by whose proof the program itself registered it"`
	Old        bool      `json:"old,omitempty" doc:"older than the keys of its service user should be"`
}

// NextServiceKey registers the key that takes the place of the one with which the caller, a
// service user, has signed in: POST /v1/service-keys/next.
type NextServiceKey struct {
	Thumbprint string `json:"thumbprint" doc:"of a P-256 key: RFC 7638, SHA-256, base64url"`
}

// RetiredServiceKey is the answer of POST /v1/service-keys/retire: the key whose place was
// taken by the one with which the caller has signed in. It is empty if there is none.
type RetiredServiceKey struct {
	ID         string `json:"id,omitempty"`
	Thumbprint string `json:"thumbprint,omitempty"`
}

// NewServiceKey registers one: POST /v1/service-users/{user}/keys. The key itself stays
// where it was made: its thumbprint is enough to know it by.
type NewServiceKey struct {
	Name       string    `json:"name" doc:"where it lies, as people say it"`
	Thumbprint string    `json:"thumbprint" doc:"of a P-256 key: RFC 7638, SHA-256, base64url"`
	ExpiresAt  time.Time `json:"expires_at,omitzero" doc:"default never"`
}

// GrantServiceKey is the grant type of POST /oauth/token by which a service user signs in
// (RFC 6749 section 4.4). The proof of possession is his credential: its key is registered,
// it carries a fresh nonce of ours, and it is good once.
const GrantServiceKey = "client_credentials"
