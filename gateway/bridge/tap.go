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
// a program could show a user what no recording shows.
func (c *channel) watching(start func(filewatch.Emit) *filewatch.Watcher) *tap {
	var lost, failed atomic.Bool
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
	watch := func(look func([]byte), kept func([]byte) error) func([]byte) error {
		return func(p []byte) error {
			look(p)
			switch {
			case failed.Load():
				return errUnrecorded
			case lost.Load():
				return kept(p)
			}
			return nil
		}
	}
	return &tap{onUp: watch(w.FromUser, keep.up), onDown: watch(w.FromServer, keep.down), onErrput: keep.onErrput, onEnd: w.Close}
}
