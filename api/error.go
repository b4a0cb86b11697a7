package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kind is the stable, machine readable reason of an Error.
type Kind string

// The kinds. A client branches on these alone, never on the sentences.
const (
	// Invalid: the request is malformed or breaks a rule. 422.
	Invalid Kind = "invalid"
	// SignIn: there is no session, or it is over. 401. The cure is `cardea login`.
	SignIn Kind = "sign-in-needed"
	// UseNonce: the proof must be made again with the nonce of the answer. 401.
	UseNonce Kind = "use-dpop-nonce"
	// Denied: who you are is known, and the answer is no. 403.
	Denied Kind = "denied"
	// NotFound: nothing by that name that this caller may see. 404.
	NotFound Kind = "not-found"
	// Ambiguous: a name means more than one thing; the detail lists them. 409.
	Ambiguous Kind = "ambiguous"
	// Conflict: the thing exists, or changed meanwhile. 409.
	Conflict Kind = "conflict"
	// Gone: a one-time value was used or is over. 410.
	Gone Kind = "gone"
	// Limited: too many tries; RetryAfter says when. 429.
	Limited Kind = "rate-limited"
	// Unavailable: the control plane or a part of it cannot answer now. 503.
	Unavailable Kind = "unavailable"
	// NoGateway: no gateway may carry this connection now. 503.
	NoGateway Kind = "no-gateway"
	// Foreign: what answered is no control plane of Cardea, or says what none says.
	// A client finds it out by itself; it never crosses the wire.
	Foreign Kind = "foreign"
	// Internal: a fault of ours; the id finds it in the log. 500.
	Internal Kind = "internal"
)

// Status is the HTTP status that carries the kind.
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return http.StatusUnprocessableEntity
	case SignIn, UseNonce:
		return http.StatusUnauthorized
	case Denied:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case Ambiguous, Conflict:
		return http.StatusConflict
	case Gone:
		return http.StatusGone
	case Limited:
		return http.StatusTooManyRequests
	case Unavailable, NoGateway:
		return http.StatusServiceUnavailable
	case Foreign:
		return http.StatusBadGateway
	default:
		return http.StatusInternalServerError
	}
}

// Error is what a peer may read: problem details (RFC 9457, media type
// application/problem+json). Detail is a safe sentence, Hint the command or
// step that would help. The cause stays in the log of the side that failed,
// under ID.
type Error struct {
	Kind       Kind   `json:"kind" doc:"stable reason"`
	Type       string `json:"type,omitempty" doc:"urn:cardea:error:KIND"`
	Title      string `json:"title,omitempty"`
	StatusCode int    `json:"status"`
	Detail     string `json:"detail" doc:"one sentence, safe to show"`
	Hint       string `json:"hint,omitempty" doc:"what to type or do next"`
	ID         string `json:"id,omitempty" doc:"finds the cause in the server's log"`
	// Reauth is the name of the project for which the person has to show again who he is;
	// the kind is SignIn then.
	Reauth string `json:"reauth,omitempty" doc:"name of the project for which the person has to show again who he is"`
	// RetryAfter is set for Limited and Unavailable; seconds on the wire.
	RetryAfter int `json:"retry_after,omitempty" doc:"seconds"`
	// OAuth is the code of an answer of the token endpoint (RFC 6749 section 5.2), which
	// has another shape.
	OAuth string `json:"-"`

	cause error
}

// Errorf makes an Error of a kind with a sentence that the peer may read.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{
		Kind: kind, Type: "urn:cardea:error:" + string(kind), Title: http.StatusText(kind.Status()),
		StatusCode: kind.Status(), Detail: fmt.Sprintf(format, args...),
	}
}

// WithHint returns a copy of e that tells what to type next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy of e that carries the cause for the log. It never
// crosses the wire.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// WithRetry returns a copy of e that says when to come again.
func (e *Error) WithRetry(after time.Duration) *Error {
	c := *e
	c.RetryAfter = int(after.Round(time.Second) / time.Second)
	return &c
}

// Error is the sentence, and what to do next if that is known.
func (e *Error) Error() string {
	if e.Hint != "" {
		return e.Detail + "; " + e.Hint
	}
	return e.Detail
}

// Unwrap gives the cause on the side that failed, nil on the other.
func (e *Error) Unwrap() error { return e.cause }

// GetStatus lets the HTTP framework pick the status.
func (e *Error) GetStatus() int { return e.StatusCode }

// ContentType of an Error is that of problem details, whatever was asked for.
func (e *Error) ContentType(string) string { return "application/problem+json" }

// KindOf returns the kind of the first Error in err's chain, Internal for any
// other error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
