package buildtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// Brought is where packaging/install-test-needs puts a program of others that tests run. It
// is named by the files of folder that it was made of, so that after a change nobody runs
// the old one. Whether it is there is for the caller to find out.
func Brought(name, folder string, files ...string) (string, error) {
	h := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "cardea-test-programs", fmt.Sprintf("%s-%x", name, h.Sum(nil)[:6])), nil
}
