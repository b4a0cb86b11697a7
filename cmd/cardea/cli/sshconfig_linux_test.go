package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Some programs make a user's configuration a link to a place where nobody writes.
func TestAConfigurationThatCannotBeChangedIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.Symlink("/proc/version", path); err != nil {
		t.Fatal(err)
	}
	err := writeOwn(path, []byte("Host a\n"))
	if err == nil || !strings.HasPrefix(err.Error(), path+", which leads to /proc/version, cannot be changed: ") || strings.Contains(err.Error(), "cardea-tmp") {
		t.Errorf("got %v", err)
	}
}
