package login

import (
	"errors"
	"fmt"

	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/login/enclave"
)

// enclaveVault is the Secure Enclave of a Mac.
type enclaveVault struct{}

func (enclaveVault) create() ([]byte, error) {
	text, err := enclave.Create()
	if errors.Is(err, enclave.ErrAbsent) {
		return nil, fmt.Errorf("%w: %w", errNoVault, err)
	}
	return text, err
}

func (enclaveVault) open(text []byte) (*dpop.Key, error) {
	key, err := enclave.Parse(text)
	if err != nil {
		return nil, err
	}
	return dpop.FromSigner(hinting{key})
}

func (enclaveVault) discard([]byte) {} // the blob was all that there was of the key

// foreign reports whether a kind of place is one that computers of this system never have,
// so that nobody wants to read why this one has it not either.
func foreign(goos, kind string) bool {
	if goos == "darwin" {
		return kind == KeyInTPM
	}
	return kind == KeyInEnclave
}
