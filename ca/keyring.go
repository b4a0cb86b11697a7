package ca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"gocloud.dev/secrets"
	"golang.org/x/crypto/ssh"
)

// Keyring opens stored keys and keeps them open, so that the keeper (perhaps a cloud
// service) is asked once for each key and not once for each certificate. It is safe for
// concurrent use.
type Keyring struct {
	keeper *secrets.Keeper

	mu   sync.Mutex
	open map[cacheKey]*entry
}

// cacheKey is everything that opening depends on: a row that was changed, or read under
// another scope, is another entry.
type cacheKey struct {
	ref    Ref
	sealed [sha256.Size]byte
}

// entry is one key. Its lock is held while the keeper is asked, so that many callers ask
// once, and those of other keys do not wait.
type entry struct {
	mu     sync.Mutex
	done   bool
	secret Secret
}

// NewKeyring makes an empty keyring. The keeper stays the caller's to close.
func NewKeyring(keeper *secrets.Keeper) *Keyring {
	return &Keyring{keeper: keeper, open: map[cacheKey]*entry{}}
}

// Authority opens an SSH certificate authority.
func (k *Keyring) Authority(ctx context.Context, r Record) (*Authority, error) {
	if !r.Purpose.authority() {
		return nil, fmt.Errorf("key %s is for %s and not an SSH authority", r.ID, r.Purpose)
	}
	secret, err := k.secret(ctx, r)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromSigner(secret.ed25519())
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", r.ID, err)
	}
	return &Authority{ref: r.Ref, public: signer.PublicKey(), signer: func() ssh.Signer { return signer }}, nil
}

// Signer opens the Ed25519 key that signs desired state or tickets.
func (k *Keyring) Signer(ctx context.Context, r Record) (*Signer, error) {
	if r.Purpose != Policy && r.Purpose != Ticket {
		return nil, fmt.Errorf("key %s is for %s and signs nothing but that", r.ID, r.Purpose)
	}
	secret, err := k.secret(ctx, r)
	if err != nil {
		return nil, err
	}
	return newSigner(r.Ref, secret), nil
}

// Symmetric opens a symmetric secret.
func (k *Keyring) Symmetric(ctx context.Context, r Record) (Secret, error) {
	if r.Purpose != Nonce && r.Purpose != Cookie {
		return Secret{}, fmt.Errorf("key %s is for %s and is never revealed", r.ID, r.Purpose)
	}
	return k.secret(ctx, r)
}

// secret returns the opened key of r. The public half is derived again and compared with
// the stored one: the seal does not cover that column, and what is published must be what
// signs.
func (k *Keyring) secret(ctx context.Context, r Record) (Secret, error) {
	e := k.entry(cacheKey{r.Ref, sha256.Sum256(r.Sealed)})
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.done {
		secret, err := Open(ctx, k.keeper, r.Ref, r.Sealed)
		if err != nil {
			return Secret{}, err
		}
		e.secret, e.done = secret, true
	}
	public, fingerprint, err := e.secret.public(r.Purpose)
	if err != nil {
		return Secret{}, err
	}
	if !bytes.Equal(bytes.TrimSpace(public), bytes.TrimSpace(r.Public)) || fingerprint != r.Fingerprint {
		return Secret{}, fmt.Errorf("key %s: the stored public half is not that of the private one", r.ID)
	}
	return e.secret, nil
}

func (k *Keyring) entry(key cacheKey) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.open[key]
	if e == nil {
		e = &entry{}
		k.open[key] = e
	}
	return e
}
