//go:build !unix

package sqlstore

import (
	"errors"
	"os"
)

// lockFile: the control plane does not run on systems without flock.
func lockFile(string) (*os.File, error) {
	return nil, errors.New("SQLite is not supported on this system; use PostgreSQL")
}
