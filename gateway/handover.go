package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/hello"
)

// A gateway is upgraded without a pause: its process gives the listeners, which are
// one socket each for both, and what only it knows to a process of the new program,
// stops to accept, and carries its sessions to their ends. To the control plane
// both are one gateway. The newer reports; each tells the ends of its own sessions,
// and the newer those of an older one that crashed.

// Handover is what the next process has to know. It passes through a pipe and lies
// nowhere else, since the sealing keys are in it.
type Handover struct {
	// Began is when the first process of the row did: sessions that began after it
	// may still run, so the control plane must not take them for lost.
	Began   time.Time     `json:"began"`
	Sealing []sealingHand `json:"sealing"`
	Tickets [][]byte      `json:"tickets"` // public keys that verify tickets
}

type sealingHand struct {
	Secret []byte    `json:"secret"`
	Made   time.Time `json:"made"`
	Acked  time.Time `json:"acked,omitzero"`
}

// word is what a leaving process tells the next one of its sessions.
type word struct {
	Live  []string `json:"live,omitempty"`  // these run
	Ended string   `json:"ended,omitempty"` // the control plane knows the end of this one
	// Promised is the memory that the sessions of this process and of those before it may come
	// to need. All of them share one limit.
	Promised int64 `json:"promised"`
}

// HandOver is what the next process gets.
func (g *Gateway) HandOver() (Handover, error) {
	h := Handover{Began: g.began}
	g.sealing.mu.Lock()
	defer g.sealing.mu.Unlock()
	for _, k := range g.sealing.keys {
		secret, err := k.key.Secret()
		if err != nil {
			return h, err
		}
		h.Sealing = append(h.Sealing, sealingHand{secret, k.made, k.acked})
	}
	if keys := g.tickets.Load(); keys != nil {
		for _, public := range *keys {
			h.Tickets = append(h.Tickets, public)
		}
	}
	return h, nil
}

// takeOver makes a new gateway the next process of the one that wrote h. Its keys
// open what clients seal at this moment, and are renewed in their own time.
func (g *Gateway) takeOver(h Handover) error {
	if h.Began.IsZero() || len(h.Sealing) == 0 {
		return errors.New("take over: the process before told nothing")
	}
	g.began = h.Began
	for _, k := range h.Sealing {
		key, err := hello.ParseSealingKey(k.Secret)
		if err != nil {
			return fmt.Errorf("take over: %w", err)
		}
		g.sealing.keys = append(g.sealing.keys, sealingKey{key: key, made: k.Made, acked: k.Acked})
	}
	keys, err := ticketKeys(h.Tickets)
	if err == nil && len(keys) > 0 {
		g.tickets.Store(&keys)
	}
	return err
}

// Prepare makes sure that this process can do the work before the one that does it
// now is let go: the control plane takes its report.
func (g *Gateway) Prepare(ctx context.Context) error {
	if err := g.sealing.renew(g.clock.local(), &g.opener); err != nil {
		return err
	}
	g.health.look(ctx)
	return g.reportOnce(ctx)
}

// Leave makes Run stop to accept and return when the last session is over, or after
// DrainTime. Closing is called when nobody is accepted here any more; what became
// of the sessions is told to heir, which is closed at the end.
func (g *Gateway) Leave(heir net.Conn, closing func()) {
	g.next, g.closing = heir, closing
	close(g.leaving)
}

// left reports whether Leave was called.
func (g *Gateway) left() bool {
	select {
	case <-g.leaving:
		return true
	default:
		return false
	}
}

// retire is drain for a process that has left: others have taken its place, so it
// says nothing of itself any more.
func (g *Gateway) retire() {
	g.log.Info("another process has taken over", "sessions", g.sessions.count(), "limit", g.opt.DrainTime)
	if g.closing != nil {
		g.closing()
	}
	h := &heirloom{conn: g.next, promised: g.memory.promised}
	h.begin(g)
	limit := time.NewTimer(g.opt.DrainTime)
	defer limit.Stop()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for g.gate.busy() || g.sessions.count() > 0 || g.before.count() > 0 {
		select {
		case <-limit.C:
			g.log.Warn("cutting what has not ended", "sessions", g.sessions.count())
			return
		case <-look.C:
		}
	}
}

// heirloom is the way on which a leaving process tells of its sessions. A nil one
// tells nobody.
type heirloom struct {
	mu       sync.Mutex
	conn     net.Conn
	promised func() int64
}

// heirTimeout bounds one line to the next process: if it does not read, no session
// here waits for it.
const heirTimeout = 5 * time.Second

func (h *heirloom) tell(w word) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write(w)
}

// write needs mu. If the next process is gone nobody is to be told.
func (h *heirloom) write(w word) {
	w.Promised = h.promised()
	text, err := json.Marshal(w)
	if err != nil {
		return
	}
	h.conn.SetWriteDeadline(time.Now().Add(heirTimeout))
	h.conn.Write(append(text, '\n'))
}

// begin makes h the way of all words from now on, and tells of every session whose
// end the control plane does not know yet. No end can be told in between: it would be
// unknown, and its session then said to live.
func (h *heirloom) begin(g *Gateway) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.heir.Store(h)
	h.write(word{Live: append(g.sessions.ids(), g.ends.ids()...)})
}

// maxWord bounds a line of a leaving process: all its sessions, by 40 bytes each.
const maxWord = 4 << 20

// before are the sessions of the process that was here before.
type before struct {
	mu       sync.Mutex
	live     map[string]bool // guarded by mu
	promised int64           // the same
}

// needs is the memory that they may come to need.
func (b *before) needs() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.promised
}

func (b *before) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.live)
}

// Follow reads what the process before tells of its sessions, until it ends. What
// it has not ended by then was cut off with it, and that is told in its place.
func (g *Gateway) Follow(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxWord)
	for lines.Scan() {
		var w word
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			g.log.Error("the process before says what cannot be read", "error", err)
			continue
		}
		g.before.hear(w)
	}
	for _, id := range g.before.forget() {
		g.log.Warn("the process before has lost a session", "session", id)
		g.ends.add(ended{session: id, end: lostEnd()})
	}
}

func (b *before) hear(w word) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live == nil {
		b.live = map[string]bool{}
	}
	for _, id := range w.Live {
		b.live[id] = true
	}
	delete(b.live, w.Ended)
	b.promised = w.Promised
}

func (b *before) forget() (lost []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.live {
		lost = append(lost, id)
	}
	b.live, b.promised = nil, 0
	return lost
}
