package bridge

import (
	"io"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/recording"
)

// chunks are buffers of pumps that have something to do.
var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// pump copies from one side to the other until an end or an error, and then discards what is
// left, so that a reader who has gone leaves nothing in memory. Each piece is shown to take
// first; what take does not want, does not pass. It reports whether all has passed.
func pump(to io.Writer, from io.Reader, take func([]byte) error, busy func(bool)) (whole bool) {
	var idle [idleChunk]byte
	buf, big := idle[:], (*[chunk]byte)(nil)
	defer func() {
		if big != nil {
			chunks.Put(big)
		}
	}()
	broken := false
	for {
		n, err := from.Read(buf)
		if n > 0 && !broken {
			busy(true)
			if take(buf[:n]) != nil {
				broken = true
			} else if _, err := to.Write(buf[:n]); err != nil {
				broken = true
			}
			busy(false)
		}
		if err != nil {
			return !broken
		}
		switch {
		case big == nil && n == len(buf):
			big = chunks.Get().(*[chunk]byte)
			buf = big[:]
		case big != nil && n < idleChunk:
			chunks.Put(big)
			buf, big = idle[:], nil
		}
	}
}

// discard reads to the end.
func discard(from io.Reader) {
	var idle [idleChunk]byte
	for {
		if _, err := from.Read(idle[:]); err != nil {
			return
		}
	}
}

// awaitBegin returns when data may pass. What comes before waits.
func (c *channel) awaitBegin() {
	c.hold(true)
	<-c.begun
	c.hold(false)
}

// pumpUp carries data to the server once the session has begun: sshd drops what comes before.
func (c *channel) pumpUp() {
	c.awaitBegin()
	tap := c.tap()
	whole := pump(inputWriter{c}, c.counted(c.user), func(p []byte) error {
		c.up.Add(int64(len(p)))
		return tap.up(p)
	}, c.hold)
	if whole { // else a program could take a part for all
		c.server.CloseWrite()
	}
}

// pumpDown carries data and stderr to the user. The end of the stream ends both, as it does in
// SSH, so it is passed on when both have gone.
func (c *channel) pumpDown() {
	c.awaitBegin()
	tap := c.tap()
	busy := func(yes bool) {
		c.hold(yes)
		if yes {
			c.busy.Add(1)
			c.progress.Add(1)
		} else {
			c.busy.Add(-1)
		}
	}
	var both sync.WaitGroup
	if c.isSession() {
		both.Add(1)
		c.spawn(func() {
			defer both.Done()
			pump(errputWriter{c}, c.counted(c.server.Stderr()), func(p []byte) error {
				c.down.Add(int64(len(p)))
				return tap.errput(p)
			}, busy)
		})
	}
	pump(outputWriter{c}, c.counted(c.server), func(p []byte) error {
		c.down.Add(int64(len(p)))
		return tap.down(p)
	}, busy)
	both.Wait()
	close(c.delivered)
	c.holdEnd()
	c.lastWord(sentenceTime)
	c.errput.Lock()
	defer c.errput.Unlock()
	c.ended = true
	c.user.CloseWrite()
}

// holdEnd keeps the end of the output back until the user knows how the program ended. Who has
// both ends of the streams closes the channel, and the library confirms that at once: an exit
// code could not follow any more, as it does with sshd. Where the user's own end has not come,
// he may be waiting for this one, so then it waits no longer than endPatience.
func (c *channel) holdEnd() {
	if !c.isSession() {
		return
	}
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-c.over:
		return
	case <-c.ending:
		return
	case <-patience.C:
	}
	select {
	case <-c.sent:
		select {
		case <-c.over:
		case <-c.ending:
		}
	default:
	}
}

func (c *channel) isOver() { c.overOnce.Do(func() { close(c.over) }) }

// lastWord tells the user once why the session ends, if it does by order or for a fault.
func (c *channel) lastWord(d time.Duration) {
	select {
	case <-c.ending:
		if c.isSession() && c.why.Sentence != "" {
			c.lastOnce.Do(func() { c.say(c.why.Sentence, d) })
		}
	default:
	}
}

// settle waits until the output that has come has gone to the user, so that the exit code
// does not overtake it. Output that somebody in the background holds open, or goes on making, is not waited
// for: sshd does not either. The channel stays until that ends, as it does with sshd.
func (c *channel) settle() {
	for end := time.Now().Add(exitLimit); time.Now().Before(end); {
		before := c.progress.Load()
		patience := time.NewTimer(exitPatience)
		select {
		case <-c.delivered:
			patience.Stop()
			return
		case <-patience.C:
		}
		if c.progress.Load() == before && c.busy.Load() == 0 {
			return
		}
	}
}

// inputWriter writes to the server.
type inputWriter struct{ c *channel }

func (w inputWriter) Write(p []byte) (int, error) {
	return w.c.bridge.server.rekey.send(w.c.server, p)
}

// outputWriter writes to the user.
type outputWriter struct{ c *channel }

func (w outputWriter) Write(p []byte) (int, error) {
	return w.c.bridge.user.rekey.send(w.c.user, p)
}

// errputWriter writes to the user's stderr, which others do too.
type errputWriter struct{ c *channel }

func (w errputWriter) Write(p []byte) (int, error) {
	w.c.errput.Lock()
	defer w.c.errput.Unlock()
	return w.c.bridge.user.rekey.send(w.c.user.Stderr(), p)
}

// say tells the user something of our own, and gives up after d.
func (c *channel) say(sentence string, d time.Duration) {
	end := time.Now().Add(d)
	for !c.errput.TryLock() {
		if time.Now().After(end) {
			return // he does not read
		}
		time.Sleep(time.Millisecond)
	}
	defer c.errput.Unlock()
	line := "cardea: " + sentence + c.lineEnd()
	if c.ended {
		return
	}
	c.record(c.id, recording.Errput, []byte(line)) // if it fails, this may be what we say
	c.user.Stderr().Write([]byte(line))
}
