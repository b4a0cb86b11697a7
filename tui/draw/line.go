package draw

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Line is one line that a person types. Its zero value is empty.
type Line struct {
	Most int // bytes; 0 is no limit

	runes []rune
	at    int // of the cursor
}

func (l *Line) String() string { return string(l.runes) }

// Key takes a key, and reports whether it was one for a line.
func (l *Line) Key(k tea.KeyPressMsg) bool {
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
		l.Insert(k.Text)
	}
	return true
}

// Insert puts text at the cursor, as far as there is room. What moves a cursor, as a pasted
// line end does, is a space.
func (l *Line) Insert(text string) {
	for _, r := range text {
		if ident.Text(string(r)) != string(r) && r != '\\' {
			r = ' '
		}
		if l.Most > 0 && len(l.String())+utf8.RuneLen(r) > l.Most {
			return
		}
		l.runes = append(l.runes[:l.at], append([]rune{r}, l.runes[l.at:]...)...)
		l.at++
	}
}

// Show is the line in so many cells, with a mark where the cursor is; the end that the
// cursor is at is what is seen.
func (l *Line) Show(width int) string {
	before, after := string(l.runes[:l.at]), string(l.runes[l.at:])
	for ansi.StringWidth(before) > width-2 && before != "" {
		_, n := utf8.DecodeRuneInString(before)
		before = before[n:]
	}
	return Cut(strings.TrimRight(before+"▏"+after, " "), width)
}
