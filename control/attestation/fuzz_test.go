package attestation

import (
	"encoding/base64"
	"testing"
)

// Whatever a stranger sends: refused, never a panic, and never believed.
func FuzzSignedDocument(f *testing.F) {
	aws := newSigner(f, 2048, "Amazon", nil)
	v, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{aws.sign(f, document()), aws.sign(f, ""), base64.StdEncoding.EncodeToString([]byte{0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0}), ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if facts, err := parseAWSDocument(text, v.aws); err == nil {
			t.Errorf("AWS is said to vouch for %+v", facts)
		}
		if d, err := parseSigned(text); err == nil {
			d.p7.GetOnlySigner()
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AA", []byte(`{"aud":"a","google":{"compute_engine":{"zone":"europe-west3-a"}}}`))
	f.Fuzz(func(t *testing.T, token string, claims []byte) {
		parseToken(token)
		if facts, err := readClaims(claims, "a", start); err == nil && facts.ID() == "gcp//" {
			t.Errorf("an instance without a name: %+v", facts)
		}
		if facts, err := readAttested(claims, "n", start); err == nil && facts.Instance == "" {
			t.Errorf("a machine without an id: %+v", facts)
		}
	})
}
