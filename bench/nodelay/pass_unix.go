//go:build unix

package main

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// pass sends the descriptor as ProxyUseFdpass in ssh_config(5) asks for it.
func pass(stdout *os.File, conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(stdout.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, 0)
	})
	return errors.Join(err, sent)
}
