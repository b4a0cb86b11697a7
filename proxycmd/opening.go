package proxycmd

import (
	"bytes"
	"io"
)

const (
	// maxVersion bounds the line with which SSH begins, bytes (RFC 4253 section 4.2).
	maxVersion = 255
	// firstPiece is how much of what ssh says is read at once until it is known where it goes.
	firstPiece = 4 << 10
)

// opening is how ssh begins: it says its version at once, and then waits for the server's.
// So its line goes with the hello, behind it, and waits at the gateway: the server's key
// exchange then comes back with its version, a round trip earlier. The line is no secret, it
// crosses every network in the clear. All else waits until the gateway has shown who it is.
type opening struct {
	from io.Reader
	read chan struct{} // closed when the first read is over
	// Both belong to the first read until then.
	first []byte
	err   error
}

// hear begins to read what ssh says. The read ends with ssh, or with the process.
func hear(stdin io.Reader) *opening {
	o := &opening{from: stdin, read: make(chan struct{})}
	go func() {
		defer close(o.read)
		piece := make([]byte, firstPiece)
		n, err := stdin.Read(piece)
		o.first, o.err = piece[:n], err
	}()
	return o
}

// version is the line if it is there by now; of anything else nothing goes ahead.
func (o *opening) version() []byte {
	if o == nil {
		return nil
	}
	select {
	case <-o.read:
	default:
		return nil
	}
	end := bytes.IndexByte(o.first, '\n') + 1
	if end == 0 || end > maxVersion || !bytes.HasPrefix(o.first, []byte("SSH-2.0-")) {
		return nil
	}
	return o.first[:end]
}

// after is all that ssh says but the bytes that were sent ahead.
func (o *opening) after(sent int) io.Reader { return &afterwards{o, sent} }

type afterwards struct {
	*opening
	taken int
}

func (a *afterwards) Read(p []byte) (int, error) {
	<-a.read
	if a.taken < len(a.first) {
		n := copy(p, a.first[a.taken:])
		a.taken += n
		return n, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	return a.from.Read(p)
}
