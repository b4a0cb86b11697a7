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
	aead  cipher.AEAD
	bound []byte // what every frame of the segment is bound to
}

func newSealer(secret, salt []byte, session string, segment int) (*sealer, error) {
	bound := binary.BigEndian.AppendUint32([]byte("cardea recording 1 frame\n"), uint32(segment))
	bound = append(bound, session...)
	key, err := hkdf.Key(sha256.New, secret, salt, "cardea recording 1 segment\n"+string(bound[len(bound)-len(session)-4:]), keySize)
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
	return &sealer{aead: aead, bound: bound}, nil
}

// terms are the nonce and the associated data of a frame, in the room that is given.
func (s *sealer) terms(room []byte, kind byte, number uint32) (nonce, bound []byte) {
	room = append(room[:0], 0, 0, 0, 0, 0, 0, 0, 0)
	room = binary.BigEndian.AppendUint32(room, number)
	room = append(room, s.bound...)
	room = append(room, kind)
	room = binary.BigEndian.AppendUint32(room, number)
	return room[:12], room[12:]
}

// seal encrypts b[from:] where it stands, and appends the tag.
func (s *sealer) seal(b []byte, from int, kind byte, number uint32) []byte {
	var room [128]byte
	nonce, bound := s.terms(room[:], kind, number)
	return s.aead.Seal(b[:from], nonce, b[from:], bound)
}

// open decrypts the body of a frame into dst.
func (s *sealer) open(dst, body []byte, kind byte, number uint32) ([]byte, error) {
	var room [128]byte
	nonce, bound := s.terms(room[:], kind, number)
	plain, err := s.aead.Open(dst[:0], nonce, body, bound)
	if err != nil {
		return nil, errors.New("a frame does not decrypt")
	}
	return plain, nil
}
