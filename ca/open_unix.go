//go:build unix

package ca

import (
	"os"
	"syscall"
)

// openNoFollow opens path unless it is a symbolic link, and does not wait at a FIFO.
func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
