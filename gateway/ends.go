package gateway

import (
	"context"
	"strings"
	"sync"

	"github.com/cardea-ssh/cardea/api"
	"golang.org/x/crypto/ssh"
)

const (
	// maxEnds bounds what waits while the control plane is away; beyond it the
	// oldest are dropped, and the log still has them.
	maxEnds = 50000
	// maxEndKeys bounds the host keys and offers of them among what waits, in
	// bytes: a certificate has 700, and a hostile server could show 11 KiB in each
	// session, or offer one. Beyond it ends are told without.
	maxEndKeys = 40 << 20
)

type ended struct {
	session string
	end     api.SessionEnd
}

// ends are the ends of sessions that the control plane has not heard of yet,
// in order.
type ends struct {
	mu    sync.Mutex
	queue []ended
	keys  int // bytes of host keys and offers in it
	lost  int
	wake  chan struct{}
}

func newEnds() *ends { return &ends{wake: make(chan struct{}, 1)} }

func (e *ends) add(x ended) {
	e.mu.Lock()
	if len(e.queue) >= maxEnds {
		e.drop()
		e.lost++
	}
	if e.keys+x.bytes() > maxEndKeys {
		x.end.HostKey, x.end.HostKeyAlgorithms, x.end.HostKeyHidden = "", "", false
	}
	e.keys += x.bytes()
	e.queue = append(e.queue, x)
	e.mu.Unlock()
	wakeUp(e.wake)
}

func (e *ends) first() (ended, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return ended{}, false
	}
	return e.queue[0], true
}

// lostEnd is that of a session whose process crashed.
func lostEnd() api.SessionEnd { return api.SessionEnd{Cause: causeError} }

// ids are the sessions whose ends wait to be told.
func (e *ends) ids() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.queue {
		out = append(out, x.session)
	}
	return out
}

// done forgets x, unless it was dropped meanwhile.
func (e *ends) done(x ended) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) > 0 && e.queue[0].session == x.session {
		e.drop()
	}
}

// drop forgets the first one; e.mu is held.
func (e *ends) drop() {
	e.keys -= e.queue[0].bytes()
	e.queue[0] = ended{}
	e.queue = e.queue[1:]
}

// bytes is what a stranger chose of it.
func (x ended) bytes() int { return len(x.end.HostKey) + len(x.end.HostKeyAlgorithms) }

// end is what is told of a session that was relayed.
func (s *session) end(cause string, up, down int64) api.SessionEnd {
	end := api.SessionEnd{Cause: cause, Up: up, Down: down, HostKey: s.shown.Line(), HostKeyHidden: s.shown.Hidden()}
	offer := s.shown.Algorithms()
	if end.HostKey == "" || !strings.Contains(end.HostKey, "-cert-v0") && strings.Contains(offer, ssh.CertAlgoED25519v01) {
		end.HostKeyAlgorithms = offer // a client that shows no interest in certificates got none
	}
	return end
}

// tellEnd tells the end that waits first.
func (g *Gateway) tellEnd(ctx context.Context) outcome {
	x, ok := g.ends.first()
	if !ok {
		return nothingWaits
	}
	switch err := post(ctx, g.opt.Client, x.session, "end", x.end); {
	case forGood(err):
		g.log.Error("the control plane does not take the end of a session", "session", x.session, "error", err)
	case err != nil:
		return away
	}
	g.ends.done(x)
	g.heir.Load().tell(word{Ended: x.session})
	return settled
}
