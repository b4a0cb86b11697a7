package hello

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// Fingerprint returns the SHA-256 of a public key in SSH wire form, which is
// what a ticket names.
func Fingerprint(public ssh.PublicKey) [32]byte { return sha256.Sum256(public.Marshal()) }

// Seal makes the message for every gateway that may answer at one address, and
// the keys with which to read the answer. Each call draws a new nonce, so each
// attempt at a gateway needs its own. now is the client's clock, for the
// record.
func Seal(fresh crypto.Signer, ticket []byte, recipients []Recipient, now time.Time) ([]byte, AnswerKeys, error) {
	if len(recipients) == 0 || len(recipients) > MaxRecipients {
		return nil, AnswerKeys{}, fmt.Errorf("seal hello: %d recipients, want 1 to %d", len(recipients), MaxRecipients)
	}
	if len(ticket) > MaxTicket {
		return nil, AnswerKeys{}, fmt.Errorf("seal hello: ticket is longer than %d bytes", MaxTicket)
	}
	slots, keys, content, err := wrap(recipients)
	if err != nil {
		return nil, AnswerKeys{}, fmt.Errorf("seal hello: %w", err)
	}
	plain, err := makeClaim(fresh, ticket, slots, now)
	if err != nil {
		return nil, AnswerKeys{}, fmt.Errorf("seal hello: %w", err)
	}
	message := assemble(slots, content, plain)
	if len(message) > MaxMessage {
		return nil, AnswerKeys{}, fmt.Errorf("seal hello: longer than %d bytes", MaxMessage)
	}
	return message, AnswerKeys{Message: messageHash(message), Keys: keys}, nil
}

func makeClaim(fresh crypto.Signer, ticket []byte, slots []slot, now time.Time) ([]byte, error) {
	pub, ok := fresh.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the fresh key is not an Ed25519 key")
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	c := claim{ticket: ticket, time: now, publicKey: sshPub.Marshal(), recipients: recipientsHash(slots)}
	rand.Read(c.nonce[:])
	return c.sign(fresh)
}

// wrap draws a content key and wraps it for each recipient. First all keys are
// encapsulated, since the additional data of each wrapping names them all.
func wrap(recipients []Recipient) (slots []slot, keys []AnswerKey, content []byte, err error) {
	slots = make([]slot, len(recipients))
	senders := make([]*hpke.Sender, len(recipients))
	seen := make(map[KeyID]bool, len(recipients))
	for i, r := range recipients {
		pub, err := kem().NewPublicKey(r.PublicKey)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("sealing key of gateway %s: %w", r.Gateway, err)
		}
		slots[i].id = KeyIDOf(r.PublicKey)
		if seen[slots[i].id] {
			return nil, nil, nil, fmt.Errorf("gateway %s has the sealing key of another", r.Gateway)
		}
		seen[slots[i].id] = true
		slots[i].enc, senders[i], err = hpke.NewSender(pub, kdf(), aead(), []byte(infoSeal))
		if err != nil {
			return nil, nil, nil, fmt.Errorf("sealing key of gateway %s: %w", r.Gateway, err)
		}
	}
	content = make([]byte, contentSize)
	rand.Read(content)
	aad := wrapData(slots)
	for i, r := range recipients {
		if slots[i].wrapped, err = senders[i].Seal(aad, content); err != nil {
			return nil, nil, nil, err
		}
		secret, err := senders[i].Export(exportAnswer, contentSize)
		if err != nil {
			return nil, nil, nil, err
		}
		keys = append(keys, AnswerKey{Gateway: r.Gateway, KeyID: slots[i].id[:], Secret: secret})
	}
	return slots, keys, content, nil
}

func assemble(slots []slot, content, plain []byte) []byte {
	n := 1 + len(slots)*slotSize + len(plain) + tagSize
	m := make([]byte, 0, headSize+n)
	m = append(m, magicHello...)
	m = binary.BigEndian.AppendUint32(m, uint32(n))
	m = append(m, byte(len(slots)))
	for _, s := range slots {
		m = append(append(append(m, s.id[:]...), s.enc...), s.wrapped...)
	}
	g := gcm(content)
	// The content key seals this one body, so a constant nonce is safe.
	return append(m, g.Seal(nil, make([]byte, g.NonceSize()), plain, m)...)
}
