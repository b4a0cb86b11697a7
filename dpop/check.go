package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"sync"
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

// Checker checks proofs and remembers the keys of the last few thousand good
// ones: all proofs of one key begin with the same header, and to read it costs
// more than all but the signature. What a header means depends on nothing but
// its bytes, so it cannot become stale. The zero value works; safe for
// concurrent use.
type Checker struct {
	mu sync.Mutex
	// Two generations: when young is full it becomes old. Both guarded by mu,
	// and by the header as it was sent.
	young, old map[string]*prover
}

// maxProvers is how many keys a generation has at most: with some 800 bytes
// each, both together stay below 4 MB, whoever sends proofs.
const maxProvers = 2048

// prover is what the header of a proof tells.
type prover struct {
	public     *ecdsa.PublicKey
	jwk        json.RawMessage
	thumbprint string
}

// Check is [Checker.Check] without a memory.
func Check(values []string, e Expect) (Proof, error) { return new(Checker).Check(values, e) }

// Check judges the values of a request's DPoP fields, which is
// r.Header.Values(dpop.Header), by all twelve points of RFC 9449 section 4.3.
// The error wraps ErrUseNonce if nothing but the nonce is wrong, and otherwise
// ErrInvalid.
//
// Check keeps no record of jti: a caller that changes something claims it in
// the same transaction.
func (k *Checker) Check(values []string, e Expect) (Proof, error) {
	if e.Now.IsZero() {
		e.Now = time.Now()
	}
	if len(values) != 1 { // point 1
		return Proof{}, invalid("want one %s field, got %d", Header, len(values))
	}
	by, payload, err := k.verified(values[0])
	if err != nil {
		return Proof{}, err
	}
	c, iat, err := parseClaims(payload)
	if err != nil {
		return Proof{}, err
	}
	if err := c.match(e); err != nil {
		return Proof{}, err
	}
	if e.Thumbprint != "" && by.thumbprint != e.Thumbprint { // point 12
		return Proof{}, invalid("made with another key than the token is bound to")
	}
	issued := time.Unix(int64(iat), 0)
	if err := c.fresh(e, issued); err != nil {
		return Proof{}, err
	}
	return Proof{Thumbprint: by.thumbprint, JTI: c.JTI, IssuedAt: issued, JWK: by.jwk, Public: by.public}, nil
}

// verified covers points 2 and 4 to 7, and returns the payload. A header is
// remembered only once a signature has shown that somebody holds its key.
func (k *Checker) verified(value string) (*prover, []byte, error) {
	if len(value) > MaxProof {
		return nil, nil, invalid("longer than %d bytes", MaxProof)
	}
	header, _, _ := strings.Cut(value, ".")
	by, known := k.recall(header)
	if !known {
		var err error
		if by, err = parse(value); err != nil {
			return nil, nil, err
		}
	}
	payload, err := by.verify(value)
	if err != nil {
		return nil, nil, err
	}
	if !known {
		k.remember(header, by)
	}
	return by, payload, nil
}

func (k *Checker) recall(header string) (*prover, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if by, ok := k.young[header]; ok {
		return by, true
	}
	by, ok := k.old[header]
	if ok {
		k.put(header, by)
	}
	return by, ok
}

func (k *Checker) remember(header string, by *prover) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(strings.Clone(header), by) // not the whole proof with it
}

// put is called with mu held.
func (k *Checker) put(header string, by *prover) {
	if len(header) > maxHeader {
		return
	}
	if len(k.young) >= maxProvers {
		k.old, k.young = k.young, nil
	}
	if k.young == nil {
		k.young = map[string]*prover{}
	}
	k.young[header] = by
}

// maxHeader is the longest header that is remembered; ours have 240 bytes.
const maxHeader = 512

// parse covers points 2, 4, 5 and 7: form, type, algorithm and key.
func parse(value string) (*prover, error) {
	jws, err := jose.ParseSignedCompact(value, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, invalid("not a JWT signed with ES256 by an embedded public key")
	}
	h := jws.Signatures[0].Protected
	if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != proofType {
		return nil, invalid("typ is not %s", proofType)
	}
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := h.ExtraHeaders[name]; ok {
			return nil, invalid("header %s is not understood", name)
		}
	}
	key := h.JSONWebKey
	if key == nil || len(key.Certificates) != 0 || !key.IsPublic() {
		return nil, invalid("jwk is not a bare public key")
	}
	pub, ok := key.Key.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, invalid("jwk is not a P-256 key")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, invalid("jwk has no thumbprint")
	}
	// Only the key itself is kept, not what else the peer wrote beside it.
	bare, err := jose.JSONWebKey{Key: pub}.MarshalJSON()
	if err != nil {
		return nil, invalid("jwk does not marshal")
	}
	return &prover{public: pub, jwk: bare, thumbprint: base64.RawURLEncoding.EncodeToString(sum)}, nil
}

// verify covers point 6 and the form of the two other parts. It says nothing
// about the header, so it is only for one that parse has accepted.
func (p *prover) verify(value string) (payload []byte, err error) {
	end := strings.LastIndexByte(value, '.')
	begin := strings.IndexByte(value, '.')
	if begin < 0 || begin == end {
		return nil, invalid("not a JWT signed with ES256 by an embedded public key")
	}
	// A dot within the payload is no base64.
	payload, err = base64.RawURLEncoding.DecodeString(value[begin+1 : end])
	if err != nil {
		return nil, invalid("not a JWT signed with ES256 by an embedded public key")
	}
	signature, err := base64.RawURLEncoding.DecodeString(value[end+1:])
	if err != nil || len(signature) != 2*coordinate {
		return nil, invalid("signature does not verify")
	}
	digest := sha256.Sum256([]byte(value[:end]))
	r, s := new(big.Int).SetBytes(signature[:coordinate]), new(big.Int).SetBytes(signature[coordinate:])
	if !ecdsa.Verify(p.public, digest[:], r, s) {
		return nil, invalid("signature does not verify")
	}
	return payload, nil
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
