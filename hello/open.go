package hello

import (
	"crypto/hpke"
	"sync/atomic"
	"time"
)

// Opener opens hellos with a gateway's sealing keys: the current one and those
// it still keeps. The zero value opens nothing. Safe for concurrent use.
type Opener struct {
	keys atomic.Pointer[map[KeyID]*SealingKey]
}

// SetKeys replaces the keys.
func (o *Opener) SetKeys(keys ...*SealingKey) {
	m := make(map[KeyID]*SealingKey, len(keys))
	for _, k := range keys {
		m[k.id] = k
	}
	o.keys.Store(&m)
}

// Opened is a hello whose form, seal, recipients and fresh-key signature are
// right. Its ticket is not checked yet: call VerifyTicket.
type Opened struct {
	// Claim is what the gateway posts to the control plane.
	Claim []byte
	// Key is the sealing key that opened it.
	Key KeyID
	// Nonce is unique to this attempt.
	Nonce [32]byte

	claim   claim
	answer  []byte   // key of the answer
	message [32]byte // hash of the message, bound into the answer
}

// Open opens a message. The error wraps ErrNotForUs if no key of ours is among
// the recipients, else ErrInvalid; neither can be answered, because the sender
// shares no secret with us: close the connection.
func (o *Opener) Open(message []byte) (*Opened, error) {
	e, err := parseMessage(message)
	if err != nil {
		return nil, err
	}
	keys := o.keys.Load()
	if keys == nil {
		return nil, ErrNotForUs
	}
	tries := 0
	for _, s := range e.slots {
		key, ours := (*keys)[s.id]
		if !ours {
			continue
		}
		if tries++; tries > MaxTries {
			break
		}
		if opened, ok := openSlot(key, s, e); ok {
			return opened.check(e, message)
		}
	}
	if tries == 0 {
		return nil, ErrNotForUs
	}
	return nil, invalid("the seal does not open")
}

func openSlot(key *SealingKey, s slot, e envelope) (*Opened, bool) {
	r, err := hpke.NewRecipient(s.enc, key.priv, kdf(), aead(), []byte(infoSeal))
	if err != nil {
		return nil, false
	}
	content, err := r.Open(wrapData(e.slots), s.wrapped)
	if err != nil || len(content) != contentSize {
		return nil, false
	}
	g := gcm(content)
	plain, err := g.Open(nil, make([]byte, g.NonceSize()), e.body, e.head)
	if err != nil {
		return nil, false
	}
	answer, err := r.Export(exportAnswer, contentSize)
	if err != nil {
		return nil, false
	}
	return &Opened{Claim: plain, Key: key.id, answer: answer}, true
}

func (o *Opened) check(e envelope, message []byte) (*Opened, error) {
	c, err := parseClaim(o.Claim)
	if err != nil {
		return nil, err
	}
	if c.recipients != recipientsHash(e.slots) {
		return nil, invalid("signed for other recipients")
	}
	o.claim, o.Nonce, o.message = c, c.nonce, [32]byte(messageHash(message))
	return o, nil
}

// VerifyTicket checks the ticket's signature and time, and that it names the
// key that signed the hello. The caller checks that it names this gateway. With
// ErrExpired and ErrOtherKey the ticket is returned for the record alone.
func (o *Opened) VerifyTicket(keys TicketKeys, now time.Time) (Ticket, error) {
	return o.claim.verifyTicket(keys, now)
}
