package sso

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/control/sso/ssotest"
)

// What a token says in its head of the key that it is signed with (RFC 7515 section 4.1) is the
// word of whoever made it: no key comes from there, and no address is asked because of it.
func TestAHeadBringsNoKey(t *testing.T) {
	s := newScene(t)
	mallory := ssotest.New(t)
	own := newKey(t)
	signed := func(key any, algorithm jose.SignatureAlgorithm, head map[jose.HeaderKey]any) func(map[string]any, jose.JSONWebKey) string {
		return func(c map[string]any, good jose.JSONWebKey) string {
			if key == nil {
				key, algorithm = good.Key, jose.SignatureAlgorithm(good.Algorithm)
			}
			if _, ok := head["kid"]; !ok {
				head["kid"] = good.KeyID
			}
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, &jose.SignerOptions{ExtraHeaders: head})
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := json.Marshal(c) // plain values
			out, err := signer.Sign(raw)
			if err != nil {
				t.Fatal(err)
			}
			text, err := out.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	public, err := jose.JSONWebKey{Key: own.Public(), KeyID: "mine", Algorithm: "ES256", Use: "sig"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	at := mallory.URL() + "/jwks"
	for name, sign := range map[string]func(map[string]any, jose.JSONWebKey) string{
		"a key in the head":                   signed(own, jose.ES256, map[jose.HeaderKey]any{"jwk": json.RawMessage(public)}),
		"the address of keys":                 signed(own, jose.ES256, map[jose.HeaderKey]any{"jku": at}),
		"the address of certificates":         signed(own, jose.ES256, map[jose.HeaderKey]any{"x5u": at}),
		"an address for the key's name":       signed(own, jose.ES256, map[jose.HeaderKey]any{"kid": at}),
		"a way out of the set for its name":   signed(own, jose.ES256, map[jose.HeaderKey]any{"kid": "../../../../dev/null"}),
		"no name, and another's signature":    signed(own, jose.ES256, map[jose.HeaderKey]any{"kid": ""}),
		"an extension that must be respected": signed(nil, "", map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}),
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.issuers = New(Options{Roots: s.provider.Roots(), Now: s.now}) // with a ration of its own
			s.provider.Behave()
			s.provider.Sign(sign)
			s.refused(Forged, "")
		})
	}
	s.t = t
	s.provider.Sign(signed(nil, "", map[jose.HeaderKey]any{"typ": "JWT"}))
	if _, err := s.signIn(); err != nil {
		t.Errorf("the provider's own: %v", err)
	}
	if n := mallory.Hits("/jwks"); n != 0 {
		t.Errorf("mallory was asked %d times", n)
	}
}
