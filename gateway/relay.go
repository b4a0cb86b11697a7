package gateway

import (
	"errors"
	"io"
)

// lookSize is how much of the server's first bytes is read at once. A key
// exchange comes in three or four pieces of up to 2 KiB.
const lookSize = 4 << 10

// relay passes bytes both ways until both ends are done, and returns how many.
// An end of stream is passed on as one: the other direction lives on, as it
// does without us. An error of one direction ends both.
//
// Both ends are *net.TCPConn and nothing else, because io.Copy between two of
// them lets the kernel splice; a wrapper would cost a copy of every byte, as it
// does where the client is inside TLS. Only
// the server's first bytes are copied here, until its host key has passed: what
// ssh refuses on the user's machine, administrators hear of nowhere else.
func (s *session) relay() (up, down int64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		down = s.copy(s.client, s.server, causeServer, s.look)
	}()
	up = s.copy(s.server, s.client, causeClient, nil)
	<-done
	s.client.Close()
	s.server.Close()
	return up, down
}

// copy runs one direction; cause is the end that is first to finish by it.
// begin copies the first bytes, if it is not nil.
func (s *session) copy(to, from client, cause string, begin func(to, from client) (int64, error)) int64 {
	var n int64
	var err error
	if begin != nil {
		n, err = begin(to, from)
	}
	if err == nil {
		var rest int64
		rest, err = io.Copy(to, from)
		n += rest
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		cause = s.whose(cause)
	}
	s.halfEnded(cause)
	if err != nil || to.CloseWrite() != nil {
		s.client.Close()
		s.server.Close()
	}
	return n
}

// whose is the side that an error comes from: a reset of one is an error of both directions. If
// the kernel does not tell, it is otherwise.
func (s *session) whose(otherwise string) string {
	c, _ := lookAt(rawClient(s.client))
	v, _ := lookAt(s.server)
	switch {
	case c.closed && !v.closed:
		return causeClient
	case v.closed && !c.closed:
		return causeServer
	}
	return otherwise
}

// look copies until the host key has passed or is not looked for any more. Each
// piece is written as soon as it was read, and only then looked at.
func (s *session) look(to, from client) (n int64, err error) {
	buf := make([]byte, lookSize)
	for !s.shown.Done() && err == nil {
		var got int
		got, err = from.Read(buf)
		if got > 0 {
			sent, wrote := to.Write(buf[:got])
			n += int64(sent)
			if wrote != nil {
				return n, wrote
			}
			s.shown.Write(buf[:got])
		}
	}
	return n, err
}
