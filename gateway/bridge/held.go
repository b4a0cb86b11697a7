package bridge

import "time"

// The library lets each channel have 2 MiB on its way that the other side has not read, and
// says not how much it has. So where memory is short those sessions end that have many
// channels waiting for a reader, before the kernel ends all sessions at once.

// hold notes that somebody begins or ends to pass something on.
func (b *bridge) hold(yes bool) {
	if !yes {
		b.held.Add(-1)
		return
	}
	if b.held.Add(1) > manyHeld && b.Room != nil && b.watched.CompareAndSwap(false, true) {
		b.spawn(b.watchRoom)
	}
}

// watchRoom looks for room as long as many wait.
func (b *bridge) watchRoom() {
	tick := time.NewTicker(heldLook)
	defer tick.Stop()
	defer b.watched.Store(false)
	for b.held.Load() > manyHeld {
		if err := b.Room(); err != nil {
			b.Log.Warn("a session that many channels of wait in is ended", "channels", b.held.Load(), "error", err)
			b.end(End{CauseError, "the gateway has no memory left, and too much of this session waits to be read"})
			return
		}
		select {
		case <-b.ending:
			return
		case <-tick.C:
		}
	}
}
