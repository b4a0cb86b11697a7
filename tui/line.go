package tui

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// line is one line that a person types. Its zero value is empty.
type line struct {
	runes []rune
	at    int // of the cursor
	most  int // bytes; 0 is no limit
}

func (l *line) String() string { return string(l.runes) }

// key takes a key, and reports whether it was one for a line.
func (l *line) key(k tea.KeyPressMsg) bool {
	switch k.String() {
	case "left", "ctrl+b":
		l.at = max(l.at-1, 0)
	case "right", "ctrl+f":
		l.at = min(l.at+1, len(l.runes))
	case "home", "ctrl+a":
		l.at = 0
	case "end", "ctrl+e":
		l.at = len(l.runes)
	case "backspace", "ctrl+h":
		if l.at > 0 {
			l.runes = append(l.runes[:l.at-1], l.runes[l.at:]...)
			l.at--
		}
	case "delete":
		if l.at < len(l.runes) {
			l.runes = append(l.runes[:l.at], l.runes[l.at+1:]...)
		}
	case "ctrl+u":
		l.runes, l.at = append([]rune(nil), l.runes[l.at:]...), 0
	case "ctrl+k":
		l.runes = l.runes[:l.at]
	default:
		if k.Text == "" {
			return false
		}
		l.insert(k.Text)
	}
	return true
}

// insert puts text at the cursor, as far as there is room. What moves a cursor, as a pasted
// line end does, is a space.
func (l *line) insert(text string) {
	for _, r := range text {
		if ident.Text(string(r)) != string(r) && r != '\\' {
			r = ' '
		}
		if l.most > 0 && len(l.String())+utf8.RuneLen(r) > l.most {
			return
		}
		l.runes = append(l.runes[:l.at], append([]rune{r}, l.runes[l.at:]...)...)
		l.at++
	}
}

// show is the line in so many cells, with a mark where the cursor is; the end that the
// cursor is at is what is seen.
func (l *line) show(width int) string {
	before, after := string(l.runes[:l.at]), string(l.runes[l.at:])
	for ansi.StringWidth(before) > width-2 && before != "" {
		_, n := utf8.DecodeRuneInString(before)
		before = before[n:]
	}
	return cut(strings.TrimRight(before+"▏"+after, " "), width)
}
