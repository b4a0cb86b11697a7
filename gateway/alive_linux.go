package gateway

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tcpClose is the state TCP_CLOSE (include/net/tcp_states.h).
const tcpClose = 7

// lookAt asks the kernel (TCP_INFO in tcp(7)); ok is false where it does not say.
func lookAt(conn *net.TCPConn) (p peer, ok bool) {
	if conn == nil {
		return p, false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return p, false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return p, false
	}
	ms := func(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
	return peer{
		closed: info.State == tcpClose, silent: ms(min(info.Last_ack_recv, info.Last_data_recv)), unread: ms(info.Last_data_recv),
		waiting: info.Unacked > 0, retries: int(info.Retransmits), probes: int(info.Probes),
	}, true
}
