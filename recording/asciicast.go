package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Terminal follows one channel of a recording as a person saw it: the one that is
// named, or else the first that has a terminal or puts something out.
type Terminal struct {
	Channel uint32 // 0: the first
	Pty     bool   // it has a terminal
	Term    string // of its pty-req, "" before
	Size    Size   // as it is now; 80 by 24 until it is known
}

// DefaultSize is that of a terminal of which the size is not known.
var DefaultSize = Size{Columns: 80, Rows: 24}

// Shows takes the next event, and reports whether it is one of the channel.
func (t *Terminal) Shows(e Event) bool {
	if t.Size == (Size{}) {
		t.Size = DefaultSize
	}
	asked := Requested{}
	if e.Kind == Request {
		asked, _ = Decode[Requested](e)
	}
	if t.Channel == 0 && e.Channel != 0 && (asked.Type == "pty-req" || e.Kind == Output || e.Kind == Errput) {
		t.Channel = e.Channel
	}
	if t.Channel == 0 || e.Channel != t.Channel {
		return false
	}
	switch {
	case asked.Type == "pty-req":
		t.Pty, t.Term = true, asked.Term
		if asked.Size != nil {
			t.resize(*asked.Size)
		}
	case e.Kind == Resize:
		if size, err := Decode[Size](e); err == nil {
			t.resize(size)
		}
	}
	return true
}

// Lines are the bytes that a terminal shows as they were meant: where the program had
// none of its own, a line that ends still begins the next at the left.
func (t *Terminal) Lines(b []byte) []byte {
	if t.Pty {
		return b
	}
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// maxCells bounds one side of a terminal: players make room for all of it.
const maxCells = 10_000

func (t *Terminal) resize(s Size) {
	if s.Columns > 0 && s.Rows > 0 && s.Columns <= maxCells && s.Rows <= maxCells {
		t.Size = s
	}
}

// Asciicast writes what a channel showed as asciicast v2
// (https://docs.asciinema.org/manual/asciicast/v2/); channel 0 is the first that has
// something to show.
func Asciicast(out io.Writer, r *Reader, channel uint32) error {
	c := cast{out: bufio.NewWriter(out), terminal: Terminal{Channel: channel}, header: r.Header()}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := c.event(e); err != nil {
			return err
		}
	}
	if err := c.begin(); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write the asciicast: %w", err)
	}
	return nil
}

// cast is an asciicast that is being written.
type cast struct {
	out      *bufio.Writer
	terminal Terminal
	header   Header
	began    bool
	last     time.Duration
	open     [2][]byte // bytes of "o" and "i" that are the start of a character
}

// begin writes the first line, when the size is known.
func (c *cast) begin() error {
	if c.began {
		return nil
	}
	c.began = true
	if c.terminal.Size == (Size{}) {
		c.terminal.Size = DefaultSize
	}
	first := map[string]any{
		"version": 2, "width": c.terminal.Size.Columns, "height": c.terminal.Size.Rows,
		"title": fmt.Sprintf("%s@%s %s", c.header.Login, c.header.ServerName, c.header.Session),
	}
	if !c.header.Started.IsZero() {
		first["timestamp"] = c.header.Started.Unix()
	}
	if c.terminal.Term != "" {
		first["env"] = map[string]string{"TERM": c.terminal.Term}
	}
	return c.line(first)
}

func (c *cast) event(e Event) error {
	if e.Kind == Gap {
		missing, _ := Decode[Missing](e)
		if err := c.begin(); err != nil {
			return err
		}
		return c.at(e.At, "m", "something is missing here: "+missing.Why)
	}
	if !c.terminal.Shows(e) {
		return nil
	}
	switch e.Kind {
	case Output, Errput:
		return c.data(e, "o", &c.open[0])
	case Input:
		return c.data(e, "i", &c.open[1])
	case Resize:
		if err := c.begin(); err != nil {
			return err
		}
		return c.at(e.At, "r", fmt.Sprintf("%dx%d", c.terminal.Size.Columns, c.terminal.Size.Rows))
	}
	return nil
}

// data writes bytes as text. A character that is cut between two events goes with the
// second; what is no UTF-8 becomes U+FFFD, as asciicast can hold nothing else.
func (c *cast) data(e Event, code string, open *[]byte) error {
	if err := c.begin(); err != nil {
		return err
	}
	b := append(*open, c.terminal.Lines(e.Data)...)
	whole := len(b) - partial(b)
	*open = append([]byte(nil), b[whole:]...)
	if whole == 0 {
		c.last = max(c.last, e.At)
		return nil
	}
	return c.at(e.At, code, string(b[:whole]))
}

// flush writes what was left of characters that never became whole.
func (c *cast) flush() error {
	for i, code := range []string{"o", "i"} {
		if len(c.open[i]) > 0 {
			if err := c.at(c.last, code, string(c.open[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cast) at(at time.Duration, code, text string) error {
	c.last = max(c.last, at)
	return c.line([]any{json.Number(fmt.Sprintf("%.6f", at.Seconds())), code, text})
}

func (c *cast) line(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the asciicast: %w", err)
	}
	return nil
}

// partial is how many bytes at the end of b are the start of a character that is not
// whole.
func partial(b []byte) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(b)); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// Pace says how long to wait when a recording is played.
type Pace struct {
	Speed float64       // 2 is twice as fast; 0 is 1
	Idle  time.Duration // nothing takes longer; 0: everything takes its time
	last  time.Duration
}

// Until is how long to wait for an event at that time after the one before it.
func (p *Pace) Until(at time.Duration) time.Duration {
	wait := max(at-p.last, 0)
	p.last = max(p.last, at)
	if p.Idle > 0 {
		wait = min(wait, p.Idle)
	}
	if p.Speed > 0 {
		wait = time.Duration(float64(wait) / p.Speed)
	}
	return wait
}

// From begins at a time, as after a Seek.
func (p *Pace) From(at time.Duration) { p.last = at }
