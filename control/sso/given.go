package sso

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// MaxGiven bounds a set of keys that an administrator gives, in bytes, and maxGiven how
	// many it has: each is read for each job. A cluster has two while it changes them.
	MaxGiven, maxGiven = 64 << 10, 20
	// maxKeyID bounds the name of a key, in bytes: it is shown in tables.
	maxKeyID = 256
)

// GivenKeys are those of an issuer whose keys nobody can ask for, as that of a cluster
// behind a firewall: an administrator gave them. Nothing is ever fetched for it.
type GivenKeys struct{ set []jose.JSONWebKey }

// Key describes one.
type Key struct {
	ID, Kind, Algorithm string
	Thumbprint          string // RFC 7638, SHA-256, base64url
}

// privateMembers are those that only a private key has (RFC 7518 section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth"}

// ParseGivenKeys reads a JWK set (RFC 7517 section 5). What an issuer publishes may hold keys
// that are not for us; here all must be good, because an administrator can mend it.
func ParseGivenKeys(text string) (*GivenKeys, error) {
	if len(text) > MaxGiven {
		return nil, fmt.Errorf("the keys are larger than %d bytes", MaxGiven)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err := json.Unmarshal([]byte(text), &set)
	switch {
	case strings.Contains(text, "PRIVATE KEY"):
		return nil, errors.New("that is a private key: who has it can be every job there is; give the public keys alone, as a JWK set")
	case err != nil:
		return nil, errors.New("that is no JWK set (RFC 7517); in Kubernetes this prints one: kubectl get --raw /openid/v1/jwks")
	case len(set.Keys) == 0:
		return nil, errors.New("the set has no keys; in Kubernetes this prints one that has: kubectl get --raw /openid/v1/jwks")
	case len(set.Keys) > maxGiven:
		return nil, fmt.Errorf("the set has more than %d keys", maxGiven)
	}
	g := &GivenKeys{}
	for i, raw := range set.Keys {
		key, err := parseGiven(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d of the set %w", i+1, err)
		}
		if slices.ContainsFunc(g.set, func(k jose.JSONWebKey) bool { return k.KeyID == key.KeyID }) {
			return nil, fmt.Errorf("key %d of the set has the name of another one: %q", i+1, ident.Text(key.KeyID))
		}
		g.set = append(g.set, key)
	}
	return g, nil
}

// parseGiven reads one key, and drops what else stands beside it.
func parseGiven(raw json.RawMessage) (jose.JSONWebKey, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return jose.JSONWebKey{}, errors.New("is no key")
	}
	for name := range members {
		switch name = strings.ToLower(name); {
		case name == "k":
			return jose.JSONWebKey{}, errors.New("is a shared secret: with it whoever can check a token could make one; give public keys alone")
		case slices.Contains(privateMembers, name):
			return jose.JSONWebKey{}, errors.New("is a private key: who has it can be every job there is; give the public keys alone")
		}
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal(raw, &key); err != nil {
		return key, errors.New("is of a kind that is not known here, or damaged; RSA, ECDSA and Ed25519 are taken")
	}
	switch {
	case key.Use != "" && key.Use != "sig":
		return key, fmt.Errorf("is not for signatures but for %q; take it out", ident.Text(clip(key.Use)))
	case key.Algorithm != "" && !slices.Contains(signatures, key.Algorithm):
		return key, fmt.Errorf("is for the algorithm %q; taken are %s", ident.Text(clip(key.Algorithm)), strings.Join(signatures, ", "))
	case len(key.KeyID) > maxKeyID || ident.Text(key.KeyID) != key.KeyID:
		return key, fmt.Errorf("has a name (kid) that is not up to %d bytes without control characters", maxKeyID)
	case !usable(key):
		return key, fmt.Errorf("is no public key of RSA with %d to %d bits, ECDSA or Ed25519", minRSA, maxRSA)
	}
	return jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm, Use: "sig"}, nil
}

// Text is the set as it is kept, which ParseGivenKeys reads.
func (g *GivenKeys) Text() (string, error) {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: g.set})
	return string(bytes.TrimSpace(text)), err
}

// Keys describes all.
func (g *GivenKeys) Keys() []Key {
	var out []Key
	for _, k := range g.set {
		v := Key{ID: k.KeyID, Algorithm: k.Algorithm, Kind: keyKind(k)}
		if sum, err := k.Thumbprint(crypto.SHA256); err == nil {
			v.Thumbprint = base64.RawURLEncoding.EncodeToString(sum)
		}
		out = append(out, v)
	}
	return out
}

func keyKind(key jose.JSONWebKey) string {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// VerifySignature implements oidc.KeySet.
func (g *GivenKeys) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, taken(signatures))
	if err != nil {
		return nil, err
	}
	payload, err := check(signed, g.set)
	if errors.Is(err, errUnpublished) {
		err = errors.New("the token is signed with a key that is not among those that were given")
	}
	return payload, err
}

// taken are algorithms as go-jose has them.
func taken(names []string) []jose.SignatureAlgorithm {
	var out []jose.SignatureAlgorithm
	for _, a := range names {
		out = append(out, jose.SignatureAlgorithm(a))
	}
	return out
}
