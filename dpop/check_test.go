package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/dpop"
)

const (
	method = "POST"
	target = "https://access.example.com/v1/connect"
	token  = "cardea_ses_token"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

type object map[string]any

// forge is a proof in the making: each case of a table spoils it in one place.
type forge struct {
	priv    *ecdsa.PrivateKey
	header  object
	claims  object
	payload []byte              // instead of claims
	sign    func([]byte) []byte // instead of ES256 by priv
	values  func(string) []string
}

func newForge(t testing.TB, nonce string) *forge {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &forge{
		priv:   priv,
		header: object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(priv)},
		claims: object{
			"jti": "unique", "htm": method, "htu": target, "iat": noon.Unix(), "ath": dpop.TokenHash(token), "nonce": nonce,
		},
		values: func(s string) []string { return []string{s} },
	}
}

func jwkOf(priv *ecdsa.PrivateKey) object {
	return object{"kty": "EC", "crv": "P-256", "x": b64(priv.X.FillBytes(make([]byte, 32))), "y": b64(priv.Y.FillBytes(make([]byte, 32)))}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (f *forge) proof() []string {
	payload := f.payload
	if payload == nil {
		payload, _ = json.Marshal(f.claims)
	}
	header, _ := json.Marshal(f.header)
	input := b64(header) + "." + b64(payload)
	sign := f.sign
	if sign == nil {
		sign = f.es256
	}
	return f.values(input + "." + b64(sign([]byte(input))))
}

func (f *forge) es256(input []byte) []byte {
	digest := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, f.priv, digest[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func (f *forge) thumbprint() string {
	j := jwkOf(f.priv)
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + j["x"].(string) + `","y":"` + j["y"].(string) + `"}`))
	return b64(sum[:])
}

func testNonces(t testing.TB) *dpop.Nonces {
	t.Helper()
	n, err := dpop.NewNonces(dpop.NonceTTL, []byte(strings.Repeat("k", dpop.MinNonceSecret)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEachPointOfTheRFC has at least one case for each of the twelve points of
// RFC 9449 section 4.3.
func TestEachPointOfTheRFC(t *testing.T) {
	ok, useNonce, bad := error(nil), dpop.ErrUseNonce, dpop.ErrInvalid
	nonces := testNonces(t)
	var known dpop.Checker
	for _, tc := range []struct {
		name  string
		want  error
		spoil func(*forge, *dpop.Expect)
	}{
		{"a right proof passes", ok, func(*forge, *dpop.Expect) {}},

		{"1: no field", bad, func(f *forge, _ *dpop.Expect) { f.values = func(string) []string { return nil } }},
		{"1: two fields, both right", bad, func(f *forge, _ *dpop.Expect) { f.values = func(s string) []string { return []string{s, s} } }},
		{"1: two proofs in one field", bad, func(f *forge, _ *dpop.Expect) {
			f.values = func(s string) []string { return []string{s + "," + s} }
		}},

		{"2: empty", bad, func(f *forge, _ *dpop.Expect) { f.values = func(string) []string { return []string{""} } }},
		{"2: two parts", bad, func(f *forge, _ *dpop.Expect) {
			f.values = func(s string) []string { return []string{s[:strings.LastIndex(s, ".")]} }
		}},
		{"2: four parts", bad, func(f *forge, _ *dpop.Expect) {
			f.values = func(s string) []string { return []string{s + ".e30"} }
		}},
		{"2: the JSON form of JWS", bad, func(f *forge, _ *dpop.Expect) {
			f.values = func(s string) []string {
				p := strings.Split(s, ".")
				return []string{`{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`}
			}
		}},
		{"2: claims are an array", bad, func(f *forge, _ *dpop.Expect) { f.payload = []byte(`[]`) }},
		{"2: claims are null", bad, func(f *forge, _ *dpop.Expect) { f.payload = []byte(`null`) }},
		{"2: a claim stands there twice", bad, func(f *forge, _ *dpop.Expect) {
			b, _ := json.Marshal(f.claims)
			f.payload = append([]byte(`{"htm":"GET",`), b[1:]...)
		}},
		{"2: claims are deeply nested", bad, func(f *forge, _ *dpop.Expect) { f.payload = []byte(strings.Repeat("[", 5000)) }},

		{"3: jti is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.claims, "jti") }},
		{"3: jti is empty", bad, func(f *forge, _ *dpop.Expect) { f.claims["jti"] = "" }},
		{"3: jti is a number", bad, func(f *forge, _ *dpop.Expect) { f.claims["jti"] = 7 }},
		{"3: jti at its limit", ok, func(f *forge, _ *dpop.Expect) { f.claims["jti"] = strings.Repeat("j", dpop.MaxJTI) }},
		{"3: jti one over its limit", bad, func(f *forge, _ *dpop.Expect) { f.claims["jti"] = strings.Repeat("j", dpop.MaxJTI+1) }},
		{"3: htm is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.claims, "htm") }},
		{"3: htu is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.claims, "htu") }},
		{"3: iat is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.claims, "iat") }},
		{"3: iat is a string", bad, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = "1" }},
		{"3: iat is 1e300", bad, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = 1e300 }},
		{"3: iat is 1e999", bad, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = json.RawMessage("1e999") }},
		{"3: iat is before 1970", bad, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = -1 }},
		{"3: iat has a fraction", ok, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = float64(noon.Unix()) + 0.5 }},

		{"4: typ is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.header, "typ") }},
		{"4: typ is JWT", bad, func(f *forge, _ *dpop.Expect) { f.header["typ"] = "JWT" }},
		{"4: typ is a list", bad, func(f *forge, _ *dpop.Expect) { f.header["typ"] = []string{"dpop+jwt"} }},

		{"5: alg is none", bad, func(f *forge, _ *dpop.Expect) {
			f.header["alg"] = "none"
			f.sign = func([]byte) []byte { return nil }
		}},
		{"5: alg is HS256 under the public key", bad, func(f *forge, _ *dpop.Expect) {
			f.header["alg"] = "HS256"
			f.sign = func(in []byte) []byte {
				m := hmac.New(sha256.New, f.priv.X.Bytes())
				m.Write(in)
				return m.Sum(nil)
			}
		}},
		{"5: alg is RS256 with its own key", bad, rs256},
		{"5: alg is EdDSA with its own key", bad, eddsa},
		{"5: alg is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.header, "alg") }},
		{"5: an unknown critical header", bad, func(f *forge, _ *dpop.Expect) { f.header["crit"] = []string{"exp"} }},
		{"5: an unencoded payload", bad, func(f *forge, _ *dpop.Expect) {
			f.header["crit"], f.header["b64"] = []string{"b64"}, false
		}},

		{"6: the signature is another key's", bad, func(f *forge, _ *dpop.Expect) {
			other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			f.header["jwk"] = jwkOf(other)
		}},
		{"6: one bit of the signature is flipped", bad, func(f *forge, _ *dpop.Expect) {
			f.sign = func(in []byte) []byte { s := f.es256(in); s[10] ^= 1; return s }
		}},
		{"6: the signature is all zero", bad, func(f *forge, _ *dpop.Expect) { f.sign = func([]byte) []byte { return make([]byte, 64) } }},

		{"7: jwk is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.header, "jwk") }},
		{"7: jwk holds the private key", bad, func(f *forge, _ *dpop.Expect) {
			j := jwkOf(f.priv)
			d, _ := f.priv.Bytes()
			j["d"] = b64(d)
			f.header["jwk"] = j
		}},
		{"7: jwk is symmetric", bad, func(f *forge, _ *dpop.Expect) { f.header["jwk"] = object{"kty": "oct", "k": "AAAA"} }},
		{"7: jwk is not on its curve", bad, func(f *forge, _ *dpop.Expect) {
			j := jwkOf(f.priv)
			j["y"] = j["x"]
			f.header["jwk"] = j
		}},
		{"7: jwk is a P-384 key", bad, func(f *forge, _ *dpop.Expect) {
			p, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			f.header["jwk"] = object{"kty": "EC", "crv": "P-384", "x": b64(p.X.FillBytes(make([]byte, 48))), "y": b64(p.Y.FillBytes(make([]byte, 48)))}
		}},

		{"8: another method", bad, func(f *forge, _ *dpop.Expect) { f.claims["htm"] = "GET" }},
		{"8: the method in lower case", bad, func(f *forge, _ *dpop.Expect) { f.claims["htm"] = "post" }},

		{"9: another path", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://access.example.com/v1/why" }},
		{"9: a slash more", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = target + "/" }},
		{"9: another host", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://evil.example.com/v1/connect" }},
		{"9: another port", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://access.example.com:8443/v1/connect" }},
		{"9: another scheme", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "http://access.example.com/v1/connect" }},
		{"9: a user before the host", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://x@access.example.com/v1/connect" }},
		{"9: a relative URL", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "/v1/connect" }},
		{"9: dots that lead to the path", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://access.example.com/x/../v1/connect" }},
		{"9: an encoded slash", bad, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://access.example.com/v1%2Fconnect" }},
		{"9: query and fragment are ignored", ok, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = target + "?a=b#c" }},
		{"9: host in capitals and the default port", ok, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "HTTPS://Access.Example.COM:443/v1/connect" }},
		{"9: a needless encoding", ok, func(f *forge, _ *dpop.Expect) { f.claims["htu"] = "https://access.example.com/v1/%63onnect" }},

		{"10: no nonce", useNonce, func(f *forge, _ *dpop.Expect) { delete(f.claims, "nonce") }},
		{"10: a nonce of another server", useNonce, func(f *forge, _ *dpop.Expect) {
			n, _ := dpop.NewNonces(dpop.NonceTTL, []byte(strings.Repeat("x", dpop.MinNonceSecret)))
			f.claims["nonce"] = n.Issue(noon)
		}},
		{"10: a nonce at its limit", ok, func(f *forge, _ *dpop.Expect) { f.claims["nonce"] = nonces.Issue(noon.Add(-dpop.NonceTTL)) }},
		{"10: a nonce one second too old", useNonce, func(f *forge, _ *dpop.Expect) {
			f.claims["nonce"] = nonces.Issue(noon.Add(-dpop.NonceTTL - time.Second))
		}},
		{"10: a nonce is a number", bad, func(f *forge, _ *dpop.Expect) { f.claims["nonce"] = 7 }},
		{"10: no nonce, and a wrong path too", bad, func(f *forge, _ *dpop.Expect) {
			delete(f.claims, "nonce")
			f.claims["htu"] = "https://access.example.com/v1/why"
		}},

		{"11: a clock six minutes slow without a nonce is told to use one", useNonce, func(f *forge, _ *dpop.Expect) {
			delete(f.claims, "nonce")
			f.claims["iat"] = noon.Add(-6 * time.Minute).Unix()
		}},
		{"11: a clock an hour slow passes with a fresh nonce", ok, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = noon.Add(-time.Hour).Unix() }},
		{"11: a clock an hour fast passes with a fresh nonce", ok, func(f *forge, _ *dpop.Expect) { f.claims["iat"] = noon.Add(time.Hour).Unix() }},
		{"11: where no nonce is demanded iat at its lower limit", ok, noNonce(-dpop.Skew)},
		{"11: one second below", bad, noNonce(-dpop.Skew - time.Second)},
		{"11: at its upper limit", ok, noNonce(dpop.Skew)},
		{"11: one second above", bad, noNonce(dpop.Skew + time.Second)},

		{"12: ath is missing", bad, func(f *forge, _ *dpop.Expect) { delete(f.claims, "ath") }},
		{"12: ath of another token", bad, func(f *forge, _ *dpop.Expect) { f.claims["ath"] = dpop.TokenHash("other") }},
		{"12: ath is the token itself", bad, func(f *forge, _ *dpop.Expect) { f.claims["ath"] = token }},
		{"12: the token is bound to another key", bad, func(_ *forge, e *dpop.Expect) { e.Thumbprint = rfcThumbprint }},
		{"12: first contact needs neither token nor bound key", ok, func(f *forge, e *dpop.Expect) {
			delete(f.claims, "ath")
			e.Token, e.Thumbprint = "", ""
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newForge(t, nonces.Issue(noon))
			e := dpop.Expect{Method: method, URL: target, Token: token, Thumbprint: f.thumbprint(), Nonce: nonces.Check, Now: noon}
			tc.spoil(f, &e)
			proof := f.proof()
			p, err := dpop.Check(proof, e)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			for _, when := range []string{"first", "second"} {
				again, err := known.Check(proof, e)
				if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || again.Thumbprint != p.Thumbprint || again.JTI != p.JTI {
					t.Fatalf("a checker that knows keys, %s time: %v", when, err)
				}
			}
			if err == nil && p.Thumbprint != f.thumbprint() {
				t.Errorf("thumbprint is %s", p.Thumbprint)
			}
			if err != nil && p.Thumbprint != "" {
				t.Error("a refused proof names a key")
			}
		})
	}
}

// TestAKnownKeyExcusesNothing spoils the proofs of a key that the checker has
// seen, one part at a time: only the header is remembered.
func TestAKnownKeyExcusesNothing(t *testing.T) {
	nonces := testNonces(t)
	f, other := newForge(t, nonces.Issue(noon)), newForge(t, nonces.Issue(noon))
	other.claims["jti"] = "another"
	e := dpop.Expect{Method: method, URL: target, Token: token, Nonce: nonces.Check, Now: noon}
	var c dpop.Checker
	for _, g := range []*forge{f, other} {
		if _, err := c.Check(g.proof(), e); err != nil {
			t.Fatal(err)
		}
	}
	good, foreign := strings.Split(f.proof()[0], "."), strings.Split(other.proof()[0], ".")
	for name, parts := range map[string][]string{
		"another key's signature":              {good[0], good[1], foreign[2]},
		"another key's payload":                {good[0], foreign[1], good[2]},
		"another known key's header":           {foreign[0], good[1], good[2]},
		"a header with one more character":     {good[0] + "A", good[1], good[2]},
		"no payload":                           {good[0], "", good[2]},
		"a payload of two parts":               {good[0], good[1][:8], good[1][8:], good[2]},
		"no signature":                         {good[0], good[1], ""},
		"a signature with one byte more":       {good[0], good[1], good[2] + "AA"},
		"only a header":                        {good[0]},
		"a header and a payload":               {good[0], good[1]},
		"a header and nothing":                 {good[0], "", ""},
		"a signature that is no base64":        {good[0], good[1], "!" + good[2][1:]},
		"a payload that is no base64":          {good[0], "!" + good[1][1:], good[2]},
		"a payload changed in its last letter": {good[0], good[1][:len(good[1])-4] + "AAAA", good[2]},
	} {
		if p, err := c.Check([]string{strings.Join(parts, ".")}, e); !errors.Is(err, dpop.ErrInvalid) || p.Thumbprint != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := c.Check(f.proof(), e); err != nil || p.Thumbprint != f.thumbprint() {
		t.Errorf("the good proof: %v", err)
	}
}

func noNonce(off time.Duration) func(*forge, *dpop.Expect) {
	return func(f *forge, e *dpop.Expect) {
		e.Nonce = nil
		f.claims["iat"] = noon.Add(off).Unix()
	}
}

func rs256(f *forge, _ *dpop.Expect) {
	priv, _ := rsa.GenerateKey(rand.Reader, 2048)
	f.header["alg"] = "RS256"
	f.header["jwk"] = object{"kty": "RSA", "n": b64(priv.N.Bytes()), "e": "AQAB"}
	f.sign = func(in []byte) []byte {
		d := sha256.Sum256(in)
		s, _ := rsa.SignPKCS1v15(rand.Reader, priv, crypto.SHA256, d[:])
		return s
	}
}

func eddsa(f *forge, _ *dpop.Expect) {
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	f.header["alg"] = "EdDSA"
	f.header["jwk"] = object{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}
	f.sign = func(in []byte) []byte { return ed25519.Sign(priv, in) }
}

func TestAProofAtTheSizeLimitIsLookedAtAndOneByteMoreIsNot(t *testing.T) {
	f := newForge(t, "")
	delete(f.claims, "nonce")
	e := dpop.Expect{Method: method, URL: target, Token: token, Now: noon}
	// The padding claim grows in steps of three characters of payload, so that
	// the length can be hit by also growing the header.
	for pad := range 8 {
		f.header["kid"] = strings.Repeat("k", pad)
		f.claims["pad"] = ""
		rest := dpop.MaxProof - len(f.proof()[0])
		f.claims["pad"] = strings.Repeat("p", rest*3/4-2)
		for len(f.proof()[0]) < dpop.MaxProof {
			f.claims["pad"] = f.claims["pad"].(string) + "p"
		}
		p := f.proof()
		if len(p[0]) > dpop.MaxProof {
			if _, err := dpop.Check(p, e); err == nil || !strings.Contains(err.Error(), "longer than") {
				t.Errorf("%d bytes: %v", len(p[0]), err)
			}
			continue
		}
		if _, err := dpop.Check(p, e); err != nil {
			t.Errorf("%d bytes: %v", len(p[0]), err)
		}
		return
	}
	t.Error("no proof had exactly the limit")
}

func FuzzCheck(f *testing.F) {
	f.Add(rfcProof)
	forged := newForge(f, "nonce")
	f.Add(forged.proof()[0])
	f.Add("..")
	f.Fuzz(func(t *testing.T, proof string) {
		p, err := dpop.Check([]string{proof}, dpop.Expect{Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0)})
		switch {
		case err == nil && (p.Thumbprint == "" || p.JTI == "" || p.Public == nil):
			t.Error("a proof passed without telling whose it is")
		case err != nil && !errors.Is(err, dpop.ErrInvalid):
			t.Errorf("error of another kind: %v", err)
		}
	})
}

func BenchmarkProof(b *testing.B) {
	key, err := dpop.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := key.Proof(method, target, "nonce", token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	nonces := testNonces(b)
	f := newForge(b, nonces.Issue(noon))
	values := f.proof()
	e := dpop.Expect{Method: method, URL: target, Token: token, Thumbprint: f.thumbprint(), Nonce: nonces.Check, Now: noon}
	var known dpop.Checker
	for name, check := range map[string]func([]string, dpop.Expect) (dpop.Proof, error){"new": dpop.Check, "known": known.Check} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := check(values, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
