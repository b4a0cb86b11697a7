package tpm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/cardea-ssh/cardea/login/tpm/tpmtest"
)

// keep has the TPM keep a primary key of this template where machines keep the storage root
// key, in place of the one there, if any. A nil template keeps none.
func keep(t *testing.T, path string, template *tpm2.TPMTPublic, password string) {
	t.Helper()
	must(t, with(path, func(w transport.TPM) error {
		if old, err := (tpm2.ReadPublic{ObjectHandle: keptRoot}).Execute(w); err == nil {
			_, err := tpm2.EvictControl{
				Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: keptRoot, Name: old.Name}, PersistentHandle: tpm2.TPMIDHPersistent(keptRoot),
			}.Execute(w)
			if err != nil {
				return err
			}
		}
		if template == nil {
			return nil
		}
		made, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(*template),
			InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}},
		}.Execute(w)
		if err != nil {
			return err
		}
		defer flush(w, made.ObjectHandle)
		_, err = tpm2.EvictControl{
			Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, PersistentHandle: tpm2.TPMIDHPersistent(keptRoot),
		}.Execute(w)
		return err
	}))
}

// counting notes which commands pass.
type counting struct {
	transport.TPM
	sent []tpm2.TPMCC
}

func (c *counting) Send(command []byte) ([]byte, error) {
	c.sent = append(c.sent, tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])))
	return c.TPM.Send(command)
}

// loads tells whether the blob can be loaded, and whether a root had to be made for it.
func loads(t *testing.T, path string, b blob) (made bool, err error) {
	t.Helper()
	must(t, with(path, func(w transport.TPM) error {
		c := &counting{TPM: w}
		var h tpm2.NamedHandle
		if h, err = load(c, b); err == nil {
			flush(w, h.Handle)
		}
		made = slices.Contains(c.sent, tpm2.TPMCCCreatePrimary)
		return nil
	}))
	return made, err
}

func change(template tpm2.TPMTPublic, do func(*tpm2.TPMTPublic)) *tpm2.TPMTPublic {
	do(&template)
	return &template
}

func TestTheRootThatTheMachineKeepsIsUsedIfItFits(t *testing.T) {
	chip := tpmtest.Start(t)
	other := tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	var before []blob // of keys that were made earlier, with another root there or none
	for _, tc := range []struct {
		name     string
		root     *tpm2.TPMTPublic
		password string
		used     bool
	}{
		{"none", nil, "", false},
		{"elliptic, as ours", &tpm2.ECCSRKTemplate, "", true},
		{"elliptic, of another tool", change(tpm2.ECCSRKTemplate, func(p *tpm2.TPMTPublic) { p.Unique = other }), "", true},
		{"RSA", &tpm2.RSASRKTemplate, "", true},
		{"with a password", &tpm2.ECCSRKTemplate, "hunter2", false},
		{"whose wrong passwords lock the TPM", change(tpm2.ECCSRKTemplate, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = false }), "", false},
		{"that signs", change(template(), func(*tpm2.TPMTPublic) {}), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keep(t, chip.Path, tc.root, tc.password)
			text, err := Create(chip.Path)
			must(t, err)
			b, err := decode(text)
			must(t, err)
			if got := b.parent == keptRoot; got != tc.used {
				t.Errorf("the key's parent is %#x", uint32(b.parent))
			}
			if made, err := loads(t, chip.Path, b); err != nil || made == tc.used {
				t.Errorf("to load it a root was made: %v, %v", made, err)
			}
			k, err := Parse(chip.Path, text)
			must(t, err)
			defer k.Close()
			verifies(t, k, tc.name)
			for i, old := range before {
				if _, err := loads(t, chip.Path, old); err != nil {
					t.Errorf("key %d, which was made before: %v", i, err)
				}
			}
			if b.parent == tpm2.TPMRHOwner {
				before = append(before, b)
			}
		})
	}
	if len(before) < 2 {
		t.Error(fmt.Sprint("keys under a root made for them: ", len(before)))
	}
}

// Somebody clears away what the machine keeps: a key under the root of the guidance's own
// template is found again, and one under another tool's is lost, and said so.
func TestAKeyWhoseRootIsNotKeptAnyMore(t *testing.T) {
	chip := tpmtest.Start(t)
	keep(t, chip.Path, &tpm2.ECCSRKTemplate, "")
	ours, err := Create(chip.Path)
	must(t, err)
	keep(t, chip.Path, &tpm2.RSASRKTemplate, "")
	others, err := Create(chip.Path)
	must(t, err)
	keep(t, chip.Path, nil, "")
	for text, lost := range map[string]bool{string(ours): false, string(others): true} {
		b, err := decode([]byte(text))
		must(t, err)
		if made, err := loads(t, chip.Path, b); !made || (err != nil) != lost {
			t.Errorf("lost %v: a root was made: %v, %v", lost, made, err)
		}
	}
}

// A password that is tried at a root without noDA counts towards the lockout of the whole
// TPM: such a one is not even tried.
func TestOnlyARootAsTheGuidanceHasItFits(t *testing.T) {
	ecc := tpm2.ECCSRKTemplate
	for name, tc := range map[string]struct {
		root *tpm2.TPMTPublic
		want bool
	}{
		"elliptic":                 {&ecc, true},
		"RSA":                      {&tpm2.RSASRKTemplate, true},
		"without noDA":             {change(ecc, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = false }), false},
		"that may leave the TPM":   {change(ecc, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }), false},
		"that came from elsewhere": {change(ecc, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }), false},
		"by policy":                {change(ecc, func(p *tpm2.TPMTPublic) { p.AuthPolicy = tpm2.TPM2BDigest{Buffer: make([]byte, 32)} }), false},
		"symmetric":                {change(ecc, func(p *tpm2.TPMTPublic) { p.Type = tpm2.TPMAlgSymCipher }), false},
		"that signs":               {change(template(), func(*tpm2.TPMTPublic) {}), false},
	} {
		if got := fits(tc.root); got != tc.want {
			t.Errorf("a root %s: %v", name, got)
		}
	}
}
