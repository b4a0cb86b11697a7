// Package hello is the first message to a gateway: the control plane's ticket,
// the client's sealed hello that carries it, and the gateway's answer. After
// them the connection carries plain SSH.
//
// The ticket says who may go where, for 60 seconds. The hello proves that its
// sender holds the fresh key the ticket names, and is sealed with HPKE
// (RFC 9180) so that only the gateways it is meant for can read it; what an
// impostor at a gateway's address reads is of no use to him. The answer is
// encrypted under a secret that only the gateway which opened the hello can
// derive, so that the client knows who answered before SSH says a word.
//
// docs/protocol.md specifies the bytes.
package hello

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Limits. What is larger is refused before it is parsed.
const (
	// MaxMessage is the whole message with its head: the most that a gateway
	// reads from a stranger. The largest well-formed one is about 14 KiB.
	MaxMessage = 32 << 10
	// MaxRecipients bounds a pool: the members behind one address.
	MaxRecipients = 64
	// MaxTicket holds MaxRecipients gateway ids and every other field at its
	// longest.
	MaxTicket = 8 << 10
	// MaxTries is how many decapsulations one message may cost a gateway.
	// Key ids are 64 bits of a hash, so a second match is already an attack.
	MaxTries = 2
	// AnswerSize is the size of every answer, whatever it says: one segment,
	// and an onlooker learns nothing from its length.
	AnswerSize = 512
	// MaxKind and MaxSentence bound a refusal.
	MaxKind     = 32
	MaxSentence = 400
	// TicketLife is how long a ticket is good. It is enough to try every
	// gateway of a list and short enough to make a stolen one worthless.
	TicketLife = 60 * time.Second
	// ClockSkew is how far the issuer's clock may be ahead of the verifier's:
	// both are servers that keep time.
	ClockSkew = 5 * time.Second
)

// Domain prefixes keep a signature or key made for one purpose from being
// taken for another.
const (
	domainTicket     = "cardea ticket v1\x00"
	domainHello      = "cardea hello v1\x00"
	domainRecipients = "cardea hello recipients v1\x00"
	infoSeal         = "cardea hello seal v1"
	exportAnswer     = "cardea hello answer v1"
)

var (
	// ErrInvalid means that the input is not what an honest peer sends: cut
	// short, changed, or wrongly signed.
	ErrInvalid = errors.New("invalid hello")
	// ErrOtherKey means that the ticket is good, but was given to the holder of
	// another key. It is an ErrInvalid.
	ErrOtherKey = fmt.Errorf("%w: the ticket is for another key", ErrInvalid)
	// ErrExpired means that the ticket is good in all but its time.
	ErrExpired = errors.New("the ticket has expired")
	// ErrNotForUs means that none of our sealing keys is a recipient: the
	// sender knows an older key, or meant somebody else.
	ErrNotForUs = errors.New("the hello is sealed for other gateways")
	// ErrImpostor means that what answered holds no key of the gateways the
	// hello was sealed for.
	ErrImpostor = errors.New("whoever answered is not the gateway")
)

// KeyID names a public key: the first 8 bytes of its SHA-256.
type KeyID [8]byte

// KeyIDOf returns the id of a public key in its raw form.
func KeyIDOf(public []byte) KeyID {
	sum := sha256.Sum256(public)
	return KeyID(sum[:8])
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
