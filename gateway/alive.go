package gateway

import (
	"context"
	"fmt"
	"net"
	"time"
)

// A peer that vanishes without a word leaves its connection standing. The kernel's keep-alive
// finds one with which nothing is under way, and no other: data without an acknowledgement is sent
// again for a quarter of an hour. TCP_USER_TIMEOUT would bound that, and would also end
// the connection of somebody who is there and does not read for a while. So all live
// sessions are looked at. A program that is stopped and a user who reads nothing live on: their
// kernel answers.

const (
	// DefaultPeerTimeout, with what is needed to notice and to close, ends a session
	// within 30 seconds after its client or server vanished.
	DefaultPeerTimeout = 25 * time.Second
	// MinPeerTimeout is what a network may need to find another way. MaxPeerTimeout is
	// for users whose laptops sleep over lunch.
	MinPeerTimeout = 10 * time.Second
	MaxPeerTimeout = 4 * time.Hour
	// peerLooks is how often peers are looked at in this time.
	peerLooks = 10
	// peerProbes is how often the kernel asks a silent peer at the end of it.
	peerProbes = 3
	// minRetries is how often the kernel must have tried in vain before a peer is given up,
	// whatever the clock says: this machine itself may have been asleep.
	minRetries = 3
	// minProbes is the same where the peer's window was full: there the kernel asks at longer and
	// longer intervals, of up to two minutes.
	minProbes = 2
)

// CheckPeerTimeout says what is wrong with a time that somebody chose.
func CheckPeerTimeout(d time.Duration) error {
	if d < MinPeerTimeout || d > MaxPeerTimeout {
		return fmt.Errorf("%s is not between %s and %s", d, MinPeerTimeout, MaxPeerTimeout)
	}
	return nil
}

// keepAlive finds a silent peer within limit.
func keepAlive(limit time.Duration) net.KeepAliveConfig {
	every := limit / 5
	return net.KeepAliveConfig{Enable: true, Idle: limit - peerProbes*every, Interval: every, Count: peerProbes}
}

// peer is what the kernel says of a connection.
type peer struct {
	closed  bool          // by a reset, or for want of an answer
	silent  time.Duration // since anything came, be it an acknowledgement
	unread  time.Duration // since data came
	waiting bool          // what was sent has no acknowledgement
	retries int           // of that
	probes  int           // of a full window, without an answer
}

// gone reports whether nobody has answered for the time.
func (p peer) gone(limit time.Duration) bool {
	if p.silent < limit {
		return false
	}
	return p.waiting && p.retries >= minRetries || !p.waiting && p.probes >= minProbes
}

// aliveLoop ends the sessions whose client or server is gone.
func (g *Gateway) aliveLoop(ctx context.Context) error {
	for ctx.Err() == nil {
		sleep(ctx, g.opt.PeerTimeout/peerLooks)
		for _, s := range g.sessions.all() {
			g.lookAfter(s)
		}
	}
	return nil
}

// lookAfter ends s by closing the connection whose peer is gone, as its kernel would have.
func (g *Gateway) lookAfter(s *session) {
	client, server := rawClient(s.client), s.server
	c, ok := lookAt(client)
	if !ok {
		return
	}
	v, ok := lookAt(server)
	if !ok {
		return
	}
	limit := g.opt.PeerTimeout
	end := func(cause, why string, conn *net.TCPConn) {
		g.log.Info("a session is given up", "session", s.id, "side", cause, "why", why)
		s.ended(cause)
		conn.Close()
	}
	switch {
	case c.gone(limit):
		end(causeClient, "nothing is heard of the client", client)
	case v.gone(limit):
		end(causeServer, "nothing is heard of the server", server)
	case s.halfFor(causeClient) >= limit && v.unread >= limit:
		end(causeClient, "the client has ended, and the server says nothing", server)
	case s.halfFor(causeServer) >= limit && c.unread >= limit:
		end(causeServer, "the server has ended, and the client says nothing", client)
	}
}

// rawClient is the socket of a client.
func rawClient(c client) *net.TCPConn {
	if t, inside := c.(tlsClient); inside {
		return t.raw
	}
	raw, _ := c.(*net.TCPConn)
	return raw
}
