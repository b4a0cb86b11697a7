// Package login gives this device its identity: the device key, the sign-in
// through a browser, and the session at rest.
//
// Signing in is the authorization code flow for native applications (RFC 6749,
// RFC 8252) with PKCE S256 (RFC 7636), the issuer checked (RFC 9207), and both
// the code and the session bound to the device key (RFC 9449, section 10): a
// session that is copied to another machine is worthless there.
//
// The device key is made in the best place that there is: the TPM (package tpm), the
// Secure Enclave of a Mac (package enclave), the keyring, a file. A device without a
// browser signs in by a code that a person types in another one (RFC 8628).
//
// The session lies in the operating system's keyring, or where there is none
// in a file of mode 0600. What lies on disk is believed only if nobody else
// can have written it, and never followed to another place.
package login

import (
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/api"
)

// ConfigDir is the folder of the user's configuration, device key and session:
// $XDG_CONFIG_HOME/cardea, or below the platform's own place for such files.
func ConfigDir() (string, error) {
	// On every platform: who sets it means it.
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cardea"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", api.Errorf(api.Invalid, "there is no place for the configuration").
			WithHint("set HOME or XDG_CONFIG_HOME to an absolute path").WithCause(err)
	}
	return filepath.Join(dir, "cardea"), nil
}

// needed says that there is no session to use.
func needed(format string, args ...any) *api.Error {
	return api.Errorf(api.SignIn, format, args...).WithHint("type: cardea login")
}
