//go:build unix

package fanout

import (
	"os"
	"syscall"
)

// end asks a command to end by itself, so that what it started can be told.
func end(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
