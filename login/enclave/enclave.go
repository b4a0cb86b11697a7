// Package enclave keeps one P-256 key in the Secure Enclave of this Mac, so that whoever
// copies every file of a user still cannot sign as his device.
//
// The Secure Enclave makes the key itself and hands it out only encrypted to itself.
// That blob lies on disk beside the public key, in the folder whose device it is; no
// keychain holds anything. So no entitlement is needed, which a program can only have
// that an Apple developer's account signed: a keychain that takes such keys (the "data
// protection" one) refuses every other program with errSecMissingEntitlement. What
// protects the blob from other users of the Mac is the mode of its file. It is good from
// the first unlock after each start of the Mac, on this Mac alone, and asks for no finger:
// one signs with each request.
//
// All of it is Apple's Security.framework (SecKey.h, SecItem.h, SecAccessControl.h),
// which is called without cgo, behind the build tag "enclave"; any other build has
// [ErrAbsent]. The frameworks are loaded when a key is made or first signs. Two things are
// not in Apple's documentation: the name of the attribute that holds the blob, which
// its published source calls kSecAttrTokenOID, and that a restored key without it is
// silently a new one. Therefore a new key is restored and tried before it is believed, and
// each signature is verified.
package enclave

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrAbsent is wrapped where there is no Secure Enclave to speak to.
var ErrAbsent = errors.New("there is no Secure Enclave")

// chip is what Security.framework can do.
type chip interface {
	generate(attributes) (handle, error) // SecKeyCreateRandomKey
	restore(attributes) (handle, error)  // SecKeyCreateWithData, without data
}

// handle is a private key in use. It is for one goroutine at a time.
type handle interface {
	describe() (description, error)
	sign(algorithm symbol, digest []byte) (signature []byte, err error)
	release()
}

// description is what a chip says of a key.
type description struct {
	inEnclave bool
	point     []byte // its public key: X9.63, uncompressed
	blob      []byte // what restores it; nil if the chip does not tell
}

// Create has the Secure Enclave make a key, and returns its blob in PEM.
func Create() ([]byte, error) {
	c, err := system()
	if err != nil {
		return nil, err
	}
	return create(c)
}

func create(c chip) ([]byte, error) {
	made, err := c.generate(newKey())
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	defer made.release()
	is, err := made.describe()
	switch {
	case err != nil:
		return nil, fmt.Errorf("make a key: %w", err)
	case !is.inEnclave:
		return nil, errors.New("macOS made a key, but not in the Secure Enclave")
	case len(is.blob) == 0:
		return nil, errors.New("this macOS does not hand out what would find the key again")
	}
	text, err := encode(keyFile{Version: version, Point: is.point, Blob: is.blob})
	if err != nil {
		return nil, err
	}
	k, err := parse(text, func() (chip, error) { return c, nil })
	if err != nil {
		return nil, fmt.Errorf("make a key: it %w", err)
	}
	defer k.Close()
	// A place that forgets is worse than none.
	trial := sha256.Sum256([]byte("cardea: does this key come back?"))
	if _, err := k.Sign(nil, trial[:], crypto.SHA256); err != nil {
		return nil, fmt.Errorf("try the new key: %w", err)
	}
	return text, nil
}
