package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/cardea-ssh/cardea/login/tpm/tpmtest"
)

func TestAKeyOfTheTPMSigns(t *testing.T) {
	chip := tpmtest.Start(t)
	text, err := Create(chip.Path)
	must(t, err)
	k, err := Parse(chip.Path, text)
	must(t, err)
	defer k.Close()
	for _, message := range []string{"one", "two"} {
		verifies(t, k, message)
	}
	k.Close()
	verifies(t, k, "after it was unloaded")

	again, err := Parse(chip.Path, text)
	must(t, err)
	defer again.Close()
	verifies(t, again, "by another process")
	if !again.public.Equal(k.public) {
		t.Error("the same blob gave two keys")
	}
}

func TestTheKeyOutlivesAStartOfTheTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	k := made(t, chip.Path)
	verifies(t, k, "before")
	chip.Restart()
	verifies(t, k, "after, by a process that had loaded it")
}

func TestABlobIsWorthlessInAnotherTPM(t *testing.T) {
	text, err := Create(tpmtest.Start(t).Path)
	must(t, err)
	thief := tpmtest.Start(t)
	k, err := Parse(thief.Path, text)
	must(t, err)
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, tpm2.TPMRCIntegrity) {
		t.Errorf("another TPM says %v, want that the blob's integrity is lost", err)
	}
	// The places in that TPM are free again: nothing of the failures stays there.
	for range 5 {
		k.Sign(nil, make([]byte, 32), crypto.SHA256)
	}
	verifies(t, made(t, thief.Path), "a key of its own")
}

func TestManyKeysAndSignersShareFewPlaces(t *testing.T) {
	chip := tpmtest.Start(t) // three places for loaded keys
	for range 6 {
		k := made(t, chip.Path)
		verifies(t, k, "loaded")
		k.Close()
	}
	k := made(t, chip.Path)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { verifies(t, k, "at once") })
	}
	all.Wait()
}

func TestOnlySHA256IsSigned(t *testing.T) {
	k := made(t, tpmtest.Start(t).Path)
	for name, c := range map[string]struct {
		digest []byte
		hash   crypto.Hash
	}{
		"another hash":      {make([]byte, 32), crypto.SHA512_256},
		"a digest too long": {make([]byte, 33), crypto.SHA256},
		"no digest":         {nil, crypto.SHA256},
	} {
		if _, err := k.Sign(nil, c.digest, c.hash); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestWithoutATPM(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, path := range map[string]string{"nothing there": filepath.Join(dir, "none"), "a file there": file, "a device that is no TPM": os.DevNull} {
		_, err := Create(path)
		if err == nil {
			t.Fatalf("%s: a key was made", name)
		}
		if name != "a device that is no TPM" && !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlobsThatAreNotOurs(t *testing.T) {
	chip := tpmtest.Start(t)
	text, err := Create(chip.Path)
	must(t, err)
	block, _ := pem.Decode(text)
	var good keyFile
	_, err = asn1.Unmarshal(block.Bytes, &good)
	must(t, err)
	change := func(do func(*keyFile)) []byte {
		f := good
		do(&f)
		der, err := asn1.Marshal(f)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der})
	}
	imported := change(func(f *keyFile) {
		public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](f.Public)
		must(t, err)
		in, err := public.Contents()
		must(t, err)
		in.ObjectAttributes.SensitiveDataOrigin = false
		f.Public = tpm2.Marshal(tpm2.New2B(*in))
	})
	off := change(func(f *keyFile) { f.Public = bytes.Clone(f.Public); f.Public[len(f.Public)-1] ^= 1 })
	for name, text := range map[string][]byte{
		"nothing":                        nil,
		"another type of PEM":            bytes.ReplaceAll(text, []byte("TSS2 "), nil),
		"something after it":             append(bytes.Clone(text), 'x'),
		"not ASN.1":                      pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: []byte("x")}),
		"with a password":                change(func(f *keyFile) { f.EmptyAuth = false }),
		"under another parent":           change(func(f *keyFile) { f.Parent = 0x81000002 }),
		"of another type":                change(func(f *keyFile) { f.Type = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 5} }),
		"with too large a part":          change(func(f *keyFile) { f.Private = make([]byte, maxBlob+1) }),
		"whose public part is cut":       change(func(f *keyFile) { f.Public = f.Public[:20] }),
		"whose private part is cut":      change(func(f *keyFile) { f.Private = f.Private[:20] }),
		"that was imported into the TPM": imported,
		"whose point is off the curve":   off,
	} {
		if k, err := Parse(chip.Path, text); err == nil {
			t.Errorf("a blob %s was taken: %v", name, k.public)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN TSS2 PRIVATE " + "KEY-----\nMAA=\n-----END TSS2 PRIVATE " + "KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := Parse("none", text); (err == nil) != (k != nil) {
			t.Errorf("%v, %v", k, err)
		}
	})
}

func made(t *testing.T, path string) *Key {
	t.Helper()
	text, err := Create(path)
	must(t, err)
	k, err := Parse(path, text)
	must(t, err)
	t.Cleanup(k.Close)
	return k
}

func verifies(t *testing.T, k *Key, message string) {
	t.Helper()
	digest := sha256.Sum256([]byte(message))
	signature, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Errorf("%s: %v", message, err)
	} else if !ecdsa.VerifyASN1(k.public, digest[:], signature) {
		t.Errorf("%s: the signature is wrong", message)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// liar passes commands on, and spoils what comes back from a signature.
type liar struct{ transport.TPMCloser }

func (l liar) Send(command []byte) ([]byte, error) {
	out, err := l.TPMCloser.Send(command)
	if err == nil && len(out) > 80 {
		out[len(out)-30] ^= 1
	}
	return out, err
}

func TestASignatureThatIsWrongIsNotReturned(t *testing.T) {
	k := made(t, tpmtest.Start(t).Path)
	verifies(t, k, "right")
	k.mu.Lock()
	k.wire = liar{k.wire}
	_, err := k.sign(make([]byte, 32))
	k.mu.Unlock()
	if err == nil {
		t.Error("a spoilt signature was returned")
	}
	verifies(t, k, "right again")
}
