package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// keptRoot is where a machine keeps its storage root key for all programs, so that none
// has to make it, which takes a real chip up to a second (TPM 2.0 Provisioning Guidance).
const keptRoot tpm2.TPMHandle = 0x81000001

// root is a storage root key.
type root struct {
	tpm2.NamedHandle
	kept tpm2.TPMHandle // keptRoot, or the hierarchy of one made for the moment
}

// underRoot runs do with the root that the machine keeps, if it has one that fits, and else,
// or where that one comes to nothing, with one made for the moment. That is the same each
// time, because it comes from the TPM's own seed and a fixed template: a key that was made
// under it is found again whatever the machine keeps since.
func underRoot(t transport.TPM, do func(root) error) error {
	r, ok := kept(t)
	if !ok {
		return underMade(t, do)
	}
	if do(r) == nil {
		return nil
	}
	return underMade(t, do)
}

// kept looks at the root that the machine keeps. What does not answer is not there.
func kept(t transport.TPM) (root, bool) {
	out, err := tpm2.ReadPublic{ObjectHandle: keptRoot}.Execute(t)
	if err != nil {
		return root{}, false
	}
	public, err := out.OutPublic.Contents()
	if err != nil || !fits(public) {
		return root{}, false
	}
	return root{tpm2.NamedHandle{Handle: keptRoot, Name: out.Name}, keptRoot}, true
}

// fits tells whether a key is as the guidance has a storage root key (section 7.5.1), RSA or
// elliptic. NoDA matters most: at one without it a wrong password, which ours would be
// where the owner set one, counts towards the lockout of the whole TPM.
func fits(public *tpm2.TPMTPublic) bool {
	want := tpm2.ECCSRKTemplate.ObjectAttributes
	return public.ObjectAttributes == want && len(public.AuthPolicy.Buffer) == 0 &&
		(public.Type == tpm2.TPMAlgECC || public.Type == tpm2.TPMAlgRSA)
}

// underMade runs do with a root made for it.
func underMade(t transport.TPM, do func(root) error) error {
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("make the storage root key: %w", err)
	}
	defer flush(t, made.ObjectHandle)
	return do(root{tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, tpm2.TPMRHOwner})
}
