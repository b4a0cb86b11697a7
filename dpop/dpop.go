// Package dpop makes and checks proofs of possession for HTTP requests, as
// RFC 9449 (OAuth 2.0 Demonstrating Proof of Possession) defines them.
//
// Every client of the control plane (device, server agent, gateway) holds a
// P-256 key that never leaves it, and signs a short JWT for each request. A
// token stolen from a disk, a log or a proxy is worthless without that key.
//
// The server's nonce, not the client's clock, says that a proof is fresh: see
// [Expect].
package dpop

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Names of the HTTP fields and the authentication scheme (RFC 9449, sections
// 4.1, 7.1 and 8).
const (
	Header      = "DPoP"
	NonceHeader = "DPoP-Nonce"
	Scheme      = "DPoP"
)

// Limits on what a stranger may send.
const (
	// MaxProof is the longest proof, in bytes, that is looked at. A proof of
	// ours is about 600 bytes; 8 KiB is what common servers take for one field.
	MaxProof = 8 << 10
	// MaxJTI bounds the identifier, because callers store it.
	MaxJTI = 128
	// Skew is how far iat may be from the server's clock, either way, where no
	// nonce is demanded.
	Skew = 60 * time.Second
)

// jtiSize is 160 bits: above the 96 that RFC 9449 section 4.2 asks for.
const jtiSize = 20

var (
	// ErrUseNonce means that the proof is right in all but its nonce, which is
	// missing or too old: answer 401 with a new one (RFC 9449, section 8).
	ErrUseNonce = errors.New("proof of possession needs a fresh nonce")
	// ErrInvalid means that the proof is refused; the text says why.
	ErrInvalid = errors.New("invalid proof of possession")
)

// claims is the payload of a proof. Pointers tell absent from empty.
type claims struct {
	JTI   string  `json:"jti"`
	HTM   string  `json:"htm"`
	HTU   string  `json:"htu"`
	IAT   any     `json:"iat"`
	ATH   *string `json:"ath,omitempty"`
	Nonce *string `json:"nonce,omitempty"`
}

// TokenHash returns the ath claim of an access token.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Token returns the access token of a request: exactly one Authorization field
// with the DPoP scheme. A token bound to a key is never taken as a Bearer
// token, since that would let a thief leave the proof out.
func Token(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", invalid("want one Authorization field, got %d", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, Scheme) {
		return "", invalid("authorization scheme is not %s", Scheme)
	}
	if token == "" || strings.ContainsAny(token, " ,\t") {
		return "", invalid("malformed access token")
	}
	return token, nil
}

func newJTI() string {
	b := make([]byte, jtiSize)
	rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
