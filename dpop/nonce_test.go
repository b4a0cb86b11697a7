package dpop_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/dpop"
)

func TestNonces(t *testing.T) {
	oldSecret, newSecret := bytes.Repeat([]byte("o"), dpop.MinNonceSecret), bytes.Repeat([]byte("n"), dpop.MinNonceSecret)
	make := func(secrets ...[]byte) *dpop.Nonces {
		n, err := dpop.NewNonces(dpop.NonceTTL, secrets...)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, during, after := make(oldSecret), make(newSecret, oldSecret), make(newSecret)
	flipped := []byte(before.Issue(noon))
	flipped[3] ^= 1
	for _, tc := range []struct {
		name    string
		checker *dpop.Nonces
		nonce   string
		age     time.Duration
		ok      bool
	}{
		{"a nonce is good at once", before, before.Issue(noon), 0, true},
		{"at the end of its life", before, before.Issue(noon), dpop.NonceTTL, true},
		{"not a moment longer", before, before.Issue(noon), dpop.NonceTTL + 1, false},
		{"an instance whose clock is a little behind takes it", before, before.Issue(noon), -dpop.NonceAhead, true},
		{"one whose clock is more behind does not", before, before.Issue(noon), -dpop.NonceAhead - 1, false},
		{"a nonce of the old secret is good while the secret is rotated", during, before.Issue(noon), 0, true},
		{"new nonces are of the new secret", after, during.Issue(noon), 0, true},
		{"a nonce of a dropped secret is refused", after, before.Issue(noon), 0, false},
		{"a changed time is refused", before, string(flipped), 0, false},
		{"an empty nonce is refused", before, "", 0, false},
		{"padding is refused", before, before.Issue(noon) + "=", 0, false},
		{"a line end is refused", before, before.Issue(noon) + "\n", 0, false},
		{"a prefix is refused", before, before.Issue(noon)[:30], 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.checker.Check(tc.nonce, noon.Add(tc.age)); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNoncesWantALongSecret(t *testing.T) {
	for name, secrets := range map[string][][]byte{
		"no secret":                       nil,
		"a short secret":                  {make([]byte, dpop.MinNonceSecret-1)},
		"a short one behind a proper one": {make([]byte, dpop.MinNonceSecret), nil},
	} {
		if _, err := dpop.NewNonces(dpop.NonceTTL, secrets...); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
