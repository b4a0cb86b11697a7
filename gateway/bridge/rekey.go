package bridge

import (
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// rekey watches the key exchanges that come after the first one, on the user's side. While one
// is under way the library queues up to 64 packets, of 32 KiB each, and waits for ever; a user
// who begins one and never ends it could hold that. So what has not been handed to the library
// waits here, and the exchange has kexTime.
type rekey struct {
	leg   *leg
	limit time.Duration
	late  func()
	// pause is closed when the exchange is over; nil while there is none.
	pause atomic.Pointer[chan struct{}]
	armed atomic.Bool // after the login
}

// begun is called by the library at the beginning of an exchange, and again within it. It may
// not block: a lock of the connection is held.
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

// watchedKey is a host key that knows when it is looked at, which the library does first in
// each key exchange: it lists the kinds of its keys.
type watchedKey struct {
	ssh.Signer
	look func()
}

func (k watchedKey) PublicKey() ssh.PublicKey {
	k.look()
	return k.Signer.PublicKey()
}
