package bridge

import "github.com/cardea-ssh/cardea/recording"

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
