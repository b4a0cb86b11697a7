//go:build !linux

package accounts

import "syscall"

// renameNoReplace exists so that the packages can be built and vetted on a
// developer's machine; the agent runs on Linux.
func renameNoReplace(string, string) error { return syscall.ENOSYS }
