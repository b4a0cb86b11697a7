//go:build !windows

package login

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkDir refuses a folder in which others could look or write. One that is
// missing is no danger.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("folder of the session: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return unsafe(dir, "is a symbolic link", "put a folder in its place")
	case !info.IsDir():
		return unsafe(dir, "is not a folder", "move it away")
	case !mine(info):
		return unsafe(dir, "belongs to another user", "move it away, or set XDG_CONFIG_HOME")
	case info.Mode().Perm()&0o077 != 0:
		return unsafe(dir, "is open to other users", "type: chmod 700 "+dir)
	}
	return nil
}

// openFile does not follow a link in the last place, does not wait for the
// writer of a FIFO, and looks at what it opened, not at what was there before.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	// ELOOP is Linux's and macOS's word for a link that may not be followed,
	// EMLINK and EFTYPE those of the BSDs.
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) {
		return nil, unsafe(path, "is a symbolic link", "move it away")
	}
	if errors.Is(err, syscall.ENXIO) {
		return nil, unsafe(path, "is not a regular file", "move it away") // a socket
	}
	if err != nil {
		return nil, fmt.Errorf("open the session: %w", err)
	}
	if err := checkFile(path, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkFile(path string, f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("open the session: %w", err)
	case !info.Mode().IsRegular():
		return unsafe(path, "is not a regular file", "move it away")
	case !mine(info):
		return unsafe(path, "belongs to another user", "move it away")
	case info.Mode().Perm()&0o077 != 0:
		// Not chmod: whoever could read it may have the session by now.
		return unsafe(path, "is open to other users", "remove it and type: cardea login")
	}
	return nil
}

func mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
