//go:build linux || darwin

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of a socket when it connected.
type peer struct{ uid, pid int }

// checkPeer returns who connected, and refuses everybody but the user himself and root (who
// could read our memory anyway).
func checkPeer(conn net.Conn) (peer, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var p peer
	var inner error
	if err := raw.Control(func(fd uintptr) { p, inner = peerOf(int(fd)) }); err != nil {
		return peer{}, err
	}
	if inner != nil {
		return peer{}, inner
	}
	if p.uid != os.Getuid() && p.uid != 0 {
		return peer{}, fmt.Errorf("user %d connected to the agent of user %d", p.uid, os.Getuid())
	}
	return p, nil
}

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// lockFile takes an exclusive lock on path, which is released when the file is closed or
// the process ends, however it ends. ok is false if another process has it and wait is not set.
func lockFile(path string, wait bool) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, nil
		}
		return nil, false, err
	}
	return f, true, nil
}

// detached has a child outlive us: a session of its own, no terminal to be hung up from.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
