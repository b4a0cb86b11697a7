package hello

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// A SealingKey is a gateway's private key for opening hellos. It lives in
// memory only: a gateway that starts anew makes a new one, so that what was
// recorded on the network cannot be opened later with a stolen disk.
type SealingKey struct {
	id   KeyID
	priv hpke.PrivateKey
}

// Recipient is a gateway that may open a hello.
type Recipient struct {
	Gateway   string // its id
	PublicKey []byte // its sealing key, 32 bytes of X25519
}

// NewSealingKey makes a key.
func NewSealingKey() (*SealingKey, error) {
	priv, err := kem().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	return &SealingKey{id: KeyIDOf(priv.PublicKey().Bytes()), priv: priv}, nil
}

// ID names the key in a message.
func (k *SealingKey) ID() KeyID { return k.id }

// Public returns the public key: 32 bytes, which the gateway reports and the
// control plane hands to clients.
func (k *SealingKey) Public() []byte { return k.priv.PublicKey().Bytes() }

// The suite of RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
// It is the fastest that every platform has in hardware or assembly.
func kem() hpke.KEM   { return hpke.DHKEM(ecdh.X25519()) }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.AES128GCM() }

const (
	publicSize  = 32 // X25519
	encSize     = 32 // an encapsulated X25519 key
	contentSize = 16 // AES-128
	tagSize     = 16 // GCM
	wrappedSize = contentSize + tagSize
)

// Secret is the private key, for the next process of the same gateway: it passes
// through a pipe between the two, and lies nowhere.
func (k *SealingKey) Secret() ([]byte, error) { return k.priv.Bytes() }

// ParseSealingKey reads what Secret wrote.
func ParseSealingKey(secret []byte) (*SealingKey, error) {
	priv, err := kem().NewPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("read sealing key: %w", err)
	}
	return &SealingKey{id: KeyIDOf(priv.PublicKey().Bytes()), priv: priv}, nil
}
