package enclave

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// PEMType marks the file of a key.
const PEMType = "CARDEA ENCLAVE KEY"

// version is that of keyFile. A reader refuses what it does not know.
const version = 1

// maxBlob bounds a blob, in bytes. Those seen have less than 600; Apple promises nothing.
const maxBlob = 8 << 10

// keyFile is what lies on disk, in DER.
type keyFile struct {
	Version int
	Point   []byte // the public key: X9.63, uncompressed
	Blob    []byte // the private key, encrypted by the Secure Enclave to itself
}

func encode(f keyFile) ([]byte, error) {
	if len(f.Blob) > maxBlob {
		return nil, fmt.Errorf("the key's blob has %d bytes, %d are the limit", len(f.Blob), maxBlob)
	}
	der, err := asn1.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write the key's blob: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der}), nil
}

func decode(text []byte) (keyFile, error) {
	var f keyFile
	block, rest := pem.Decode(text)
	if block == nil || block.Type != PEMType || len(rest) != 0 {
		return f, errors.New("is not one PEM block of type " + PEMType)
	}
	rest, err := asn1.Unmarshal(block.Bytes, &f)
	switch {
	case err != nil:
		return f, fmt.Errorf("holds no key of a Secure Enclave: %w", err)
	case len(rest) != 0:
		return f, errors.New("holds more than a key of a Secure Enclave")
	case f.Version != version:
		return f, fmt.Errorf("is of version %d, and this cardea knows %d", f.Version, version)
	case len(f.Blob) == 0, len(f.Blob) > maxBlob:
		return f, fmt.Errorf("has a blob of %d bytes, 1 to %d are possible", len(f.Blob), maxBlob)
	}
	return f, nil
}

// publicKey reads a point as SecKeyCopyExternalRepresentation writes it.
func publicKey(point []byte) (*ecdsa.PublicKey, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("has no P-256 key: %w", err)
	}
	return key, nil
}
