package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// NonceTTL is the usual life of a nonce.
	NonceTTL = 60 * time.Second
	// NonceAhead is how far the clock of the instance that issued a nonce may
	// be ahead of the one that checks it. NTP keeps them far closer.
	NonceAhead = 5 * time.Second
	// MinNonceSecret is the shortest secret, in bytes: that of the hash.
	MinNonceSecret = 32
)

const (
	nonceTime = 8
	nonceMAC  = 16 // 128 bits: a guess online is hopeless
	nonceSize = nonceTime + nonceMAC
)

const nonceDomain = "cardea dpop nonce v1\x00"

var errNonce = errors.New("nonce is not one of ours or too old")

// Nonces issues and checks the server's nonces. They carry their time and a
// MAC, so that any instance which shares the secret can check them and nothing
// is stored. A nonce is not single-use: jti is. Safe for concurrent use.
type Nonces struct {
	ttl     time.Duration
	secrets [][]byte
}

// NewNonces returns nonces that live for ttl. The first secret issues, all are
// good for checking, so that secrets can be rotated.
func NewNonces(ttl time.Duration, secrets ...[]byte) (*Nonces, error) {
	if ttl <= 0 || len(secrets) == 0 {
		return nil, errors.New("nonces need a life and a secret")
	}
	for _, s := range secrets {
		if len(s) < MinNonceSecret {
			return nil, fmt.Errorf("nonce secret is shorter than %d bytes", MinNonceSecret)
		}
	}
	return &Nonces{ttl: ttl, secrets: secrets}, nil
}

// Issue returns the nonce of this second.
func (n *Nonces) Issue(now time.Time) string {
	b := make([]byte, nonceTime, nonceSize)
	binary.BigEndian.PutUint64(b, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, nonceSum(n.secrets[0], b)...))
}

// Check returns an error unless nonce was issued no more than ttl ago.
func (n *Nonces) Check(nonce string, now time.Time) error {
	// The length first: the decoder skips line ends.
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceSize) {
		return errNonce
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceSize {
		return errNonce
	}
	stamp, sum := b[:nonceTime], b[nonceTime:]
	if !n.made(stamp, sum) {
		return errNonce
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(stamp)), 0))
	if age > n.ttl || age < -NonceAhead {
		return errNonce
	}
	return nil
}

func (n *Nonces) made(stamp, sum []byte) bool {
	for _, s := range n.secrets {
		if hmac.Equal(sum, nonceSum(s, stamp)) {
			return true
		}
	}
	return false
}

func nonceSum(secret, stamp []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(nonceDomain))
	m.Write(stamp)
	return m.Sum(nil)[:nonceMAC]
}
