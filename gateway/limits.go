package gateway

import (
	"container/list"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Times of one connection.
const (
	// helloTimeout bounds the whole hello. A client has it ready when it dials.
	helloTimeout = 10 * time.Second
	// startTimeout bounds dialling and claim together, which run at once.
	startTimeout = 10 * time.Second
	// claimTimeout is below startTimeout, so that the client still hears why. A
	// control plane that is down answers at once; one that has 200 claims at
	// once to check on a busy machine needs some seconds.
	claimTimeout = 8 * time.Second
	// answerTimeout bounds the writing of 512 bytes into an empty buffer.
	answerTimeout = 5 * time.Second
)

// What strangers do wrong may fill no log: so many lines a second, after a
// first burst.
const (
	complaintsPerSecond = 5
	complaintsBurst     = 50
)

// Limits bound what strangers can hold.
type Limits struct {
	// Pending connections have not yet sent a good hello. Each costs about
	// 40 KiB at most. When all are taken the oldest makes room, as an honest client sends
	// its hello at once: the oldest of the newcomer's own source, if that has its share of
	// all places already, else of those sources that have more than theirs. So where thousands
	// come every second they push out each other.
	Pending int
	// PendingPerSource lets a storm of 200 connections of one host in, and
	// leaves an attacker's host an eighth of all.
	PendingPerSource int
	// Sessions are those that begin or run. Each holds two sockets and two
	// pipes for splicing: descriptorsPerSession.
	Sessions int
}

const (
	maxPending          = 2048
	maxPendingPerSource = 256
	// maxSessions is what 25 MB idle and some KiB for each session come to on a
	// small machine; the limit on open files usually binds first.
	maxSessions           = 20000
	descriptorsPerSession = 6
	// reservedDescriptors are for the listeners, the control plane, log and
	// health, whatever the sessions take.
	reservedDescriptors = 64
)

// DefaultLimits are the limits that this process can keep: its limit on open
// files may allow fewer sessions than maxSessions.
func DefaultLimits() Limits {
	l := Limits{Pending: maxPending, PendingPerSource: maxPendingPerSource, Sessions: maxSessions}
	if files := fileLimit(); files > 0 {
		room := max(files-reservedDescriptors, descriptorsPerSession)
		l.Pending = min(l.Pending, max(1, room/4))
		l.Sessions = min(l.Sessions, max(1, (room-l.Pending)/descriptorsPerSession))
	}
	return l
}

// gate counts connections before they are sessions, and sessions.
type gate struct {
	limits Limits

	mu      sync.Mutex
	pending *list.List                // of *visitor, oldest first; guarded by mu
	sources map[netip.Addr]*list.List // the same by their sources
	running int                       // begin or run
	begin   int                       // of these, begin
}

// visitor is a connection that has not sent a good hello.
type visitor struct {
	conn   net.Conn
	source netip.Addr    // zero while that of a balancer's client is not known; guarded by gate.mu
	place  *list.Element // nil once it has left; guarded by gate.mu
	own    *list.Element // the place among those of its source
}

func newGate(l Limits) *gate {
	return &gate{limits: l, pending: list.New(), sources: map[netip.Addr]*list.List{}}
}

// enter admits a connection, or returns nil: then close it without a word. The
// zero address is that of a balancer, which is no source: came says later whose
// connection it is.
func (g *gate) enter(conn net.Conn, from netip.Addr) *visitor {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := &visitor{conn: conn}
	if g.pending.Len() >= g.limits.Pending && g.mayCount(from) {
		goes := g.pushedOut(from)
		g.remove(goes)
		goes.conn.Close()
	}
	if !g.count(v, from) {
		return nil
	}
	v.place = g.pending.PushBack(v)
	return v
}

// came tells whose connection a balancer has sent, and reports whether it may stay.
func (g *gate) came(v *visitor, from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return v.place != nil && g.count(v, from)
}

// pushedOut is who makes room for one more of a source, where all places are taken; g.mu is held.
func (g *gate) pushedOut(from netip.Addr) *visitor {
	share := max(1, g.limits.Pending/max(1, len(g.sources)))
	if from.IsValid() {
		if own := g.sources[sourceOf(from)]; own != nil && own.Len() >= share {
			return own.Front().Value.(*visitor)
		}
	}
	for e := g.pending.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visitor); v.own == nil || g.sources[v.source].Len() > share {
			return v
		}
	}
	return g.pending.Front().Value.(*visitor)
}

// mayCount says whether one more of a source may come; g.mu is held.
func (g *gate) mayCount(from netip.Addr) bool {
	if !from.IsValid() {
		return true
	}
	own := g.sources[sourceOf(from)]
	return own == nil || own.Len() < g.limits.PendingPerSource
}

// count adds v to those of its source, if there is room; g.mu is held.
func (g *gate) count(v *visitor, from netip.Addr) bool {
	if !g.mayCount(from) {
		return false
	}
	if !from.IsValid() {
		return true
	}
	v.source = sourceOf(from)
	own := g.sources[v.source]
	if own == nil {
		own = list.New()
		g.sources[v.source] = own
	}
	v.own = own.PushBack(v)
	return true
}

// leave forgets a visitor; it may be called twice.
func (g *gate) leave(v *visitor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(v)
}

func (g *gate) remove(v *visitor) {
	if v.place == nil {
		return
	}
	g.pending.Remove(v.place)
	v.place = nil
	if !v.source.IsValid() {
		return
	}
	own := g.sources[v.source]
	if own.Remove(v.own); own.Len() == 0 {
		delete(g.sources, v.source)
	}
}

// closeAll ends every pending connection.
func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.pending.Front(); e != nil; e = e.Next() {
		e.Value.(*visitor).conn.Close()
	}
}

// beginSession takes a place for a session, or says that there is none.
func (g *gate) beginSession() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running >= g.limits.Sessions {
		return false
	}
	g.running++
	g.begin++
	return true
}

// room fails while every place for a session is taken: others should be chosen.
func (g *gate) room(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running >= g.limits.Sessions {
		return fmt.Errorf("all %d places for sessions are taken", g.limits.Sessions)
	}
	return nil
}

// began: the session is in the table now.
func (g *gate) began() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin--
}

// busy says that somebody is on his way to a session.
func (g *gate) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begin > 0 || g.pending.Len() > 0
}

func (g *gate) endSession() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
}

// starting is how many sessions begin.
func (g *gate) starting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begin
}

// sourceOf is what one party can have many of: an IPv6 host has a whole /64.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
