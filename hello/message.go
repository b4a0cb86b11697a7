package hello

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// A message is
//
//	magic      8 bytes
//	length     4 bytes, big-endian: how many bytes follow
//	count      1 byte, 1 to MaxRecipients
//	recipients count × (key id 8, encapsulated key 32, wrapped content key 32)
//	body       AES-128-GCM of the claim under the content key
//
// The additional data of each wrapped key is the magic, the count, and all key
// ids and encapsulated keys; that of the body is everything before it.
const (
	magicHello = "cardea\x00\x01"
	headSize   = len(magicHello) + 4
	slotSize   = len(KeyID{}) + encSize + wrappedSize
)

type slot struct {
	id           KeyID
	enc, wrapped []byte
}

// envelope is a parsed message; its slices point into the message.
type envelope struct {
	slots []slot
	head  []byte // all that comes before the body
	body  []byte
}

// ReadMessage reads exactly one message from the start of a connection, and
// not a byte more: what follows belongs to SSH. It allocates nothing for a
// length that is refused. Set a deadline first.
func ReadMessage(r io.Reader) ([]byte, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:len(magicHello)]); err != nil {
		return nil, fmt.Errorf("read hello: %w", err)
	}
	if string(head[:len(magicHello)]) != magicHello {
		return nil, invalid("the first bytes are no hello of this version")
	}
	if _, err := io.ReadFull(r, head[len(magicHello):]); err != nil {
		return nil, fmt.Errorf("read hello: %w", err)
	}
	n := binary.BigEndian.Uint32(head[len(magicHello):])
	if n > uint32(MaxMessage-headSize) {
		return nil, invalid("longer than %d bytes", MaxMessage)
	}
	message := make([]byte, headSize+int(n))
	copy(message, head[:])
	if _, err := io.ReadFull(r, message[headSize:]); err != nil {
		return nil, fmt.Errorf("read hello: %w", err)
	}
	return message, nil
}

func parseMessage(m []byte) (envelope, error) {
	if len(m) > MaxMessage {
		return envelope{}, invalid("longer than %d bytes", MaxMessage)
	}
	if len(m) < headSize+1 || string(m[:len(magicHello)]) != magicHello {
		return envelope{}, invalid("no hello of this version")
	}
	if int64(binary.BigEndian.Uint32(m[len(magicHello):])) != int64(len(m)-headSize) {
		return envelope{}, invalid("length does not match")
	}
	count := int(m[headSize])
	bodyAt := headSize + 1 + count*slotSize
	if count == 0 || count > MaxRecipients || len(m) < bodyAt+tagSize {
		return envelope{}, invalid("no recipient, too many, or cut short")
	}
	e := envelope{head: m[:bodyAt:bodyAt], body: m[bodyAt:]}
	s := cryptobyte.String(m[headSize+1 : bodyAt])
	seen := make(map[KeyID]bool, count)
	for range count {
		var x slot
		if !s.CopyBytes(x.id[:]) || !s.ReadBytes(&x.enc, encSize) || !s.ReadBytes(&x.wrapped, wrappedSize) {
			return envelope{}, invalid("cut short")
		}
		if seen[x.id] {
			return envelope{}, invalid("a recipient stands there twice")
		}
		seen[x.id] = true
		e.slots = append(e.slots, x)
	}
	return e, nil
}

// wrapData is the additional data of the wrapped keys: it ties each to the
// whole list, so that none can be moved to another message.
func wrapData(slots []slot) []byte {
	b := append([]byte(magicHello), byte(len(slots)))
	for _, s := range slots {
		b = append(append(b, s.id[:]...), s.enc...)
	}
	return b
}

// recipientsHash is what the client signs of the list: without it a recipient
// could seal the hello anew for a gateway of his own choice.
func recipientsHash(slots []slot) [32]byte {
	h := sha256.New()
	h.Write([]byte(domainRecipients))
	h.Write([]byte{byte(len(slots))})
	for _, s := range slots {
		h.Write(s.id[:])
		h.Write(s.enc)
		h.Write(s.wrapped)
	}
	return [32]byte(h.Sum(nil))
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("hello: the size of a content key is fixed: " + err.Error())
	}
	g, err := cipher.NewGCM(block)
	if err != nil {
		panic("hello: " + err.Error())
	}
	return g
}
