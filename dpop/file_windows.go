package dpop

import (
	"fmt"
	"io/fs"
	"os"
)

// openKey refuses links by name: Windows has no O_NOFOLLOW, and the profile
// folder that holds the key is its owner's alone.
func openKey(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; move it away", path)
	}
	return nil
}

func checkDir(string) error { return nil }

func syncDir(string) error { return nil }
