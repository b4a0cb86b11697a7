package ident

import (
	"encoding/base64"
	"strings"
)

// fingerprintPrefix begins every fingerprint of a key as OpenSSH prints it.
const fingerprintPrefix = "SHA256:"

// IsFingerprint reports whether s is SHA256: and 32 bytes in base64 without
// padding, in the one way to write them.
func IsFingerprint(s string) bool {
	_, ok := Fingerprint(s)
	return ok
}

// Fingerprint returns the 32 bytes of a fingerprint.
func Fingerprint(s string) (sum [32]byte, ok bool) {
	text, ok := strings.CutPrefix(s, fingerprintPrefix)
	if !ok || len(text) != base64.RawStdEncoding.EncodedLen(len(sum)) {
		return sum, false
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(sum) {
		return sum, false
	}
	return [32]byte(raw), true
}
