//go:build !linux && !darwin && !windows

package socket

import (
	"errors"
	"net"
)

// Check lets nobody in: elsewhere nobody can be told apart at a socket yet.
func Check(net.Conn) (pid int, err error) {
	return 0, errors.New("the local agent does not run on this system yet")
}
