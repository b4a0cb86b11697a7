package ca

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
)

// Signer signs desired state or tickets with Ed25519. It is a crypto.Signer. Whoever calls
// it puts a domain before the message: the key does not know what it signs.
type Signer struct {
	ref     Ref
	public  ed25519.PublicKey
	private func() ed25519.PrivateKey // a function, because package fmt prints what a field holds
}

func newSigner(ref Ref, secret Secret) *Signer {
	private := secret.ed25519()
	return &Signer{ref: ref, public: private.Public().(ed25519.PublicKey), private: func() ed25519.PrivateKey { return private }}
}

// ID is the id of the key.
func (s *Signer) ID() string { return s.ref.ID }

// Public returns an ed25519.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign signs message itself (RFC 8032, not a hash of it: opts must say crypto.Hash(0)) and
// verifies the signature. The reader is not used.
func (s *Signer) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts != nil && opts.HashFunc() != 0 {
		return nil, errors.New("sign: this key signs messages, not hashes")
	}
	sig := ed25519.Sign(s.private(), message)
	if !ed25519.Verify(s.public, message, sig) {
		return nil, fmt.Errorf("sign: key %s made a signature that does not verify", s.ref.ID)
	}
	return sig, nil
}
