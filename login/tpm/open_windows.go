package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

// DefaultPath names nothing: Windows has one TPM, and its own way there.
const DefaultPath = ""

func with(path string, do func(transport.TPM) error) error {
	t, err := open(path)
	if err != nil {
		return err
	}
	defer t.Close()
	return do(t)
}

func open(string) (transport.TPMCloser, error) {
	t, err := windowstpm.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrAbsent, err)
	}
	return t, nil
}
