package bridge

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// leg is one of the two connections of a session.
type leg struct {
	net.Conn
	side          side
	read, written atomic.Int64

	// Of the SSH connection, once there is one.
	conn     ssh.Conn
	chans    <-chan ssh.NewChannel
	requests <-chan *ssh.Request
	// first is the beginning of a packet that is to be written, and held where it is kept.
	// Both are of whoever writes; the library lets one packet be written at a time.
	first, held []byte
	rekey       rekey
	// last is sent to when there shall be no more sessions than were asked for.
	last chan struct{}
}

func newLeg(c net.Conn) *leg { return &leg{Conn: c, last: make(chan struct{}, 1)} }

// watchKeys has late called when a key exchange takes longer than limit.
func (l *leg) watchKeys(limit time.Duration, late func()) {
	l.rekey.leg, l.rekey.limit, l.rekey.late = l, limit, late
}

// Read and Write count.
func (l *leg) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.read.Add(int64(n))
	return n, err
}

// Write writes a packet at once. The library writes one that is larger than its buffer in two
// pieces, of which the first is the buffer; each would be a system call and a wakened peer.
// Packets begin with their length in clear, with the ciphers that we offer too, so that it is
// certain when the second piece comes.
func (l *leg) Write(p []byte) (int, error) {
	if l.first == nil && len(p) == libraryBuffer && int64(binary.BigEndian.Uint32(p)) > libraryBuffer {
		l.first = append(l.held[:0], p...)
		return len(p), nil
	}
	if l.first == nil {
		n, err := l.Conn.Write(p)
		l.written.Add(int64(n))
		return n, err
	}
	pieces := net.Buffers{l.first, p}
	l.held, l.first = l.first, nil
	n, err := pieces.WriteTo(l.Conn)
	l.written.Add(n)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish sends the end of the stream and gives the peer d to close: closing at once, with
// something unread, would reset the connection, which could overtake our last words. Within TLS
// the end is written too, behind what is being written already: who reads nothing would have us
// wait for ever.
func (l *leg) finish(d time.Duration) {
	defer l.Close()
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(over)
		l.Close()
	})
	defer timer.Stop()
	half, ok := l.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		l.conn.Wait()
	}()
	select {
	case <-gone:
	case <-over:
	}
}
