package bridge

import (
	"sync/atomic"

	"github.com/cardea-ssh/cardea/gateway/filewatch"
	"github.com/cardea-ssh/cardea/recording"
)

// tap is what sees the data of one channel before it passes. Nil functions see nothing.
type tap struct {
	onUp, onDown, onErrput func([]byte) error
	onEnd                  func()
}

func (t *tap) up(p []byte) error     { return see(t.onUp, p) }
func (t *tap) down(p []byte) error   { return see(t.onDown, p) }
func (t *tap) errput(p []byte) error { return see(t.onErrput, p) }

func (t *tap) end() {
	if t.onEnd != nil {
		t.onEnd()
	}
}

func see(f func([]byte) error, p []byte) error {
	if f == nil {
		return nil
	}
	return f(p)
}

// counting keeps nothing: the channel counts by itself.
func (c *channel) counting() *tap { return &tap{onErrput: c.keep(recording.Errput)} }

// keeping records the bytes: output always, input where the project asks for it.
func (c *channel) keeping() *tap {
	t := &tap{onDown: c.keep(recording.Output), onErrput: c.keep(recording.Errput)}
	if c.Input {
		t.onUp = c.keep(recording.Input)
	}
	return t
}

func (c *channel) keep(kind recording.Kind) func([]byte) error {
	return func(p []byte) error { return c.record(c.id, kind, p) }
}

// watching lists the files that a program transfers, and keeps no content of them. What cannot
// be read as a transfer, from the piece on in which it stops being one, is kept as bytes: else
// a program could show a user what no recording shows. So is what the server says before the
// user has said anything, for in a transfer the side that wants something begins.
func (c *channel) watching(start func(filewatch.Emit) *filewatch.Watcher) *tap {
	var begun, lost, failed atomic.Bool
	w := start(func(_ recording.Kind, v any) {
		if _, gap := v.(recording.Missing); gap {
			lost.Store(true)
		}
		if c.note(c.id, v) != nil {
			failed.Store(true)
		}
	})
	keep := c.keeping()
	if w == nil {
		return keep
	}
	// show shows a piece to the watcher, and keeps it if that cannot follow, or anyway.
	show := func(p []byte, look func([]byte), anyway bool, kept func([]byte) error) error {
		look(p)
		switch {
		case failed.Load():
			return errUnrecorded
		case anyway || lost.Load():
			return kept(p)
		}
		return nil
	}
	onUp := func(p []byte) error {
		begun.Store(true)
		return show(p, w.FromUser, false, keep.up)
	}
	onDown := func(p []byte) error { return show(p, w.FromServer, !begun.Load(), keep.down) }
	return &tap{onUp: onUp, onDown: onDown, onErrput: keep.onErrput, onEnd: w.Close}
}
