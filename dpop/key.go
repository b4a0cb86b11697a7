package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// coordinate is the size in bytes of a P-256 coordinate and of each half of an
// ES256 signature (RFC 7518, section 3.4).
const coordinate = 32

// PEMType is that of MarshalPEM.
const PEMType = "PRIVATE KEY"

// Key is an identity key of a device, a server agent or a gateway. It is safe
// for concurrent use if its signer is.
type Key struct {
	// Now is the clock of the proofs; nil means time.Now.
	Now func() time.Time

	signer     crypto.Signer
	jwk        jose.JSONWebKey
	header     string // of every proof, encoded
	thumbprint string
}

// NewKey makes a key in memory.
func NewKey() (*Key, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity key: %w", err)
	}
	return FromSigner(priv)
}

// FromSigner makes a Key of any signer with a P-256 key that returns ASN.1
// signatures over SHA-256, so that a TPM or Secure Enclave can hold it.
func FromSigner(s crypto.Signer) (*Key, error) {
	pub, ok := s.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("identity key is not a P-256 key")
	}
	k := &Key{signer: s, jwk: jose.JSONWebKey{Key: pub}}
	sum, err := k.jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint of identity key: %w", err)
	}
	k.thumbprint = base64.RawURLEncoding.EncodeToString(sum)
	header, err := json.Marshal(struct {
		Alg string           `json:"alg"`
		JWK *jose.JSONWebKey `json:"jwk"`
		Typ string           `json:"typ"`
	}{string(jose.ES256), &k.jwk, proofType})
	if err != nil {
		return nil, fmt.Errorf("use identity key: %w", err)
	}
	k.header = base64.RawURLEncoding.EncodeToString(header)
	return k, nil
}

// ParseKey reads what MarshalPEM wrote.
func ParseKey(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != PEMType || len(rest) != 0 {
		return nil, errors.New("identity key is not one PEM block of type " + PEMType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse identity key: %w", err)
	}
	priv, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("identity key is not a P-256 key")
	}
	return FromSigner(priv)
}

// MarshalPEM returns the private key as PKCS #8 in PEM. A key held by hardware
// cannot be marshalled.
func (k *Key) MarshalPEM() ([]byte, error) {
	priv, ok := k.signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("identity key cannot leave its device")
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("marshal identity key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der}), nil
}

// Thumbprint names the key: RFC 7638 with SHA-256, base64url without padding.
// It is the dpop_jkt and cnf.jkt of RFC 9449.
func (k *Key) Thumbprint() string { return k.thumbprint }

// PublicJWK returns the public key as JSON (RFC 7517).
func (k *Key) PublicJWK() json.RawMessage {
	b, err := k.jwk.MarshalJSON()
	if err != nil {
		panic("dpop: a P-256 key always marshals: " + err.Error())
	}
	return b
}

// Public returns the public key.
func (k *Key) Public() *ecdsa.PublicKey { return k.jwk.Key.(*ecdsa.PublicKey) }

// Proof makes the proof for one request. Query and fragment of rawURL are left
// out, as RFC 9449 section 4.2 says; token is the access token that goes with
// the request, nonce the server's newest one, and either may be empty.
func (k *Key) Proof(method, rawURL, nonce, token string) (string, error) {
	htu, err := targetOf(rawURL)
	if err != nil {
		return "", err
	}
	c := claims{JTI: newJTI(), HTM: method, HTU: htu, IAT: k.now().Unix()}
	if token != "" {
		ath := TokenHash(token)
		c.ATH = &ath
	}
	if nonce != "" {
		c.Nonce = &nonce
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("make proof: %w", err)
	}
	input := k.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := k.sign([]byte(input))
	if err != nil {
		return "", fmt.Errorf("sign proof: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (k *Key) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

func targetOf(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("make proof: %q is not an absolute http URL", rawURL)
	}
	target := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return target.String(), nil
}

// sign makes an ES256 signature (RFC 7518, section 3.4): the ASN.1 of a
// crypto.Signer as two halves of fixed size.
func (k *Key) sign(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	der, err := k.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var r, s big.Int
	var halves cryptobyte.String
	whole := cryptobyte.String(der)
	if !whole.ReadASN1(&halves, asn1.SEQUENCE) || !whole.Empty() ||
		!halves.ReadASN1Integer(&r) || !halves.ReadASN1Integer(&s) || !halves.Empty() {
		return nil, errors.New("signer returned no ASN.1 signature")
	}
	if r.BitLen() > 8*coordinate || s.BitLen() > 8*coordinate || r.Sign() < 0 || s.Sign() < 0 {
		return nil, errors.New("signer returned a signature that is not P-256's")
	}
	out := make([]byte, 2*coordinate)
	r.FillBytes(out[:coordinate])
	s.FillBytes(out[coordinate:])
	return out, nil
}
