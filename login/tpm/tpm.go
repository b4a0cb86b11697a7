// Package tpm keeps one P-256 key in the TPM 2.0 of this machine, so that whoever
// copies every file of a user still cannot sign as his device.
//
// The TPM makes the key itself, under its storage root key, and hands it out only
// encrypted to itself. That blob is what lies on disk, in the form of TPM 2.0 Key
// Files ("TSS2 PRIVATE KEY", which OpenSSL's provider reads too). Nothing has a
// password: the blob is of use to this TPM alone, and what protects it from other
// users of the machine is the mode of its file. Nothing secret goes over the wire to
// the chip either: digests go in, signatures come out.
//
// The layouts are those of the Trusted Computing Group's TPM 2.0 Library, parts 2 and
// 3, and the storage root key is that of its Provisioning Guidance, section 7.5.1: the one
// that the machine keeps, or one made for the moment.
package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Patience is how long a software TPM may take for one command; the kernel bounds a
// chip's. Slow chips need a second for a key; what needs more is stuck.
const Patience = 20 * time.Second

// coordinate is the size of one of P-256, in bytes.
const coordinate = 32

// ErrAbsent is wrapped when there is no TPM to speak to, and fs.ErrPermission when
// there is one that this user may not speak to.
var ErrAbsent = errors.New("this machine has no TPM 2.0")

// Create has the TPM at path make a key, and returns its blob in PEM.
func Create(path string) ([]byte, error) {
	var text []byte
	err := with(path, func(t transport.TPM) error {
		return underRoot(t, func(r root) error {
			made, err := tpm2.Create{ParentHandle: r.NamedHandle, InPublic: tpm2.New2B(template())}.Execute(t)
			if err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			text, err = encode(blob{parent: r.kept, public: made.OutPublic, private: made.OutPrivate})
			return err
		})
	})
	return text, err
}

// load returns the handle of the key in the TPM.
func load(t transport.TPM, b blob) (tpm2.NamedHandle, error) {
	var out tpm2.NamedHandle
	err := underRoot(t, func(r root) error {
		in, err := tpm2.Load{ParentHandle: r.NamedHandle, InPrivate: b.private, InPublic: b.public}.Execute(t)
		if err != nil {
			return fmt.Errorf("load the key: %w", err)
		}
		out = tpm2.NamedHandle{Handle: in.ObjectHandle, Name: in.Name}
		return nil
	})
	return out, err
}

// flush makes room in the TPM, which has few places. What cannot be flushed is gone.
func flush(t transport.TPM, h tpm2.TPMHandle) { tpm2.FlushContext{FlushHandle: h}.Execute(t) }

// template is of a key for ES256 and nothing else (RFC 7518, section 3.4). It takes
// no part in the lockout after wrong passwords, because it has none.
func template() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, // made there, to stay there
			UserWithAuth: true, NoDA: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
	}
}

// publicKey refuses a key that the TPM did not make for itself: its private half may
// be known to others.
func publicKey(in tpm2.TPM2BPublic) (*ecdsa.PublicKey, error) {
	public, err := in.Contents()
	if err != nil {
		return nil, fmt.Errorf("public part: %w", err)
	}
	of := public.ObjectAttributes
	if !of.FixedTPM || !of.FixedParent || !of.SensitiveDataOrigin || !of.SignEncrypt || of.Restricted {
		return nil, errors.New("is not a signing key that was made in a TPM to stay there")
	}
	if public.Type != tpm2.TPMAlgECC {
		return nil, errors.New("is not a P-256 key")
	}
	params, err := public.Parameters.ECCDetail()
	if err != nil || params.CurveID != tpm2.TPMECCNistP256 {
		return nil, errors.New("is not a P-256 key")
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("public part: %w", err)
	}
	x, y := point.X.Buffer, point.Y.Buffer
	if len(x) > coordinate || len(y) > coordinate {
		return nil, errors.New("is not a P-256 key")
	}
	raw := make([]byte, 1+2*coordinate) // SEC 1, section 2.3.3
	raw[0] = 4
	copy(raw[1+coordinate-len(x):], x)
	copy(raw[1+2*coordinate-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil, fmt.Errorf("public part: %w", err)
	}
	return key, nil
}
