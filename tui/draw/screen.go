package draw

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// Widths, in cells, from which on a row of a list has more to say.
const (
	Wide   = 100
	Middle = 60
)

// Screen is the whole picture of so many lines: the body fills what top and foot leave it.
// There are never more than height; where they do not fit the end is shown, which has the question.
func Screen(top, body, foot []string, height int) string {
	room := Room(top, foot, height)
	for len(body) < room {
		body = append(body, "")
	}
	all := slices.Concat(top, body[:room], foot)
	return strings.Join(all[Hidden(len(all), height):], "\n")
}

// Hidden is how many of so many lines are left out at the top, where all do not fit: who asks
// what is seen at a line counts them.
func Hidden(lines, height int) int { return max(lines-max(height, 1), 0) }

// Room is how many lines a body has between top and foot, at least one.
func Room(top, foot []string, height int) int { return max(height-len(top)-len(foot), 1) }

// Seen are the rows of a list of n that are seen in so many lines, first and end, with the
// chosen one in the middle as far as that goes.
func Seen(chosen, n, lines int) (first, end int) {
	first = max(0, min(chosen-lines/2, n-lines))
	return first, min(n, first+lines)
}

// Pointed is the index of the row that Seen puts into a line, the first of them being 0; -1 if
// there is none.
func Pointed(chosen, n, lines, line int) int {
	first, end := Seen(chosen, n, lines)
	if i := first + line; line >= 0 && i < end {
		return i
	}
	return -1
}

// Wheel tells by how many rows a turn of the wheel moves the choice.
func Wheel(e tea.MouseWheelMsg) int {
	switch e.Button {
	case tea.MouseWheelUp:
		return -3
	case tea.MouseWheelDown:
		return 3
	}
	return 0
}

// tabGap stands between the names of lists.
const tabGap = "  "

// Tabs are the names of lists above them, each as Tabbed made it.
func Tabs(names []string) string { return strings.Join(names, tabGap) }

// TabAt is the index of the name that Tabs puts into a column; -1 if there is none.
func TabAt(names []string, column int) int {
	for i, name := range names {
		n := ansi.StringWidth(name)
		if column >= 0 && column < n {
			return i
		}
		column -= n + len(tabGap)
	}
	return -1
}

// Tabbed is the name of a list above it: the one that is shown is marked, and not by its look alone.
func (l Look) Tabbed(name string, shown bool) string {
	if shown {
		return "[" + l.Tab.Render(name) + "]"
	}
	return l.Quiet.Render(name)
}

// Row is a row of a list, two cells wider than its text.
func (l Look) Row(text string, chosen bool) string {
	if chosen {
		return l.Chosen.Render("› " + text)
	}
	return "  " + text
}

// Keys are keys with what they do below each other, in at most room lines; what is said of
// one takes at most so many.
func (l Look) Keys(width, room, each int, keys ...Hint) []string {
	var out []string
	for _, k := range keys {
		for i, does := range Wrap(k.does, width-keyCells, each) {
			if i > 0 {
				k.key = ""
			}
			out = append(out, l.Key.Render(Cell(k.key, keyCells))+does)
		}
	}
	if len(out) > room {
		out = append(out[:room-1:room-1], l.Quiet.Render("…"))
	}
	return out
}

// keyCells is how wide the column of keys is.
const keyCells = 11
