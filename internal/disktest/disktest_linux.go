package disktest

import "golang.org/x/sys/unix"

// shared is where Linux has files in memory, and room how many bytes have to be free there
// for a test to use it: a container often has 64 MiB of it, which the largest would fill.
const (
	shared = "/dev/shm"
	room   = 1 << 30
)

// Memory is a folder for everybody's temporary files whose files are in memory; empty where
// there is none, or not much of it.
func Memory() string {
	var fs unix.Statfs_t
	if unix.Statfs(shared, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room || unix.Access(shared, unix.W_OK) != nil {
		return ""
	}
	return shared
}
