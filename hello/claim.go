package hello

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"
)

const claimVersion = 1

// maxPublicKey bounds the SSH form of the fresh key; Ed25519 takes 51 bytes.
const maxPublicKey = 128

// claim is the plaintext of a hello, which the gateway passes on as it is:
//
//	version     1 byte
//	ticket      2 bytes length, bytes
//	time        8 bytes, seconds, the client's clock
//	nonce       32 bytes
//	public key  2 bytes length, SSH wire form
//	recipients  32 bytes, hash of the recipients
//	signature   64 bytes, Ed25519 by the fresh key over domain prefix and all that
//
// The time is kept for the record only. A client's clock may be an hour wrong;
// what makes a claim fresh is the expiry of its ticket, by the control plane's
// clock, and what makes it single is the nonce.
type claim struct {
	ticket     []byte
	time       time.Time
	nonce      [32]byte
	publicKey  []byte
	recipients [32]byte
}

// Claim is a verified claim, as the control plane sees it.
type Claim struct {
	Ticket         Ticket
	Nonce          [32]byte // claim it exactly once
	KeyFingerprint [32]byte // equals Ticket.KeyFingerprint
	PublicKey      []byte   // SSH wire form
	ClientTime     time.Time
}

// VerifyClaim checks what a gateway passes on: the form, the fresh key's
// signature, the ticket's signature and time, and that the ticket names that
// key. The caller checks that the gateway which sent it is one of the ticket's,
// and claims the nonce. The error wraps ErrExpired if only the time is wrong,
// and ErrOtherKey if only the key is; the claim is returned then too, in the
// second case nothing but its ticket, for the record.
func VerifyClaim(raw []byte, keys TicketKeys, now time.Time) (Claim, error) {
	c, err := parseClaim(raw)
	if err != nil {
		return Claim{}, err
	}
	t, err := c.verifyTicket(keys, now)
	if errors.Is(err, ErrOtherKey) {
		return Claim{Ticket: t}, err
	}
	if err != nil && !errors.Is(err, ErrExpired) {
		return Claim{}, err
	}
	return Claim{
		Ticket: t, Nonce: c.nonce, KeyFingerprint: t.KeyFingerprint, PublicKey: c.publicKey, ClientTime: c.time,
	}, err
}

// verifyTicket also checks that the ticket names the key of the claim.
func (c claim) verifyTicket(keys TicketKeys, now time.Time) (Ticket, error) {
	t, err := VerifyTicket(keys, c.ticket, now)
	if err != nil && !errors.Is(err, ErrExpired) {
		return Ticket{}, err
	}
	if t.KeyFingerprint != sha256.Sum256(c.publicKey) {
		return t, ErrOtherKey
	}
	return t, err
}

func (c claim) body() ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(claimVersion)
	addString(b, string(c.ticket))
	b.AddUint64(uint64(c.time.Unix()))
	b.AddBytes(c.nonce[:])
	addString(b, string(c.publicKey))
	b.AddBytes(c.recipients[:])
	return b.Bytes()
}

// sign returns the claim as it is sealed.
func (c claim) sign(fresh crypto.Signer) ([]byte, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	sig, err := fresh.Sign(rand.Reader, append([]byte(domainHello), body...), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign hello: %w", err)
	}
	return append(body, sig...), nil
}

// parseClaim reads the one encoding and checks the fresh key's signature.
func parseClaim(raw []byte) (claim, error) {
	var (
		c            claim
		version      uint8
		ticket, blob cryptobyte.String
		seconds      uint64
	)
	if len(raw) > MaxMessage {
		return c, invalid("longer than %d bytes", MaxMessage)
	}
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != claimVersion {
		return c, invalid("of another version")
	}
	if !s.ReadUint16LengthPrefixed(&ticket) || !s.ReadUint64(&seconds) || !s.CopyBytes(c.nonce[:]) ||
		!s.ReadUint16LengthPrefixed(&blob) || !s.CopyBytes(c.recipients[:]) || len(s) != ed25519.SignatureSize {
		return c, invalid("cut short or bytes left over")
	}
	if len(ticket) > MaxTicket || seconds > maxTime {
		return c, invalid("over-long ticket or impossible time")
	}
	key, err := parseFreshKey(blob)
	if err != nil {
		return c, err
	}
	if !ed25519.Verify(key, append([]byte(domainHello), raw[:len(raw)-len(s)]...), s) {
		return c, invalid("signature does not verify")
	}
	c.ticket, c.publicKey, c.time = ticket, blob, time.Unix(int64(seconds), 0)
	return c, nil
}

// parseFreshKey takes Ed25519 alone, in its one encoding, and no certificate:
// it reads the two fields itself, so that nothing nested is ever parsed.
func parseFreshKey(blob []byte) (ed25519.PublicKey, error) {
	var name, key cryptobyte.String
	if len(blob) > maxPublicKey {
		return nil, invalid("over-long public key")
	}
	s := cryptobyte.String(blob)
	if !readSSHString(&s, &name) || !readSSHString(&s, &key) || len(s) != 0 ||
		string(name) != ssh.KeyAlgoED25519 || len(key) != ed25519.PublicKeySize {
		return nil, invalid("the public key is no plain Ed25519 key")
	}
	return ed25519.PublicKey(key), nil
}

// readSSHString reads the string of RFC 4251 section 5.
func readSSHString(s, out *cryptobyte.String) bool {
	var n uint32
	return s.ReadUint32(&n) && n <= maxPublicKey && s.ReadBytes((*[]byte)(out), int(n))
}
