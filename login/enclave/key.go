package enclave

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Key is a key in the Secure Enclave. It is a crypto.Signer over SHA-256 digests, and safe
// for concurrent use; it does one thing at a time. The key is restored when it is
// first used, and stays so until Close.
type Key struct {
	blob   []byte
	public *ecdsa.PublicKey
	system func() (chip, error)

	mu   sync.Mutex
	held handle // guarded by mu; nil while the key is not restored
}

// Parse reads what Create returned. It does not ask the Secure Enclave.
func Parse(text []byte) (*Key, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	k, err := parse(text, system)
	if err != nil {
		return nil, fmt.Errorf("the key file %w", err)
	}
	return k, nil
}

func parse(text []byte, system func() (chip, error)) (*Key, error) {
	f, err := decode(text)
	if err != nil {
		return nil, err
	}
	public, err := publicKey(f.Point)
	if err != nil {
		return nil, err
	}
	return &Key{blob: f.Blob, public: public, system: system}, nil
}

// Public is an *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign returns the ASN.1 signature of a SHA-256 digest. The randomness is the Secure
// Enclave's.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("the Secure Enclave's key signs SHA-256 digests only")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// One that was held may be stale: the daemon behind it ends as it likes.
	for again := k.held != nil; ; again = false {
		signature, err := k.sign(digest)
		if err == nil {
			return signature, nil
		}
		k.unload()
		if !again {
			return nil, fmt.Errorf("sign with the Secure Enclave: %w", err)
		}
	}
}

// sign is called with mu held.
func (k *Key) sign(digest []byte) ([]byte, error) {
	if k.held == nil {
		c, err := k.system()
		if err != nil {
			return nil, err
		}
		if k.held, err = c.restore(oldKey(k.blob)); err != nil {
			k.held = nil
			return nil, err
		}
	}
	signature, err := k.held.sign(es256, digest)
	if err != nil {
		return nil, err
	}
	// macOS that ignores the blob signs with a new key. Said here, it is no sign-in that
	// nobody can explain.
	if !ecdsa.VerifyASN1(k.public, digest, signature) {
		return nil, errors.New("it signed with another key than the one that was made")
	}
	return signature, nil
}

// Close lets go of the key. The next Sign restores it again.
func (k *Key) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unload()
}

// unload is called with mu held.
func (k *Key) unload() {
	if k.held != nil {
		k.held.release()
		k.held = nil
	}
}
