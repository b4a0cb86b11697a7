//go:build darwin && enclave

package enclave

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"testing"
)

// On a Mac: go test -tags enclave ./login/enclave
func TestAKeyOfThisMacSigns(t *testing.T) {
	text, err := Create()
	if errors.Is(err, ErrAbsent) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	digest := sha256.Sum256([]byte("one"))
	for range 2 {
		k, err := Parse(text)
		must(t, err)
		for range 2 {
			signature, err := k.Sign(nil, digest[:], crypto.SHA256)
			must(t, err)
			if !ecdsa.VerifyASN1(k.public, digest[:], signature) {
				t.Error("the signature is wrong")
			}
		}
		k.Close()
	}
}

func TestABlobThatIsSpoiltIsRefusedByThisMac(t *testing.T) {
	text, err := Create()
	if errors.Is(err, ErrAbsent) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	f, err := decode(text)
	must(t, err)
	f.Blob[len(f.Blob)/2] ^= 1
	text, err = encode(f)
	must(t, err)
	k, err := Parse(text)
	must(t, err)
	defer k.Close()
	if signature, err := k.Sign(nil, make([]byte, sha256.Size), crypto.SHA256); err == nil {
		t.Errorf("it signed %x", signature)
	}
}
