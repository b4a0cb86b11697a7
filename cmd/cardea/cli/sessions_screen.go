package cli

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// screen lets through what a recorded program drew, and nothing by which it could do
// more to a terminal: ask it something (the answer would be typed into the viewer's
// shell), set its title or clipboard, print, load fonts, or change what keys send.
// The escape codes are those of ECMA-48 and xterm's ctlseqs.
//
// It is a state machine over bytes, so codes that are cut between two events are no
// way around it.
type screen struct {
	out   io.Writer
	state screenState
	code  []byte // of a control sequence, from ESC on
	keep  []byte // what goes on, of one Write
	char  []byte // of UTF-8, not whole yet
	other bool   // the alternate screen is shown
}

type screenState uint8

const (
	plainText  screenState = iota
	afterEsc               // ESC was the last
	charset                // ESC and an intermediate byte
	control                // CSI … final
	stringCode             // OSC, DCS, APC, PM, SOS: to BEL or ST
	stringEsc              // ESC within one
)

// maxCode bounds a control sequence, in bytes. Those that draw are far shorter.
const maxCode = 256

// undo brings back what a recording may have left behind: modes, colours, a hidden
// cursor, another character set.
const undo = "\x18\x1b[!p\x1b[0m\x1b[?5l\x1b[?7h\x1b[?25h\x1b(B\x0f"

// undo is that, and the way back from the other screen if it is there: a terminal that
// is not would move its cursor.
func (s *screen) undo() string {
	if s.other {
		return undo + "\x1b[?1049l"
	}
	return undo
}

func (s *screen) Write(b []byte) (int, error) {
	s.keep = s.keep[:0]
	for _, c := range b {
		s.take(c)
	}
	if _, err := s.out.Write(s.keep); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *screen) take(c byte) {
	switch s.state {
	case plainText:
		s.text(c)
	case afterEsc:
		s.escape(c)
	case charset:
		s.add(c)
		if c >= 0x30 {
			s.pass(strings.ContainsRune("()*+", rune(s.code[1]))) // character sets
		}
	case control:
		s.control(c)
	case stringCode:
		switch c {
		case 0x07, 0x18, 0x1a:
			s.state = plainText
		case 0x1b:
			s.state = stringEsc
		}
	case stringEsc:
		s.state = plainText
		if c != '\\' { // another code begins, and ends this one
			s.code = append(s.code[:0], 0x1b)
			s.escape(c)
		}
	}
}

// text takes a byte outside of codes. C1 controls are codes as well where a terminal
// takes single bytes for them, and in UTF-8 (U+0080 to U+009F), so a character goes on
// when it is whole.
func (s *screen) text(c byte) {
	if len(s.char) > 0 && (c < 0x80 || c >= 0xc0) {
		s.char = s.char[:0]
		s.keep = append(s.keep, '?')
	}
	switch {
	case c == 0x1b:
		s.state, s.code = afterEsc, append(s.code[:0], c)
	case c >= 0x80:
		if s.char = append(s.char, c); !utf8.FullRune(s.char) {
			return
		}
		if r, n := utf8.DecodeRune(s.char); r < 0xa0 || r == utf8.RuneError && n == 1 {
			s.keep = append(s.keep, '?')
		} else {
			s.keep = append(s.keep, s.char...)
		}
		s.char = s.char[:0]
	case c >= 0x20 && c < 0x7f, c >= 0x07 && c <= 0x0f: // 0x05 asks who the terminal is
		s.keep = append(s.keep, c)
	}
}

func (s *screen) escape(c byte) {
	s.add(c)
	switch {
	case c == '[':
		s.state = control
	case c == ']' || c == 'P' || c == '_' || c == '^' || c == 'X' || c == 'k': // k: the title, of screen
		s.state = stringCode
	case c == 0x1b:
		s.code = s.code[:1]
	case c >= 0x20 && c <= 0x2f:
		s.state = charset
	default:
		// Z asks who the terminal is; what else draws is lines, tabs, cursor and reset.
		s.pass(strings.ContainsRune("78DEHMNOc", rune(c)))
	}
}

// control takes a byte of CSI.
func (s *screen) control(c byte) {
	switch {
	case c == 0x1b:
		s.state, s.code = afterEsc, append(s.code[:0], c)
	case c == 0x18 || c == 0x1a:
		s.state = plainText
	case c < 0x20 || c == 0x7f:
		s.text(c) // terminals obey them in the middle of a code
	case len(s.code) >= maxCode:
		s.state = stringCode // nothing that draws; and its end is not known
	default:
		s.add(c)
		if c >= 0x40 {
			s.pass(draws(s.code[2:]))
		}
	}
}

// draws reports whether a control sequence only changes the picture, or modes that undo
// undoes. code is what stands behind CSI.
func draws(code []byte) bool {
	private, intermediate := byte(0), byte(0)
	for _, c := range code[:len(code)-1] {
		if c >= 0x3c && c <= 0x3f {
			private = c
		}
		if c >= 0x20 && c <= 0x2f {
			intermediate = c
		}
	}
	final := code[len(code)-1]
	switch {
	case intermediate == ' ' && final == 'q', intermediate == '!' && final == 'p': // shape of the cursor; soft reset
		return true
	case intermediate != 0 || private != 0 && private != '?':
		return false
	case final == 'h' || final == 'l':
		return drawingModes(string(bytes.TrimLeft(code[:len(code)-1], "?")), private == '?')
	case private == '?':
		return final == 'J' || final == 'K'
	}
	return bytes.IndexByte([]byte("ABCDEFGHIJKLMPSTXZ@`abdefgmrsu"), final) >= 0
}

// drawingModes reports whether all modes that are set or reset change only how the
// picture looks: not what keys, mouse and pasting send.
func drawingModes(list string, private bool) bool {
	for mode := range strings.SplitSeq(list, ";") {
		switch mode {
		case "4": // insert
			if private {
				return false
			}
		case "5", "6", "7", "12", "25", "47", "1047", "1048", "1049", "2026":
			if !private {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func (s *screen) add(c byte) { s.code = append(s.code, c) }

// pass ends a code, and lets it through or not.
func (s *screen) pass(good bool) {
	if good {
		s.keep = append(s.keep, s.code...)
		if screens := bytes.Contains(s.code, []byte("47")) || bytes.Contains(s.code, []byte("1049")); screens && bytes.HasPrefix(s.code, []byte("\x1b[?")) {
			s.other = bytes.HasSuffix(s.code, []byte("h"))
		}
	}
	s.state = plainText
}
