package bridge

import "golang.org/x/crypto/ssh"

// The library tells of requests and channels by Go channels of some places, and while one of
// them is full it reads nothing of that connection any more, not even its end. Who takes from
// them may be waiting for an answer of the other connection, and that one may have stopped in
// the same way. So whoever waits goes on taking, and in the end everything is emptied.

// each has handle take the requests one by one, in their order.
func (b *bridge) each(requests <-chan *ssh.Request, handle func(*ssh.Request)) {
	take := func(req *ssh.Request) {
		b.holds(true, requestsSize)
		defer b.holds(false, requestsSize)
		defer b.holding.taken.Add(int64(len(req.Payload)))
		b.guard(func() { handle(req) })
	}
	var waiting []*ssh.Request
	size := 0
	for requests != nil || len(waiting) > 0 {
		var req *ssh.Request
		if len(waiting) > 0 {
			req, waiting = waiting[0], waiting[1:]
			size -= len(req.Payload)
		} else if req = <-requests; req == nil {
			return
		}
		if !req.WantReply {
			take(req)
			continue
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			take(req)
		}()
		for done != nil {
			select {
			case <-done:
				done = nil
			case more, ok := <-requests:
				switch {
				case !ok:
					requests = nil
				case len(waiting) >= maxWaiting || size+len(more.Payload) > maxWaitingBytes:
					b.end(End{CauseError, "too many requests wait for the answer to one"})
				default:
					waiting = append(waiting, more)
					size += len(more.Payload)
				}
			}
		}
	}
}

// release empties what is left of a connection that is being closed.
func (l *leg) release() {
	if l.conn == nil {
		return
	}
	go empty(l.requests)
	go empty(l.chans)
}

func empty[T any](c <-chan T) {
	for range c {
	}
}
