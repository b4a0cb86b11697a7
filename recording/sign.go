package recording

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// domain begins every message that is signed, so that a signature is good for
// nothing else.
const domain = "cardea recording 1 signature\n"

// KeyID names a key that signs recordings: the first 8 bytes of its SHA-256, in hex.
func KeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:keyIDSize])
}

const keyIDSize = 8

// seal of a signed frame: when, and by which key. An end has more.
type signed struct {
	At    time.Duration // since the session began: the last event before it
	Wall  time.Time     // by the clock of who signs, to the millisecond
	Key   string
	Lost  int64  // of an end: bytes of the file that were dropped or cannot be read
	Cause string // of an end
}

// signedSize is the body of a signed frame without cause and signature.
const signedSize = 8 + 8 + keyIDSize

// toSign is what a signature is over. It names session and segment although the link
// stands for them too: behind damage nothing else would tie a signature to its place,
// and one of another session could stand there.
func toSign(where []byte, parts ...[]byte) []byte {
	message := append([]byte(domain), byte(len(where)))
	message = append(message, where...)
	return append(message, slices.Concat(parts...)...)
}

// appendSigned writes the body and signs it, in the segment that where names. b holds
// the link before the frame and 8 empty bytes, as putFrame has it.
func appendSigned(b []byte, kind byte, number uint32, s signed, where []byte, key ed25519.PrivateKey) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("no key to sign the recording with")
	}
	id, _ := hex.DecodeString(KeyID(public))
	b = binary.BigEndian.AppendUint64(b, uint64(s.At))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Wall.UnixMilli()))
	b = append(b, id...)
	if kind == frameEnd {
		if len(s.Cause) > MaxCause {
			return nil, fmt.Errorf("the cause %q is longer than %d bytes", s.Cause, MaxCause)
		}
		b = binary.BigEndian.AppendUint64(b, uint64(s.Lost))
		b = append(b, byte(len(s.Cause)))
		b = append(b, s.Cause...)
	}
	length := len(b) - linkSize - headerSize + ed25519.SignatureSize
	binary.BigEndian.PutUint32(b[linkSize:], uint32(kind)<<24|uint32(length))
	binary.BigEndian.PutUint32(b[linkSize+4:], number)
	message := toSign(where, b)
	signature := ed25519.Sign(key, message)
	// A fault of the machine while signing can give the key away, and makes a
	// recording that nobody can verify: better to know now.
	if !ed25519.Verify(public, message, signature) {
		return nil, errors.New("the signature that was just made is wrong; this machine cannot be trusted")
	}
	return putFrame(append(b, signature...), kind, number), nil
}

// parseSigned reads the body of a signed frame. The signature is the caller's.
func parseSigned(kind byte, body []byte) (signed, error) {
	var s signed
	rest := body
	if len(rest) < signedSize+ed25519.SignatureSize {
		return s, ErrFormat
	}
	s.At = time.Duration(binary.BigEndian.Uint64(rest))
	s.Wall = time.UnixMilli(int64(binary.BigEndian.Uint64(rest[8:]))).UTC()
	s.Key = hex.EncodeToString(rest[16:signedSize])
	rest = rest[signedSize : len(rest)-ed25519.SignatureSize]
	if kind == frameEnd {
		if len(rest) < 9 || len(rest)-9 != int(rest[8]) || rest[8] > MaxCause {
			return s, ErrFormat
		}
		s.Lost, s.Cause = int64(binary.BigEndian.Uint64(rest)), string(rest[9:])
		rest = nil
	}
	if len(rest) > 0 || s.At < 0 || s.Lost < 0 {
		return s, ErrFormat
	}
	return s, nil
}

// checkSigned reports whether the frame's signature is that of the key, for the segment
// that where names.
func checkSigned(f frame, where []byte, public ed25519.PublicKey) bool {
	if len(public) != ed25519.PublicKeySize || len(f.body) < ed25519.SignatureSize {
		return false
	}
	at := len(f.body) - ed25519.SignatureSize
	return ed25519.Verify(public, toSign(where, f.before[:], f.header[:], f.body[:at]), f.body[at:])
}
