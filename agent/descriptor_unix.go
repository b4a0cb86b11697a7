//go:build linux || darwin

package agent

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// canPass says that a connection can be handed over the control socket here.
const canPass = true

// maxPiece is how much of an answer comes with a descriptor, bytes; the rest follows it.
const maxPiece = 64 << 10

// writeWith writes text, with the descriptor of a connection beside its first bytes.
func writeWith(conn net.Conn, text []byte, handed net.Conn) error {
	to, local := conn.(*net.UnixConn)
	tcp, plain := handed.(*net.TCPConn)
	if !local || !plain {
		return errors.New("only TCP goes over a Unix socket")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var sent error
	if err := raw.Control(func(fd uintptr) { n, _, sent = to.WriteMsgUnix(text, unix.UnixRights(int(fd)), nil) }); err != nil || sent != nil {
		return errors.Join(err, sent)
	}
	_, err = conn.Write(text[n:])
	return err
}

// readWith begins to read an answer, and takes the connection that came with it, if one did.
func readWith(conn net.Conn) (text io.Reader, handed net.Conn, err error) {
	rest := io.LimitReader(conn, maxAnswer)
	from, local := conn.(*net.UnixConn)
	if !local {
		return rest, nil, nil
	}
	first, rights := make([]byte, maxPiece), make([]byte, unix.CmsgSpace(4))
	n, control, _, _, err := from.ReadMsgUnix(first, rights)
	if err != nil {
		return nil, nil, err
	}
	return io.MultiReader(bytes.NewReader(first[:n]), rest), received(rights[:control]), nil
}

// received is the TCP connection among what came; whatever else it is, is closed.
func received(rights []byte) net.Conn {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	var handed net.Conn
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			file := os.NewFile(uintptr(fd), "a connection")
			conn, err := net.FileConn(file)
			file.Close()
			tcp, plain := conn.(*net.TCPConn)
			switch {
			case plain && handed == nil:
				handed = tcp
			case err == nil:
				conn.Close()
			}
		}
	}
	return handed
}
