package draw

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Patience is how long after the last key a screen still loads its lists anew by itself: one
// that somebody left behind is no use of his session.
const Patience = 10 * time.Minute

// Look is how a screen draws. NO_COLOR and terminals with fewer colours are seen to where
// it is written out, by bubbletea.
type Look struct {
	Title, Tab, Quiet, Key, Good, Alarm, Chosen, Match lipgloss.Style
}

// NewLook is for a dark background, or a light one. The sixteen colours are the terminal's
// own; on a light background its yellow cannot be read, nor its dark blue on a dark one.
func NewLook(dark bool) Look {
	plain := lipgloss.NewStyle()
	l := Look{
		Title: plain.Bold(true), Tab: plain.Bold(true).Underline(true), Quiet: plain.Faint(true), Key: plain.Bold(true),
		Good: plain.Foreground(lipgloss.Green), Alarm: plain.Bold(true).Foreground(lipgloss.Red),
		Chosen: plain.Bold(true).Foreground(lipgloss.Blue), Match: plain.Bold(true).Underline(true).Foreground(lipgloss.Magenta),
	}
	if dark {
		l.Good, l.Alarm = plain.Foreground(lipgloss.BrightGreen), plain.Bold(true).Foreground(lipgloss.BrightRed)
		l.Chosen, l.Match = plain.Bold(true).Foreground(lipgloss.BrightBlue), plain.Bold(true).Underline(true).Foreground(lipgloss.BrightYellow)
	}
	return l
}

// Cut makes a text fit n cells.
func Cut(s string, n int) string { return ansi.Truncate(s, max(n, 0), "…") }

// Cell makes a text exactly n cells wide.
func Cell(s string, n int) string {
	s = Cut(s, n)
	return s + strings.Repeat(" ", max(n-ansi.StringWidth(s), 0))
}

// Ends puts two texts at the two ends of a line; the left one gives way.
func Ends(left, right string, width int) string {
	room := width - ansi.StringWidth(right)
	if room < 1 {
		return Cut(left, width)
	}
	return Cell(left, room) + right
}

// Wrap breaks a text into at most so many lines; what does not fit is cut.
func Wrap(s string, width, lines int) []string {
	out := strings.Split(ansi.Wrap(s, max(width, 1), ""), "\n")
	if len(out) > lines {
		out = append(out[:lines-1:lines-1], Cut(strings.Join(out[lines-1:], " "), width))
	}
	return out
}

// Hint is a key and what it does.
type Hint struct{ key, does string }

// Key makes a Hint.
func Key(key, does string) Hint { return Hint{key, does} }

// Help is a line of keys, as many as fit: the first ones matter most.
func (l Look) Help(width int, hints ...Hint) string {
	var parts []string
	used := 0
	for _, h := range hints {
		n := ansi.StringWidth(h.key) + 1 + ansi.StringWidth(h.does)
		if len(parts) > 0 {
			n += 2
		}
		if used+n > width {
			continue
		}
		used += n
		parts = append(parts, l.Key.Render(h.key)+" "+l.Quiet.Render(h.does))
	}
	return strings.Join(parts, "  ")
}

// Ago is Roughly within a sentence.
func Ago(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return Roughly(d) + " ago"
}

// Roughly is how long something is past, as people say it.
func Roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// Narrowest is what a screen is drawn for where a terminal is narrower still, in cells.
const Narrowest = 20
