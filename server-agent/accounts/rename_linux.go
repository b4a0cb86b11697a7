package accounts

import "golang.org/x/sys/unix"

// renameNoReplace is rename(2) that fails where there is something already.
func renameNoReplace(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}
