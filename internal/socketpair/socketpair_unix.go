//go:build unix

// Package socketpair makes two sockets that lead to each other: one end for a process, and
// one for another that it starts.
package socketpair

import (
	"os"
	"syscall"
)

// New gives both ends: descriptors that whatever else is started meanwhile does not inherit.
func New() (ends [2]int, err error) {
	syscall.ForkLock.RLock() // not every system makes such descriptors at once
	defer syscall.ForkLock.RUnlock()
	if ends, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0); err != nil {
		return ends, os.NewSyscallError("socketpair", err)
	}
	syscall.CloseOnExec(ends[0])
	syscall.CloseOnExec(ends[1])
	return ends, nil
}
