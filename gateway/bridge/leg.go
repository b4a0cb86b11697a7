package bridge

import (
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
	// last is sent to when there shall be no more sessions than were asked for.
	last chan struct{}
}

func newLeg(c net.Conn) *leg { return &leg{Conn: c, last: make(chan struct{}, 1)} }

// Read and Write count.
func (l *leg) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.read.Add(int64(n))
	return n, err
}

func (l *leg) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	l.written.Add(int64(n))
	return n, err
}

// finish sends the end of the stream and gives the peer d to close: closing at once, with
// something unread, would reset the connection, which could overtake our last words.
func (l *leg) finish(d time.Duration) {
	defer l.Close()
	half, ok := l.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		l.conn.Wait()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		l.Close()
		<-gone
	}
}
