package api

import "crypto/sha256"

// confirmAlphabet has 32 characters, none of which looks like another.
const confirmAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// confirmHalf is the number of characters on each side of the hyphen: 40 bits
// in all, far more than an attacker can try for before a sign-in is over.
const confirmHalf = 4

const confirmDomain = "cardea confirmation code v1\x00"

// ConfirmationCode is what a person compares between the terminal that began a
// sign-in and the page that asks to confirm it, such as "K7QM-2XWA". Both
// sides compute it of the authorization request's code_challenge and dpop_jkt,
// so the page of a sign-in that somebody else began shows another one.
func ConfirmationCode(challenge, thumbprint string) string {
	sum := sha256.Sum256([]byte(confirmDomain + challenge + "\x00" + thumbprint))
	code := make([]byte, 0, 2*confirmHalf+1)
	for i, b := range sum[:2*confirmHalf] {
		if i == confirmHalf {
			code = append(code, '-')
		}
		code = append(code, confirmAlphabet[int(b)%len(confirmAlphabet)])
	}
	return string(code)
}
