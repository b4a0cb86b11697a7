package hello

import (
	"crypto"
	"time"
)

// What an attacker would write for himself.

// SealClaim seals a claim, whoever signed it, for other recipients.
func SealClaim(claim []byte, recipients []Recipient) ([]byte, error) {
	slots, _, content, err := wrap(recipients)
	if err != nil {
		return nil, err
	}
	return assemble(slots, content, claim), nil
}

// SealSpoilt seals as Seal does, but the first n wrapped keys are garbage.
func SealSpoilt(fresh crypto.Signer, ticket []byte, recipients []Recipient, n int) ([]byte, error) {
	slots, _, content, err := wrap(recipients)
	if err != nil {
		return nil, err
	}
	for i := range n {
		slots[i].wrapped[0] ^= 1
	}
	plain, err := makeClaim(fresh, ticket, slots, time.Time{}.AddDate(2025, 0, 0))
	if err != nil {
		return nil, err
	}
	return assemble(slots, content, plain), nil
}

// SignClaim makes a claim with any public key in it.
func SignClaim(fresh crypto.Signer, ticket, publicKey []byte, now time.Time) ([]byte, error) {
	return claim{ticket: ticket, time: now, publicKey: publicKey}.sign(fresh)
}

// Reprint parses a claim and encodes it again, without its signature.
func Reprint(raw []byte) ([]byte, error) {
	c, err := parseClaim(raw)
	if err != nil {
		return nil, err
	}
	return c.body()
}

// SealAnswer makes an answer of any text, as a gateway with a fault might.
func (o *Opened) SealAnswer(text []byte) []byte { return o.sealText(text) }

// TextSize is the size of the text of an answer.
const TextSize = textSize

// SealingKeyOf makes a sealing key of its 32 private bytes, for vectors.
func SealingKeyOf(private []byte) (*SealingKey, error) {
	priv, err := kem().NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return &SealingKey{id: KeyIDOf(priv.PublicKey().Bytes()), priv: priv}, nil
}
