package tui

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// look is how a screen draws. NO_COLOR and terminals with fewer colours are seen to where
// it is written out, by bubbletea.
type look struct {
	title, tab, quiet, key, good, alarm, chosen lipgloss.Style
}

func newLook() look {
	plain := lipgloss.NewStyle()
	return look{
		title: plain.Bold(true), tab: plain.Bold(true).Underline(true), quiet: plain.Faint(true), key: plain.Bold(true),
		good: plain.Foreground(lipgloss.Green), alarm: plain.Bold(true).Foreground(lipgloss.Red), chosen: plain.Bold(true).Foreground(lipgloss.Blue),
	}
}

// cut makes a text fit n cells.
func cut(s string, n int) string { return ansi.Truncate(s, max(n, 0), "…") }

// cell makes a text exactly n cells wide.
func cell(s string, n int) string {
	s = cut(s, n)
	return s + strings.Repeat(" ", max(n-ansi.StringWidth(s), 0))
}

// ends puts two texts at the two ends of a line; the left one gives way.
func ends(left, right string, width int) string {
	room := width - ansi.StringWidth(right)
	if room < 1 {
		return cut(left, width)
	}
	return cell(left, room) + right
}

// wrap breaks a text into at most so many lines; what does not fit is cut.
func wrap(s string, width, lines int) []string {
	out := strings.Split(ansi.Wrap(s, max(width, 1), ""), "\n")
	if len(out) > lines {
		out = append(out[:lines-1:lines-1], cut(strings.Join(out[lines-1:], " "), width))
	}
	return out
}

// hint is a key and what it does.
type hint struct{ key, does string }

// help is a line of keys, as many as fit: the first ones matter most.
func (l look) help(width int, hints ...hint) string {
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
		parts = append(parts, l.key.Render(h.key)+" "+l.quiet.Render(h.does))
	}
	return strings.Join(parts, "  ")
}

// ago is roughly within a sentence.
func ago(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return roughly(d) + " ago"
}

// roughly is how long something is past, as people say it.
func roughly(d time.Duration) string {
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
