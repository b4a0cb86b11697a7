// Package disktest has folders for tests that write much and wait for the disk at each
// commit, though what they prove is not that it got there.
package disktest

import (
	"os"
	"testing"
)

// Forgetful returns a folder for the length of the test: in memory where there is much of
// it, and else on the disk. A database in it commits as it does anywhere, but waits for
// nothing.
func Forgetful(t testing.TB) string {
	t.Helper()
	parent := Memory()
	if parent == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "cardea-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
