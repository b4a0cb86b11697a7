package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"math"
	"time"

	"github.com/go-jose/go-jose/v4"
	strictjson "github.com/go-jose/go-jose/v4/json"
)

const proofType = "dpop+jwt"

// maxIAT is the last second of the year 9999. iat is a number of any size in
// JSON; what lies beyond is nonsense or an attempt at overflow.
const maxIAT = 253402300799

// Expect is what a server knows about a request before it looks at the proof.
type Expect struct {
	Method string
	// URL is the configured public URL and the path of the request. It must
	// never be made from the Host header, which the peer writes.
	URL string
	// Token is the access token of the request; empty on the first contact.
	Token string
	// Thumbprint is that of the key the token is bound to; empty on the first
	// contact, where the proof tells which key it is.
	Thumbprint string
	// Nonce judges the nonce of the proof, [Nonces.Check] as a rule. If it is
	// nil no nonce is demanded and iat must lie within Skew of Now.
	//
	// With a fresh nonce iat is not compared with the clock: the nonce is the
	// clock. It proves that the proof is younger than the nonce, by the
	// server's time alone, and a laptop whose clock is an hour wrong can work.
	Nonce func(nonce string, now time.Time) error
	// Now is the time of the request; zero means time.Now().
	Now time.Time
}

// Proof is what a proof that passed has shown.
type Proof struct {
	Thumbprint string // RFC 7638, SHA-256, base64url
	JTI        string // unique to this proof; claim it where a request changes something
	IssuedAt   time.Time
	JWK        json.RawMessage // the public key
	Public     *ecdsa.PublicKey
}

// Check judges the values of a request's DPoP fields, which is
// r.Header.Values(dpop.Header), by all twelve points of RFC 9449 section 4.3.
// The error wraps ErrUseNonce if nothing but the nonce is wrong, and otherwise
// ErrInvalid.
//
// Check keeps no record of jti: a caller that changes something claims it in
// the same transaction.
func Check(values []string, e Expect) (Proof, error) {
	if e.Now.IsZero() {
		e.Now = time.Now()
	}
	if len(values) != 1 { // point 1
		return Proof{}, invalid("want one %s field, got %d", Header, len(values))
	}
	jws, key, err := parse(values[0])
	if err != nil {
		return Proof{}, err
	}
	payload, err := jws.Verify(key) // point 6
	if err != nil {
		return Proof{}, invalid("signature does not verify")
	}
	c, iat, err := parseClaims(payload)
	if err != nil {
		return Proof{}, err
	}
	if err := c.match(e); err != nil {
		return Proof{}, err
	}
	p, err := describe(key, c, iat)
	if err != nil {
		return Proof{}, err
	}
	if e.Thumbprint != "" && p.Thumbprint != e.Thumbprint { // point 12
		return Proof{}, invalid("made with another key than the token is bound to")
	}
	if err := c.fresh(e, p.IssuedAt); err != nil {
		return Proof{}, err
	}
	return p, nil
}

// parse covers points 2, 4, 5 and 7: form, type, algorithm and key.
func parse(value string) (*jose.JSONWebSignature, *jose.JSONWebKey, error) {
	if len(value) > MaxProof {
		return nil, nil, invalid("longer than %d bytes", MaxProof)
	}
	jws, err := jose.ParseSignedCompact(value, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, nil, invalid("not a JWT signed with ES256 by an embedded public key")
	}
	h := jws.Signatures[0].Protected
	if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != proofType {
		return nil, nil, invalid("typ is not %s", proofType)
	}
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := h.ExtraHeaders[name]; ok {
			return nil, nil, invalid("header %s is not understood", name)
		}
	}
	key := h.JSONWebKey
	if key == nil || len(key.Certificates) != 0 || !key.IsPublic() {
		return nil, nil, invalid("jwk is not a bare public key")
	}
	if pub, ok := key.Key.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, nil, invalid("jwk is not a P-256 key")
	}
	return jws, key, nil
}

// parseClaims covers point 3. go-jose's JSON refuses duplicate members and
// tells upper from lower case, which encoding/json does not.
func parseClaims(payload []byte) (claims, float64, error) {
	var c claims
	if err := strictjson.Unmarshal(payload, &c); err != nil {
		return claims{}, 0, invalid("claims are not a JSON object of the right types")
	}
	iat, ok := c.IAT.(float64)
	switch {
	case c.JTI == "" || len(c.JTI) > MaxJTI:
		return claims{}, 0, invalid("jti is missing or longer than %d bytes", MaxJTI)
	case c.HTM == "" || c.HTU == "":
		return claims{}, 0, invalid("htm or htu is missing")
	case !ok || math.IsNaN(iat) || iat < 0 || iat > maxIAT:
		return claims{}, 0, invalid("iat is not a time")
	}
	return c, iat, nil
}

// match covers points 8, 9 and 12: method, target and token.
func (c claims) match(e Expect) error {
	if c.HTM != e.Method {
		return invalid("made for another method")
	}
	want, err := normalURL(e.URL)
	if err != nil {
		return invalid("the configured URL is not usable: %v", err)
	}
	if got, err := normalURL(c.HTU); err != nil || got != want {
		return invalid("made for another URL")
	}
	if e.Token != "" && (c.ATH == nil || *c.ATH != TokenHash(e.Token)) {
		return invalid("made for another access token")
	}
	return nil
}

// fresh covers points 10 and 11: nonce and time.
func (c claims) fresh(e Expect, issued time.Time) error {
	if e.Nonce != nil {
		if c.Nonce == nil || e.Nonce(*c.Nonce, e.Now) != nil {
			return ErrUseNonce
		}
		return nil
	}
	if age := e.Now.Sub(issued); age > Skew || age < -Skew {
		return invalid("iat is more than %s away from the server's clock", Skew)
	}
	return nil
}

func describe(key *jose.JSONWebKey, c claims, iat float64) (Proof, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return Proof{}, invalid("jwk has no thumbprint")
	}
	pub := key.Key.(*ecdsa.PublicKey)
	// Only the key itself is kept, not what else the peer wrote beside it.
	bare, err := jose.JSONWebKey{Key: pub}.MarshalJSON()
	if err != nil {
		return Proof{}, invalid("jwk does not marshal")
	}
	return Proof{
		Thumbprint: base64.RawURLEncoding.EncodeToString(sum),
		JTI:        c.JTI,
		IssuedAt:   time.Unix(int64(iat), 0),
		JWK:        bare,
		Public:     pub,
	}, nil
}
