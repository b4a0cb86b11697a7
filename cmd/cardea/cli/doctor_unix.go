//go:build unix

package cli

import (
	"os"
	"syscall"
)

// ofOthers reports whether what is at path belongs to somebody else; what is not there does not.
func ofOthers(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	st, known := info.Sys().(*syscall.Stat_t)
	return known && int(st.Uid) != os.Geteuid()
}

// writableByOthers is what ssh refuses of a file of its configuration, and what lets others
// speak to a socket.
func writableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o022 != 0
}
