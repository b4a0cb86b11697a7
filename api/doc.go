// Package api is the wire between Cardea's programs: request and response
// types, error kinds, and the Client that speaks them.
//
// Everything travels as JSON over HTTP under /v1. Names on the wire are for
// ever: fields are added, never renamed, and a removed field stays behind as
// a tombstone comment. Times are RFC 3339 in UTC. Serials are decimal strings
// because JSON numbers lose precision past 2^53. Lists are paged by an opaque
// cursor. Errors are problem details (RFC 9457), see Error.
//
// Every authenticated call carries a token bound to a key and a proof of
// possession (RFC 9449); the token says who, the proof says that the caller
// holds the key right now.
package api

import "time"

// Protocol constants that both ends must agree on.
const (
	// PathPrefix is in front of every call.
	PathPrefix = "/v1"
	// LongPoll is how long the server holds a conditional read open. Clients
	// ask for it in whole seconds with ?wait= and must allow a few seconds more.
	LongPoll = 55 * time.Second
	// MaxBody bounds a request body that the control plane reads, in bytes.
	MaxBody = 256 << 10
	// MaxAnswer bounds an answer that a client reads, in bytes. The largest is
	// the desired state of a server with many thousand users.
	MaxAnswer = 32 << 20
	// PageSize is the default, MaxPageSize the largest number of rows of a list.
	PageSize, MaxPageSize = 100, 1000
	// ClientID is the OAuth client id of the cardea command line.
	ClientID = "cardea"
	// HeaderNonce carries the server's proof nonce (RFC 9449 section 8); every
	// answer of the control plane has one.
	HeaderNonce = "DPoP-Nonce"
	// HeaderProof carries the proof, HeaderIdempotency the key that makes a
	// repeated mutation answer as the first one did.
	HeaderProof, HeaderIdempotency = "DPoP", "Idempotency-Key"
)

// Page is the common part of every list request.
type Page struct {
	Cursor string `query:"cursor" doc:"opaque cursor of the previous answer's next field"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"rows to return; 0 means 100"`
}

// List is one page of rows. Next is empty on the last page.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"cursor of the next page"`
}

// Named is the answer that carries nothing but the id of what was touched.
type Named struct {
	ID string `json:"id"`
}
