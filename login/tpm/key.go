package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Key is a key in a TPM. It is a crypto.Signer over SHA-256 digests, and safe for
// concurrent use; the TPM does one thing at a time. The key is loaded when it is first
// used, and stays so until Close.
type Key struct {
	path   string
	blob   blob
	public *ecdsa.PublicKey

	mu     sync.Mutex
	wire   transport.TPMCloser // guarded by mu; nil while the key is not loaded
	handle tpm2.NamedHandle    // guarded by mu
}

// Parse reads what Create returned. It does not ask the TPM at path.
func Parse(path string, text []byte) (*Key, error) {
	b, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("identity key %w", err)
	}
	public, err := publicKey(b.public)
	if err != nil {
		return nil, fmt.Errorf("identity key %w", err)
	}
	return &Key{path: path, blob: b, public: public}, nil
}

// Public is an *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign returns the ASN.1 signature of a SHA-256 digest. The randomness is the TPM's.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("the TPM's key signs SHA-256 digests only")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	again := k.wire != nil
	signature, err := k.sign(digest)
	if err != nil && again {
		// A machine that slept, or whose TPM was started anew, has forgotten the key.
		k.unload()
		signature, err = k.sign(digest)
	}
	if err != nil {
		k.unload()
		return nil, fmt.Errorf("sign with the TPM: %w", err)
	}
	return signature, nil
}

// sign is called with mu held.
func (k *Key) sign(digest []byte) ([]byte, error) {
	if k.wire == nil {
		wire, err := open(k.path)
		if err != nil {
			return nil, err
		}
		if k.handle, err = load(wire, k.blob); err != nil {
			wire.Close()
			return nil, err
		}
		k.wire = wire
	}
	out, err := tpm2.Sign{
		KeyHandle: k.handle, Digest: tpm2.TPM2BDigest{Buffer: digest},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(k.wire)
	if err != nil {
		return nil, err
	}
	pair, err := out.Signature.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	r, s := new(big.Int).SetBytes(pair.SignatureR.Buffer), new(big.Int).SetBytes(pair.SignatureS.Buffer)
	// A chip that errs says so here, not as a sign-in that nobody can explain.
	if !ecdsa.Verify(k.public, digest, r, s) {
		return nil, errors.New("it returned a signature that its key does not verify")
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(r)
		b.AddASN1BigInt(s)
	})
	return b.Bytes()
}

// Close unloads the key. The next Sign loads it again.
func (k *Key) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unload()
}

// unload is called with mu held.
func (k *Key) unload() {
	if k.wire == nil {
		return
	}
	flush(k.wire, k.handle.Handle)
	k.wire.Close()
	k.wire = nil
}
