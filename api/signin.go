package api

import "time"

// Team is what anybody may know about a deployment: GET /v1/team.
type Team struct {
	Name string `json:"name"`
	// URL is the configured public URL; proofs are made for it.
	URL     string `json:"url"`
	Version string `json:"version"`
}

// The browser part of signing in follows RFC 6749, 7636, 8252 and 9449:
//
//	GET  /oauth/authorize?response_type=code&client_id=cardea&redirect_uri=http://127.0.0.1:PORT/callback
//	     &state=…&code_challenge=…&code_challenge_method=S256&dpop_jkt=…&device_name=…
//	POST /oauth/token  grant_type=authorization_code&code=…&code_verifier=…&redirect_uri=…&client_id=cardea
//	     with a proof whose key is the one that dpop_jkt named.

// Token is the answer of POST /oauth/token, and the "token" part of an
// enrolment. Errors of /oauth/token are OAuthError.
type Token struct {
	AccessToken string `json:"access_token"`
	// TokenType is always DPoP (RFC 9449 section 5).
	TokenType string `json:"token_type"`
	// ExpiresIn is in seconds.
	ExpiresIn int `json:"expires_in"`
}

// SignedIn is the answer of POST /oauth/token: the token and whose it is.
type SignedIn struct {
	Token
	Session Session `json:"session"`
}

// OAuthError is the error shape of RFC 6749 section 5.2.
type OAuthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	// Reason is the Kind of an Error, where OAuth has one word for several: a program that
	// has to come with another token is not one that nobody lets in. The description ends
	// with what to do then, behind a semicolon.
	Reason Kind `json:"cardea_kind,omitempty"`
}

// SessionDashboard is the Kind of a Session in a browser.
const SessionDashboard = "dashboard"

// Session describes one signed-in device: GET /v1/session for the caller's own.
type Session struct {
	ID        string `json:"id"`
	Kind      string `json:"kind,omitempty" doc:"dashboard for one in a browser, which has no device; empty for a device's"`
	User      string `json:"user" doc:"id of the user"`
	UserName  string `json:"user_name"`
	Login     string `json:"login" doc:"the user's Unix login"`
	Admin     bool   `json:"admin" doc:"team administrator"`
	Device    string `json:"device" doc:"id of the device"`
	DeviceTag string `json:"device_name"`
	// DeviceState is left out by older control planes.
	DeviceState string    `json:"device_state,omitempty" doc:"pending, active or revoked"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	SeenAt      time.Time `json:"seen_at,omitzero" doc:"last use by a person, to some minutes"`
}

// Device is a laptop or other machine whose key signs requests.
type Device struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`
	Name       string    `json:"name"`
	Thumbprint string    `json:"thumbprint" doc:"RFC 7638, SHA-256, base64url"`
	State      string    `json:"state" enum:"pending,active,revoked"`
	CreatedAt  time.Time `json:"created_at"`
	ApprovedAt time.Time `json:"approved_at,omitzero" doc:"when an administrator, or the token of a fleet, approved it"`
	// Report is what it said of itself when it last signed in; nil if it said nothing.
	Report     *DeviceReport `json:"report,omitempty" doc:"the device's own word"`
	ReportedAt time.Time     `json:"reported_at,omitzero"`
}
