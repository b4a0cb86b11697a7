package tpm

import (
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// PEMType marks the blob of a key (draft-bottomley-tpm2-keys, section 3.1).
const PEMType = "TSS2 PRIVATE KEY"

// maxBlob bounds each part of a blob, in bytes. Those of a P-256 key have less than
// 200; both carry their length in 16 bits.
const maxBlob = 1 << 10

// loadable is the type of a key that has to be loaded under its parent.
var loadable = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// keyFile is TPMKey of the draft. Fields that stand for passwords and policies are
// absent: who finds them has another program's key before him.
type keyFile struct {
	Type      asn1.ObjectIdentifier
	EmptyAuth bool `asn1:"optional,explicit,tag:0"`
	Parent    int64
	Public    []byte // TPM2B_PUBLIC
	Private   []byte // TPM2B_PRIVATE
}

type blob struct {
	// parent is where the key was made: keptRoot, or the hierarchy of a root that was made
	// for it. Other programs need to know it; we try both.
	parent  tpm2.TPMHandle
	public  tpm2.TPM2BPublic
	private tpm2.TPM2BPrivate
}

func encode(b blob) ([]byte, error) {
	der, err := asn1.Marshal(keyFile{
		Type: loadable, EmptyAuth: true, Parent: int64(b.parent),
		Public: tpm2.Marshal(b.public), Private: tpm2.Marshal(b.private),
	})
	if err != nil {
		return nil, fmt.Errorf("write the key's blob: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der}), nil
}

func decode(text []byte) (blob, error) {
	var b blob
	block, rest := pem.Decode(text)
	if block == nil || block.Type != PEMType || len(rest) != 0 {
		return b, errors.New("is not one PEM block of type " + PEMType)
	}
	var f keyFile
	rest, err := asn1.Unmarshal(block.Bytes, &f)
	switch {
	case err != nil:
		return b, fmt.Errorf("is no key of a TPM: %w", err)
	case len(rest) != 0, !f.Type.Equal(loadable), !f.EmptyAuth, f.Parent != int64(tpm2.TPMRHOwner) && f.Parent != int64(keptRoot):
		return b, errors.New("is a key of a TPM, but none of ours")
	case len(f.Public) > maxBlob, len(f.Private) > maxBlob:
		return b, fmt.Errorf("has a part of more than %d bytes", maxBlob)
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](f.Public)
	if err != nil {
		return b, fmt.Errorf("public part: %w", err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](f.Private)
	if err != nil {
		return b, fmt.Errorf("private part: %w", err)
	}
	return blob{tpm2.TPMHandle(f.Parent), *public, *private}, nil
}
