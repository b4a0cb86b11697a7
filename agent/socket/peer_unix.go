//go:build linux || darwin

package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// peer is the process at the other end of a socket when it connected.
type peer struct{ uid, pid int }

// Check returns the process at the other end, and refuses everybody but the user himself and root (who
// could read our memory anyway).
func Check(conn net.Conn) (pid int, err error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var p peer
	var inner error
	if err := raw.Control(func(fd uintptr) { p, inner = peerOf(int(fd)) }); err != nil {
		return 0, err
	}
	if inner != nil {
		return 0, inner
	}
	if p.uid != os.Getuid() && p.uid != 0 {
		return 0, fmt.Errorf("user %d connected to the agent of user %d", p.uid, os.Getuid())
	}
	return p.pid, nil
}
