package bridge

import (
	"crypto/rand"
	"io"
	"sync/atomic"
	"time"
)

// rekey watches the key exchanges of one connection that come after the first one. While one
// is under way the library queues up to 64 packets, of 32 KiB each, and waits for ever; a peer
// who begins one and never ends it could hold that. So what has not been handed to the library
// waits here, little is handed to it at a time, and the exchange has kexTime.
type rekey struct {
	leg   *leg
	limit time.Duration
	late  func()
	// pause is closed when the exchange is over; nil while there is none.
	pause atomic.Pointer[chan struct{}]
	armed atomic.Bool // after the login
	wide  atomic.Int32
}

// begun is called at the beginning of an exchange. It may not block: a lock of the connection
// is held.
func (r *rekey) begun() {
	if !r.armed.Load() {
		return
	}
	over := make(chan struct{})
	if !r.pause.CompareAndSwap(nil, &over) {
		return
	}
	// Nothing tells of the end, but a question is answered after it. The goroutine ends with
	// the connection, if not before.
	go func() {
		limit := time.AfterFunc(r.limit, r.late)
		defer limit.Stop()
		r.leg.conn.SendRequest("keepalive@openssh.com", true, nil)
		r.pause.Store(nil)
		close(over)
	}()
}

// wait returns when no exchange is under way.
func (r *rekey) wait() {
	if over := r.pause.Load(); over != nil {
		<-*over
	}
}

// send writes p to a channel of the connection. What was under way when an exchange began is
// queued nevertheless: so no more than wideWrites write a whole packet at the same time, and
// all others narrowWrite bytes. Nobody waits for anybody, since a channel may have no window
// for hours.
func (r *rekey) send(to io.Writer, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		r.wait()
		part, wide := p[n:], false
		if len(part) > narrowWrite {
			if wide = r.wide.Add(1) <= wideWrites; !wide {
				r.wide.Add(-1)
				part = part[:narrowWrite]
			}
		}
		var sent int
		sent, err = to.Write(part)
		n += sent
		if wide {
			r.wide.Add(-1)
		}
	}
	return n, err
}

// random is the randomness of the connection, by which an exchange shows: the library begins each
// by filling an array of cookieSize with it. Padding is as long at times, but within a buffer.
type random struct{ *rekey }

// cookieSize is that of the random bytes at the beginning of an exchange (RFC 4253, section 7.1).
const cookieSize = 16

func (r random) Read(p []byte) (int, error) {
	if len(p) == cookieSize && cap(p) == cookieSize {
		r.begun()
	}
	return rand.Read(p)
}
