// Package disktest has folders for tests that write much and wait for the disk at each
// commit, though what they prove is not that it got there.
package disktest

import "testing"

// Forgetful returns a folder for the length of the test: in memory where there is much of
// it, and else on the disk. A database in it commits as it does anywhere, but waits for
// nothing.
func Forgetful(t testing.TB) string {
	t.Helper()
	if dir, ok := memory(t); ok {
		return dir
	}
	return t.TempDir()
}
