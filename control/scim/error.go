package scim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Error is an error as the protocol has it (RFC 7644 section 3.12).
type Error struct {
	Status int
	Type   string // of table 9 there; empty for none
	Detail string
	// RetryAfter is in seconds; 0 for none.
	RetryAfter int
}

// The types of table 9 that are used.
const (
	InvalidFilter = "invalidFilter"
	InvalidPath   = "invalidPath"
	InvalidSyntax = "invalidSyntax"
	InvalidValue  = "invalidValue"
	InvalidVers   = "invalidVers"
	Mutability    = "mutability"
	NoTarget      = "noTarget"
	TooMany       = "tooMany"
	Uniqueness    = "uniqueness"
)

func (e *Error) Error() string { return e.Detail }

// MarshalJSON writes the status as text, as the RFC does.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Schemas []string `json:"schemas"`
		Status  string   `json:"status"`
		Type    string   `json:"scimType,omitempty"`
		Detail  string   `json:"detail,omitempty"`
	}{[]string{ErrorURN}, strconv.Itoa(e.Status), e.Type, e.Detail})
}

// bad is an error of whoever sent the request.
func bad(typ, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: typ, Detail: fmt.Sprintf(format, args...)}
}
