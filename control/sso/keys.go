package sso

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	// keyLife is how long keys are kept: one that an issuer withdrew is good no longer.
	keyLife = time.Hour
	// unknownEvery and unknownBurst ration the fetches that tokens of unknown keys cause.
	// A provider that changes its keys causes one; a stranger with tokens of his own
	// making could cause one each.
	unknownEvery, unknownBurst = 10 * time.Second, 3
	// maxKeys is how many of a set are looked at, and maxTried against how many a token
	// without a key id is held: each costs a signature check.
	maxKeys, maxTried = 100, 8
	// minRSA and maxRSA bound keys, in bits. A check costs by the square.
	minRSA, maxRSA = 2048, 8192
)

// keys are an issuer's, by which its tokens are signed (RFC 7517).
type keys struct {
	of      *Issuers
	flights singleflight.Group
	unknown *rate.Limiter

	mu  sync.Mutex
	set []jose.JSONWebKey // guarded by mu, as all below
	url string
	at  time.Time
}

func (k *keys) init(of *Issuers) {
	k.of, k.unknown = of, rate.NewLimiter(rate.Every(unknownEvery), unknownBurst)
}

// keySet is keys at a place, for one token and a verifier of go-oidc.
type keySet struct {
	*keys
	url        string
	algorithms []string
	// down is why the keys could not be had: go-oidc makes a mere text of what
	// VerifySignature returns.
	down error
}

// VerifySignature implements oidc.KeySet. A token that no known key has signed has the
// keys fetched anew, once and within the ration: an issuer may change them at any time
// (section 10.1.1 of Core).
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, taken(k.algorithms))
	if err != nil {
		return nil, err
	}
	set, fresh, err := k.known(ctx, k.url)
	if err != nil {
		k.down = err
		return nil, err
	}
	payload, err := check(signed, set)
	if err == nil || fresh {
		return payload, err
	}
	if !k.unknown.AllowN(k.of.options.Now(), 1) {
		return nil, fmt.Errorf("%w; its keys were asked for a moment ago", err)
	}
	if set, err = k.fetch(ctx, k.url); err != nil {
		k.down = err
		return nil, err
	}
	return check(signed, set)
}

var errUnpublished = errors.New("the token is signed with a key that the provider does not publish")

// check returns what a token says if one of the keys has signed it.
func check(signed *jose.JSONWebSignature, set []jose.JSONWebKey) ([]byte, error) {
	head, tried := signed.Signatures[0].Header, 0
	for _, key := range set {
		if head.KeyID != "" && key.KeyID != head.KeyID || key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	if tried == 0 {
		return nil, errUnpublished
	}
	return nil, errors.New("the signature of the token does not verify")
}

// known returns the keys, and whether they were fetched for this call.
func (k *keys) known(ctx context.Context, url string) (set []jose.JSONWebKey, fresh bool, err error) {
	k.mu.Lock()
	good := k.url == url && k.set != nil && k.of.options.Now().Sub(k.at) < keyLife
	set = k.set
	k.mu.Unlock()
	if good {
		return set, false, nil
	}
	set, err = k.fetch(ctx, url)
	return set, true, err
}

// fetch reads the keys.
func (k *keys) fetch(ctx context.Context, url string) ([]jose.JSONWebKey, error) {
	return shared(ctx, &k.flights, func(ctx context.Context) ([]jose.JSONWebKey, error) {
		raw, _, err := k.of.get(ctx, url, "")
		if err != nil {
			return nil, failed(Down, shortened(err), "the keys of the identity provider cannot be had")
		}
		set, err := parseKeys(raw)
		if err != nil {
			return nil, failed(Down, err, "the keys of the identity provider cannot be had")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.set, k.url, k.at = set, url, k.of.options.Now()
		return set, nil
	})
}

// parseKeys reads a set. A key of a kind that we do not know is not for us and is passed
// over (RFC 7517 section 5), as is one that is not for signatures or not public.
func parseKeys(raw []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("that is no set of keys")
	}
	var out []jose.JSONWebKey
	for i, raw := range set.Keys {
		if i == maxKeys {
			break
		}
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && (key.Use == "" || key.Use == "sig") && usable(key) {
			out = append(out, key)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is none that could sign a token")
	}
	return out, nil
}

func usable(key jose.JSONWebKey) bool {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey:
		return true
	case ed25519.PublicKey:
		return true
	}
	return false // private, or a secret
}
