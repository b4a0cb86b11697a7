package fanout

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLine is from where a line without an end is shown in pieces, in bytes.
	maxLine = 16 << 10
	// statusEvery is how often the line about those that still run is drawn anew.
	statusEvery = 100 * time.Millisecond
)

// Show moves lines to two streams, each line whole, with the name of its target before it.
type Show struct {
	Out, Err io.Writer
	// Width is the room for names, in characters.
	Width int
	// Harmless has to be set where Out and Err are a terminal: control characters are left
	// out, so that no server writes over the lines of another.
	Harmless bool
	// Color tells targets apart by it, too.
	Color bool
	// Status is a terminal on which one line says how far it is; nil for none.
	Status io.Writer

	mu    sync.Mutex
	drawn bool      // the status stands on the terminal; guarded by mu
	text  string    // of the status; guarded by mu
	when  time.Time // it was drawn last; guarded by mu
}

// Say sets the line that tells how far it is.
func (s *Show) Say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
	s.draw(time.Now())
}

// End takes the status away.
func (s *Show) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = ""
	s.wipe()
}

func (s *Show) draw(now time.Time) {
	if s.Status == nil || s.text == "" || now.Sub(s.when) < statusEvery {
		return
	}
	s.when, s.drawn = now, true
	fmt.Fprintf(s.Status, "\r\x1b[K%s", s.text)
}

func (s *Show) wipe() {
	if s.drawn {
		s.drawn = false
		fmt.Fprint(s.Status, "\r\x1b[K")
	}
}

// colours are those of the terminal's sixteen that are read on dark and light grounds.
var colours = []int{31, 32, 33, 34, 35, 36}

// lines is one stream of one target.
func (s *Show) lines(name string, to io.Writer) *lines {
	label := name + strings.Repeat(" ", max(0, s.Width-utf8.RuneCountInString(name)))
	if s.Color {
		sum := fnv.New32a()
		io.WriteString(sum, name)
		label = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[sum.Sum32()%uint32(len(colours))], label)
	}
	return &lines{show: s, to: to, label: label + " | "}
}

// lines holds back what is not yet a whole line.
type lines struct {
	show  *Show
	to    io.Writer
	label string
	held  []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	end := bytes.LastIndexByte(l.held, '\n') + 1
	if end == 0 && len(l.held) > maxLine {
		end = len(l.held)
	}
	if end == 0 {
		return len(p), nil
	}
	err := l.put(l.held[:end])
	l.held = append(l.held[:0], l.held[end:]...)
	return len(p), err
}

// flush shows what has no line end, with one.
func (l *lines) flush() error {
	if len(l.held) == 0 {
		return nil
	}
	held := l.held
	l.held = nil
	return l.put(held)
}

// put writes whole lines at once, so that those of two targets do not mix.
func (l *lines) put(text []byte) error {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		b.WriteString(l.label)
		if l.show.Harmless {
			line = harmless(line)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	l.show.mu.Lock()
	defer l.show.mu.Unlock()
	l.show.wipe()
	_, err := l.to.Write(b.Bytes())
	l.show.draw(time.Now())
	return err
}

// harmless is a line as a terminal would have shown its end, without what moves the cursor,
// colours, rings or turns the direction of letters.
func harmless(line []byte) []byte {
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return bytes.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return -1
	}, unescaped(line))
}

// unescaped leaves out escape sequences (ECMA-48 sections 5.4 and 5.6), whose letters alone
// would be read as text.
func unescaped(line []byte) []byte {
	if bytes.IndexByte(line, 0x1b) < 0 {
		return line
	}
	var out []byte
	for i := 0; i < len(line); i++ {
		if line[i] != 0x1b {
			out = append(out, line[i])
			continue
		}
		i = sequence(line, i)
	}
	return out
}

// sequence is where the escape sequence that begins at i ends.
func sequence(line []byte, i int) int {
	if i+1 >= len(line) {
		return i
	}
	switch i++; line[i] {
	case '[': // a control sequence ends with its first byte from @ to ~
		for i++; i < len(line) && (line[i] < '@' || line[i] > '~'); i++ {
		}
	case ']', 'P', 'X', '^', '_': // a string ends with BEL or ESC \
		for i++; i < len(line) && line[i] != 0x07; i++ {
			if line[i] == 0x1b {
				return i + 1
			}
		}
	}
	return i
}
