package main

import (
	"fmt"
	"io"
	"os"

	"github.com/cardea-ssh/cardea/control/attestation"
)

// maxCertificates bounds the files of certificates, in bytes: those of all regions
// of AWS have 50 KiB.
const maxCertificates = 1 << 20

// clouds reads what the operator trusts beside what is built in.
func (o *options) clouds() (*attestation.Verifier, error) {
	var in attestation.Options
	for _, f := range []struct {
		name, path string
		into       *[]byte
	}{{"aws-certificates", o.AWSCertificates, &in.AWSCertificates}, {"azure-roots", o.AzureRoots, &in.AzureRoots}} {
		if f.path == "" {
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		*f.into, err = io.ReadAll(io.LimitReader(file, maxCertificates+1))
		file.Close()
		if err == nil && len(*f.into) > maxCertificates {
			err = fmt.Errorf("%s is larger than %d bytes", f.path, maxCertificates)
		}
		if err == nil && len(*f.into) == 0 {
			err = fmt.Errorf("%s is empty", f.path)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return attestation.New(in)
}
