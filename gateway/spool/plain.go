package spool

import (
	"fmt"
	"os"
	"syscall"
)

// A spool may come from a disk of which nobody knows who has had it, and is read by root.
// Only what is a file or a folder itself is used: nothing leads elsewhere, and nothing is
// waited for.

// openPlain opens a regular file.
func openPlain(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// plainDir makes a folder, or finds that it is one.
func plainDir(path string) error {
	if err := os.Mkdir(path, 0o700); err == nil {
		return nil
	}
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder: look at where it leads, and remove it", path)
	}
	return err
}
