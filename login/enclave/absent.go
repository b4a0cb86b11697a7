//go:build !(darwin && enclave)

package enclave

import (
	"fmt"
	"runtime"
)

func system() (chip, error) { return nil, supported() }

// supported returns an error in a program that can speak to no Secure Enclave.
func supported() error {
	if runtime.GOOS == "darwin" {
		return fmt.Errorf("%w in this cardea: it was built without the tag enclave", ErrAbsent)
	}
	return fmt.Errorf("%w: only a Mac has one", ErrAbsent)
}
