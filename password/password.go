// Package password keeps the passwords of local accounts: argon2id hashes
// (RFC 9106) in the PHC string form, and a queue that bounds what checking
// them may cost, because it is the one thing that a stranger can make the
// control plane work hard for.
package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Costs of new hashes: 19 MiB, two passes, one lane, which is what OWASP asks
// for at least; about 30 ms of one core.
const (
	memory = 19 << 10 // KiB
	passes = 2
	lanes  = 1
	saltSize,
	keySize = 16, 32
)

// Costs that a stored hash may ask for: a row that somebody wrote into the
// database must not be able to take all memory.
const (
	maxMemory = 64 << 10 // KiB
	maxPasses = 8
)

// MaxLength bounds a password in bytes before it is looked at. It is above
// every rule for choosing one.
const MaxLength = 1024

// ErrMalformed means that a stored hash is not one of ours.
var ErrMalformed = errors.New("malformed password hash")

var encoding = base64.RawStdEncoding.Strict()

// Hash makes the text that the store keeps.
func Hash(password string) (string, error) {
	if len(password) > MaxLength {
		return "", fmt.Errorf("the password is longer than %d bytes", MaxLength)
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, passes, memory, lanes, keySize)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes,
		encoding.EncodeToString(salt), encoding.EncodeToString(key)), nil
}

// Verify reports whether password is the one that hash was made of. For an
// empty hash, which stands for an account that is not there or has no password,
// it works as hard and says no, so that time tells nobody which accounts exist.
func Verify(hash, password string) (bool, error) {
	p := parsed{memory: memory, passes: passes, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	if hash != "" {
		var err error
		if p, err = parse(hash); err != nil {
			return false, err
		}
	}
	long := len(password) > MaxLength
	if long {
		password = password[:MaxLength]
	}
	key := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, lanes, uint32(len(p.key)))
	same := subtle.ConstantTimeCompare(key, p.key) == 1
	return same && hash != "" && !long, nil
}

type parsed struct {
	memory, passes uint32
	salt, key      []byte
}

func parse(hash string) (parsed, error) {
	var p parsed
	var version int
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return p, ErrMalformed
	}
	if _, err := fmt.Sscanf(fields[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, ErrMalformed
	}
	var one uint32 // lanes; the comparison below checks it, and that nothing follows
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &one); err != nil || fields[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.passes, lanes) {
		return p, ErrMalformed
	}
	var err1, err2 error
	p.salt, err1 = encoding.DecodeString(fields[4])
	p.key, err2 = encoding.DecodeString(fields[5])
	switch {
	case err1 != nil, err2 != nil, len(p.salt) != saltSize, len(p.key) != keySize:
		return p, ErrMalformed
	case p.memory < 8*lanes, p.memory > maxMemory, p.passes < 1, p.passes > maxPasses:
		return p, ErrMalformed
	}
	return p, nil
}
