package ca

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"gocloud.dev/secrets"
)

const (
	// sealedVersion begins every sealed key, so that another format can follow.
	sealedVersion = 1
	// maxWrapped bounds the wrapped data key, bytes. Cloud services answer with a few hundred.
	maxWrapped = 8192
	// sealDomain begins the associated data and keeps it apart from that of any other use.
	sealDomain = "cardea sealed key v1\x00"
)

// ErrSealed means that a key cannot be opened: it is damaged, another keeper wrapped it, or
// it stands in a row that is not its own. Which of them, nobody can tell from outside.
var ErrSealed = errors.New("the sealed key does not open")

// Create makes a new key and seals it. Its private part exists nowhere else.
func Create(ctx context.Context, keeper *secrets.Keeper, ref Ref) (Record, error) {
	if err := ref.check(); err != nil {
		return Record{}, err
	}
	secret := generate()
	public, fingerprint, err := secret.public(ref.Purpose)
	if err != nil {
		return Record{}, err
	}
	sealed, err := Seal(ctx, keeper, ref, secret)
	if err != nil {
		return Record{}, err
	}
	return Record{Ref: ref, Public: public, Fingerprint: fingerprint, Sealed: sealed}, nil
}

// Seal encrypts a private key for its place. The result is
//
//	version 1 | length of wrapped, 2 bytes | wrapped data key | nonce, 12 bytes | AES-256-GCM
//
// where the keeper wraps a random data key used for this alone, and the associated data is
// id, scope and purpose, each with its length before it.
func Seal(ctx context.Context, keeper *secrets.Keeper, ref Ref, private Secret) ([]byte, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	return seal(ctx, keeper, "key "+ref.ID, ref.associated(), private.bytes()[:])
}

// Open decrypts what Seal made for the same ref. Errors wrap ErrSealed, unless the keeper
// could not be asked.
func Open(ctx context.Context, keeper *secrets.Keeper, ref Ref, sealed []byte) (Secret, error) {
	if err := ref.check(); err != nil {
		return Secret{}, err
	}
	plain, err := open(ctx, keeper, "key "+ref.ID, ref.associated(), sealed)
	if err != nil {
		return Secret{}, err
	}
	defer clear(plain)
	return newSecret(plain)
}

// seal is Seal for any bytes; what names them in errors.
func seal(ctx context.Context, keeper *secrets.Keeper, what string, associated, plain []byte) ([]byte, error) {
	var dataKey [32]byte
	rand.Read(dataKey[:])
	defer clear(dataKey[:])
	wrapped, err := keeper.Encrypt(ctx, dataKey[:])
	if err != nil {
		return nil, fmt.Errorf("seal %s: the keeper refused: %w", what, err)
	}
	if len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("seal %s: the keeper's answer has %d bytes, more than %d", what, len(wrapped), maxWrapped)
	}
	gcm, err := newGCM(dataKey[:])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	out := append(make([]byte, 0, 3+len(wrapped)+len(nonce)+len(plain)+gcm.Overhead()), sealedVersion)
	out = binary.BigEndian.AppendUint16(out, uint16(len(wrapped)))
	out = append(append(out, wrapped...), nonce...)
	return gcm.Seal(out, nonce, plain, associated), nil
}

// open is the opposite of seal.
func open(ctx context.Context, keeper *secrets.Keeper, what string, associated, sealed []byte) ([]byte, error) {
	wrapped, rest, ok := splitSealed(sealed)
	if !ok {
		return nil, fmt.Errorf("open %s: %w", what, ErrSealed)
	}
	dataKey, err := keeper.Decrypt(ctx, wrapped)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (is this the right key file or key service?): %w", what, ErrSealed, err)
	}
	defer clear(dataKey)
	gcm, err := newGCM(dataKey)
	if err != nil || len(rest) < gcm.NonceSize() {
		return nil, fmt.Errorf("open %s: %w", what, ErrSealed)
	}
	plain, err := gcm.Open(nil, rest[:gcm.NonceSize()], rest[gcm.NonceSize():], associated)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", what, ErrSealed)
	}
	return plain, nil
}

func splitSealed(sealed []byte) (wrapped, rest []byte, ok bool) {
	if len(sealed) < 3 || sealed[0] != sealedVersion {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(sealed[1:]))
	if n > maxWrapped || len(sealed) < 3+n {
		return nil, nil, false
	}
	return sealed[3 : 3+n], sealed[3+n:], true
}

// associated is bound to the key: its three names.
func (r Ref) associated() []byte {
	return associated(sealDomain, r.ID, r.Scope, string(r.Purpose))
}

// associated writes names so that no others give the same bytes.
func associated(domain string, names ...string) []byte {
	out := []byte(domain)
	for _, s := range names {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	return out
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("data key does not have 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
