package vhost

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// netns is an open network namespace.
type netns struct{ file *os.File }

func netnsPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

func openNetns(pid int) (*netns, error) {
	f, err := os.Open(netnsPath(pid))
	return &netns{f}, err
}

func (ns *netns) Close() error { return ns.file.Close() }

// do runs f in the namespace: sockets that f makes belong to it for ever,
// whoever uses them. f must make them itself, not in a goroutine.
func (ns *netns) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		err = f()
		// A thread that cannot come home stays locked and ends with this
		// goroutine, so that no other one runs in the wrong namespace.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
