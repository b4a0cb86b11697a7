//go:build linux || darwin

package proxycmd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// passDescriptor sends conn's descriptor over stdout, which ssh made a Unix socket for this
// (ProxyUseFdpass in ssh_config(5)), with the one byte that sendmsg needs to carry it.
func passDescriptor(stdout *os.File, conn net.Conn) error {
	raw, err := descriptor(conn)
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		for {
			sendErr = unix.Sendmsg(int(stdout.Fd()), []byte{0}, unix.UnixRights(int(fd)), nil, 0)
			if !errors.Is(sendErr, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, sendErr)
}

// descriptor is that of a connection which has one.
func descriptor(conn net.Conn) (syscall.RawConn, error) {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn.SyscallConn()
	case *net.UnixConn: // the ssh that leads through a bastion has the other end
		return conn.SyscallConn()
	}
	return nil, errors.New("the connection is not plain TCP")
}

// peek waits until there is something to read, or the connection's deadline is over, and
// leaves it unread.
func peek(conn net.Conn) error {
	raw, err := descriptor(conn)
	if err != nil {
		return err
	}
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return !errors.Is(peekErr, unix.EAGAIN) && !errors.Is(peekErr, unix.EINTR)
	})
	if err == nil && peekErr == nil && n == 0 {
		err = io.EOF
	}
	return errors.Join(err, peekErr)
}

// silent reports whether nothing has come on a connection, not its end either: a gateway says
// nothing before it is spoken to.
func silent(conn net.Conn) bool {
	raw, err := descriptor(conn)
	if err != nil {
		return true // nobody can look
	}
	var peekErr error
	err = raw.Control(func(fd uintptr) {
		_, _, peekErr = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && errors.Is(peekErr, unix.EAGAIN)
}

// waitGone returns true when nobody can read any more what is written to f: poll(2) reports
// the closed other end of a pipe (POLLERR) or socket (POLLHUP) without being asked for it.
// A pipe of our own ends the wait with ctx.
func waitGone(ctx context.Context, f *os.File) bool {
	r, w, err := os.Pipe()
	if err != nil {
		return false // a write to ssh will tell as well
	}
	defer r.Close()
	defer context.AfterFunc(ctx, func() { w.Close() })()
	fds := []unix.PollFd{{Fd: int32(f.Fd())}, {Fd: int32(r.Fd())}}
	for {
		n, err := unix.Poll(fds, -1)
		if err != nil && !errors.Is(err, unix.EINTR) || ctx.Err() != nil {
			return false
		}
		if n > 0 && fds[0].Revents != 0 {
			return true
		}
	}
}
