package bridge

import (
	"io"
	"sync/atomic"
	"time"
)

// The library lets each channel have a window of 2 MiB on its way that the other side has not
// read, and 16 requests, and says not how much it has. So what came in is compared with what was
// taken from it.

const (
	// windowSize is what the library lets a channel have.
	windowSize = 2 << 20
	// requestsSize is what may wait behind the requests of one channel that is being handled: in
	// the library 17 of the largest packets that it takes, and what is kept here.
	requestsSize = 17*(256<<10) + maxWaitingBytes
	// restTime without anything to pass on is long enough to know that nothing waited when it
	// began: whoever takes from a channel does so at once, as soon as the machine lets him.
	restTime = 250 * time.Millisecond
)

// Held tells how much of a session waits in memory for somebody who reads it. The zero value
// is of a session that has not begun; it may be asked at any time.
type Held struct{ b atomic.Pointer[bridge] }

// Bytes is about how much that is.
func (h *Held) Bytes() int64 {
	if b := h.b.Load(); b != nil {
		return b.waiting()
	}
	return 0
}

// holding is what a bridge knows of it.
type holding struct {
	some   atomic.Int32 // who hold something: pumps, and who handle requests
	most   atomic.Int64 // how many bytes may wait behind them
	taken  atomic.Int64 // bytes of data and of requests from the library
	rested atomic.Int64 // when the last of them had nothing any more, since the session began
	idle   atomic.Int64 // what had come in beyond taken then
	base   atomic.Int64 // the same, when nothing waited
}

// hold notes that somebody begins or ends to pass data on.
func (b *bridge) hold(yes bool) { b.holds(yes, windowSize) }

// holds notes the same of somebody behind whom so much may wait.
func (b *bridge) holds(yes bool, most int64) {
	h := &b.holding
	if !yes {
		h.most.Add(-most)
		if h.some.Add(-1) == 0 {
			b.rest()
		}
		return
	}
	h.most.Add(most)
	if h.some.Add(1) == 1 && time.Since(b.rec.began)-time.Duration(h.rested.Load()) > restTime {
		h.base.Store(h.idle.Load())
	}
}

// rest notes that nobody has anything to pass on.
func (b *bridge) rest() {
	b.holding.idle.Store(b.beyond())
	b.holding.rested.Store(int64(time.Since(b.rec.began)))
}

// beyond is what came in and was not taken. Most of it is what the packets have besides data.
func (b *bridge) beyond() int64 {
	return b.user.read.Load() + b.server.read.Load() - b.holding.taken.Load()
}

// waiting is about what the library has: never more than it may have of those who hold
// something, for what packets have besides grows while much passes.
func (b *bridge) waiting() int64 {
	return min(max(b.beyond()-b.holding.base.Load(), 0), b.holding.most.Load())
}

// counted is a channel of which is counted what is taken from it.
type counted struct {
	io.Reader
	taken *atomic.Int64
}

func (b *bridge) counted(r io.Reader) counted { return counted{r, &b.holding.taken} }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.taken.Add(int64(n))
	return n, err
}
