package gateway

import (
	"io"
	"net"
)

// relay passes bytes both ways until both ends are done, and returns how many.
// An end of stream is passed on as one: the other direction lives on, as it
// does without us. An error of one direction ends both.
//
// Both ends are *net.TCPConn and nothing else, because io.Copy between two of
// them lets the kernel splice; a wrapper would cost a copy of every byte.
func (s *session) relay() (up, down int64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		down = s.copy(s.client, s.server, causeServer)
	}()
	up = s.copy(s.server, s.client, causeClient)
	<-done
	s.client.Close()
	s.server.Close()
	return up, down
}

// copy runs one direction; cause is the end that is first to finish by it.
func (s *session) copy(to, from *net.TCPConn, cause string) int64 {
	n, err := io.Copy(to, from)
	s.ended(cause)
	if err != nil || to.CloseWrite() != nil {
		s.client.Close()
		s.server.Close()
	}
	return n
}
