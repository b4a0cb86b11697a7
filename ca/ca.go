// Package ca keeps the private keys of the control plane and signs with them: the SSH
// certificate authorities, the keys behind desired state and tickets, and two symmetric
// secrets.
//
// At rest a key is sealed (Seal, Open): encrypted under a data key that a
// gocloud.dev/secrets keeper wraps, and bound to its id, scope and purpose, so that a row
// copied over another one does not open. In memory keys live in a Keyring and never leave
// it: what it hands out can sign, and prints as nothing.
//
// An SSH certificate is issued in two steps, after boulder's issuance cycle. Prepare lints
// it and gives a Permission; the caller writes his record of it durably; Issue signs once,
// verifies what it signed, and the permission is used up. So there is no signature without
// a record, and no second signature for one record.
package ca

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/ssh"
)

// Purpose says what a key is for. A key is used for nothing else.
type Purpose string

// The purposes. The first five are Ed25519 pairs, the last two 32 random bytes.
const (
	UserCA    Purpose = "user-ca"    // of a project: certificates of users
	HostCA    Purpose = "host-ca"    // of the team: certificates of servers
	GatewayCA Purpose = "gateway-ca" // of the team: certificates between users and recording gateways
	Policy    Purpose = "policy"     // of the team: signs desired state for server agents
	Ticket    Purpose = "ticket"     // of the team: signs tickets for gateways
	Nonce     Purpose = "nonce"      // of the team: authenticates DPoP nonces
	Cookie    Purpose = "cookie"     // of the team: authenticates browser cookies
)

// Team is the scope of keys that belong to no project.
const Team = "team"

// secretSize is the length of every private part: an Ed25519 seed (RFC 8032), or a key for
// HMAC-SHA-256.
const secretSize = 32

func (p Purpose) known() bool     { return p.asymmetric() || p == Nonce || p == Cookie }
func (p Purpose) authority() bool { return p == UserCA || p == HostCA || p == GatewayCA }
func (p Purpose) asymmetric() bool {
	return p.authority() || p == Policy || p == Ticket
}

// Ref names a key; all three parts are authenticated with it.
type Ref struct {
	ID      string
	Scope   string // id of a project, or Team
	Purpose Purpose
}

func (r Ref) check() error {
	if r.ID == "" || r.Scope == "" || !r.Purpose.known() {
		return fmt.Errorf("key %q of scope %q has no id, no scope or the unknown purpose %q", r.ID, r.Scope, r.Purpose)
	}
	return nil
}

// Record is a key as it is stored: nothing in it is secret without the keeper.
type Record struct {
	Ref
	// Public is an authorized_keys line for an SSH authority, the 32 raw bytes for other
	// Ed25519 keys, and empty for a symmetric secret.
	Public []byte
	// Fingerprint is SHA256:…, different for every key there is.
	Fingerprint string
	Sealed      []byte
}

// Secret holds private bytes. Whatever prints it, or a structure around it, prints nothing
// of them: they are behind a function, because package fmt cannot call the methods of an
// unexported field and follows even pointers where the verb does not fit.
type Secret struct{ bytes func() *[secretSize]byte }

func (Secret) String() string               { return "[secret]" }
func (Secret) GoString() string             { return "[secret]" }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[secret]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Format covers every verb, also those that String and GoString do not.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// Reveal returns a copy of the bytes, nil for the zero Secret. A Keyring gives out
// symmetric keys alone, so nothing else is ever revealed.
func (s Secret) Reveal() []byte {
	if s.bytes == nil {
		return nil
	}
	return append([]byte(nil), s.bytes()[:]...)
}

// newSecret copies b; nothing of b is in its error.
func newSecret(b []byte) (Secret, error) {
	if len(b) != secretSize {
		return Secret{}, fmt.Errorf("private key has %d bytes, want %d", len(b), secretSize)
	}
	own := [secretSize]byte(b)
	return Secret{func() *[secretSize]byte { return &own }}, nil
}

// generate makes the private part of a new key of any purpose.
func generate() Secret {
	var b [secretSize]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return Secret{func() *[secretSize]byte { return &b }}
}

func (s Secret) ed25519() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(s.bytes()[:]) }

// public derives what may be known of a key of this purpose.
func (s Secret) public(p Purpose) (public []byte, fingerprint string, err error) {
	if !p.asymmetric() {
		mac := hmac.New(sha256.New, s.bytes()[:])
		mac.Write([]byte("cardea fingerprint of a symmetric key"))
		return nil, "SHA256:" + base64.RawStdEncoding.EncodeToString(mac.Sum(nil)), nil
	}
	raw := s.ed25519().Public().(ed25519.PublicKey)
	key, err := ssh.NewPublicKey(raw)
	if err != nil {
		return nil, "", err
	}
	if p.authority() {
		return ssh.MarshalAuthorizedKey(key), ssh.FingerprintSHA256(key), nil
	}
	return raw, ssh.FingerprintSHA256(key), nil
}
