package recording

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// MaxRecipients bounds who can read a recording: each costs room in every segment.
const MaxRecipients = 16

// keySize is that of the session key and of the segment keys, in bytes: AES-256.
const keySize = 32

// saltSize is that of the salt in a segment's head, in bytes.
const saltSize = 16

// ParseRecipients reads recipients as age writes them, one in each string: age1…,
// post-quantum age1pq1…, or an ssh-ed25519 public key. age does not mix
// post-quantum recipients with others: what one of those can read is only as safe
// as that one.
func ParseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, errors.New("no recipient is given who could read the recording; give an age public key")
	}
	if len(texts) > MaxRecipients {
		return nil, fmt.Errorf("%d recipients are too many; at most %d can be given", len(texts), MaxRecipients)
	}
	var all []age.Recipient
	hybrid := 0
	for i, text := range texts {
		r, err := parseRecipient(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i+1, err)
		}
		if _, ok := r.(*age.HybridRecipient); ok {
			hybrid++
		}
		all = append(all, r)
	}
	if hybrid > 0 && hybrid < len(all) {
		return nil, errors.New("post-quantum recipients (age1pq1…) cannot be mixed with others; give those of one kind")
	}
	return all, nil
}

// parseRecipient says nothing of what it could not read: people paste the wrong half.
func parseRecipient(text string) (age.Recipient, error) {
	var r age.Recipient
	var err error
	switch {
	case strings.HasPrefix(text, "age1pq1"):
		r, err = age.ParseHybridRecipient(text)
	case strings.HasPrefix(text, "age1"):
		r, err = age.ParseX25519Recipient(text)
	case strings.HasPrefix(text, "ssh-ed25519 "):
		r, err = agessh.ParseRecipient(text)
	default:
		err = errors.New("unknown kind")
	}
	if err != nil {
		return nil, errors.New("this is no public key of age (age1…) and no ssh-ed25519 key")
	}
	return r, nil
}

// wrap encrypts the session key to all recipients, as an age file.
func wrap(secret []byte, recipients []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err != nil {
		return nil, fmt.Errorf("wrap the session key: %w", err)
	}
	if _, err := w.Write(secret); err != nil {
		return nil, fmt.Errorf("wrap the session key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("wrap the session key: %w", err)
	}
	return b.Bytes(), nil
}

// ErrNoIdentity says that none of the identities can read a recording.
var ErrNoIdentity = errors.New("none of the identities is a recipient of this recording")

// unwrap finds the session key.
func unwrap(wrapped []byte, identities []age.Identity) ([]byte, error) {
	if len(identities) == 0 {
		return nil, ErrNoIdentity
	}
	r, err := age.Decrypt(bytes.NewReader(wrapped), identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrNoIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap the session key: %w", err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, keySize+1))
	if err != nil {
		return nil, fmt.Errorf("unwrap the session key: %w", err)
	}
	if len(secret) != keySize {
		return nil, fmt.Errorf("unwrap the session key: %w", ErrFormat)
	}
	return secret, nil
}

// sealer encrypts and decrypts the frames of one segment. Its key is of this segment
// alone and each number is used once, so a nonce is never used again.
type sealer struct {
	aead cipher.AEAD
	// terms are nonce and associated data: 12 bytes, and what every frame of the segment
	// is bound to, then its kind and number. Used by one at a time.
	terms []byte
}

// where names a segment in what its key and frames are bound to.
func where(session string, segment int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(segment)), session...)
}

func deriveKey(secret, salt, where []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, "cardea recording 1 segment\n"+string(where), keySize)
}

func newSealer(secret, salt []byte, session string, segment int) (*sealer, error) {
	where := where(session, segment)
	key, err := deriveKey(secret, salt, where)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a segment: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a segment: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a segment: %w", err)
	}
	terms := append(make([]byte, nonceSize), "cardea recording 1 frame\n"...)
	terms = append(append(terms, where...), 0, 0, 0, 0, 0)
	return &sealer{aead: aead, terms: terms}, nil
}

// nonceSize is that of AES-GCM: 8 bytes of zero, and the number of the frame.
const nonceSize = 12

// of returns nonce and associated data of a frame.
func (s *sealer) of(kind byte, number uint32) (nonce, bound []byte) {
	binary.BigEndian.PutUint32(s.terms[nonceSize-4:], number)
	end := s.terms[len(s.terms)-5:]
	end[0] = kind
	binary.BigEndian.PutUint32(end[1:], number)
	return s.terms[:nonceSize], s.terms[nonceSize:]
}

// seal encrypts b[from:] where it stands, and appends the tag.
func (s *sealer) seal(b []byte, from int, kind byte, number uint32) []byte {
	nonce, bound := s.of(kind, number)
	return s.aead.Seal(b[:from], nonce, b[from:], bound)
}

// open decrypts the body of a frame into dst.
func (s *sealer) open(dst, body []byte, kind byte, number uint32) ([]byte, error) {
	nonce, bound := s.of(kind, number)
	plain, err := s.aead.Open(dst[:0], nonce, body, bound)
	if err != nil {
		return nil, errors.New("a frame does not decrypt")
	}
	return plain, nil
}
