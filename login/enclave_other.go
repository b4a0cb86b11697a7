//go:build !(darwin && cgo && enclave)

package login

import "github.com/cardea-ssh/cardea/dpop"

// enclavePEM is the type of a key file that holds a blob of the Secure Enclave.
const enclavePEM = "CARDEA ENCLAVE KEY"

// enclaveVault is that of a program which was built without the Secure Enclave.
type enclaveVault struct{}

func (enclaveVault) create() ([]byte, error)        { return nil, errNoVault }
func (enclaveVault) open([]byte) (*dpop.Key, error) { return nil, errNoVault }
func (enclaveVault) discard([]byte)                 {}
