package disktest

import (
	"os"
	"syscall"
	"testing"
)

// shared is where Linux has files in memory, and room how many bytes have to be free there
// for a test to use it: a container often has 64 MiB of it, which the largest would fill.
const (
	shared = "/dev/shm"
	room   = 1 << 30
)

// memory makes a folder in memory, or says that there is none.
func memory(t testing.TB) (string, bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(shared, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return "", false
	}
	dir, err := os.MkdirTemp(shared, "cardea-test")
	if err != nil {
		return "", false
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}
