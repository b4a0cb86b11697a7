package recordings

import (
	"fmt"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/tui/draw"
)

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "cardea sessions"
	return v
}

// frame is the whole picture: never more lines than the terminal has.
func (m *Model) frame() string {
	width := max(m.width, draw.Narrowest)
	top := []string{m.head(width), ""}
	foot := []string{m.foot(width), m.keys(width)}
	return draw.Screen(top, m.body(width, m.room()), foot, m.height)
}

// headLines stand above the body, and footLines below it.
const headLines, footLines = 2, 2

func (m *Model) room() int { return max(m.height-headLines-footLines, 1) }

// tabs are the names of the lists, with how many there are as far as they were read.
func (m *Model) tabs() (names []string) {
	for i, l := range m.lists {
		name := l.name
		switch {
		case l.next != "":
			name += fmt.Sprintf(" %d+", len(l.rows))
		case l.loaded:
			name += fmt.Sprintf(" %d", len(l.rows))
		}
		names = append(names, m.look.Tabbed(name, i == m.shown))
	}
	return names
}

func (m *Model) head(width int) string {
	title := ""
	if width >= draw.Middle {
		title = m.look.Title.Render("Recorded sessions")
	}
	return draw.Ends(draw.Tabs(m.tabs()), title, width)
}

// page is how many rows a page has, about.
func (m *Model) page() int { return max(m.height-12, 1) }

// body is the list, and below it the chosen recording in full.
func (m *Model) body(width, room int) []string {
	switch m.mode {
	case failed:
		return m.look.Problem(m.problem, width)
	case telling:
		return draw.Wrap(m.said, width, room)
	case helping:
		return m.help(width, room)
	}
	rows := m.rows()
	if len(rows) == 0 {
		return draw.Wrap(m.nothing(), width, room)
	}
	details := m.details(width, room)
	length := room - len(details)
	at := max(kind.At(rows, m.lists[m.shown].chosen), 0)
	first, end := draw.Seen(at, len(rows), length)
	var out []string
	for i := first; i < end; i++ {
		out = append(out, m.line(rows[i], i == at, width))
	}
	for len(out) < length {
		out = append(out, "")
	}
	return append(out, details...)
}

func (m *Model) nothing() string {
	l := m.lists[m.shown]
	switch {
	case !l.loaded:
		return "Loading …"
	case m.filter.String() != "" && l.next != "":
		return fmt.Sprintf("Nothing of the newest %d fits the filter. For older ones press ↓.", len(l.rows))
	case m.filter.String() != "":
		return "Nothing fits the filter."
	}
	if len(m.lists) > 1 {
		return "There is nothing in this list. Tab shows the next one."
	}
	return "There is nothing. Sessions are recorded where a project says so; to see which servers those are type: cardea ls"
}

// line is a row of the list.
func (m *Model) line(r Recording, chosen bool, width int) string {
	left, length := width-2, r.Length
	if length == "" {
		length = "…"
	}
	var text string
	switch {
	case width >= draw.Wide:
		text = draw.Cell(r.Started, 16) + "  " + draw.Cell(length, 8) + "  " + draw.Cell(r.User, 16) + "  " + draw.Cell(r.Server, left-16-8-16-16-12-10) + "  " + draw.Cell(r.Project, 16) + "  " + draw.Cell(r.State, 12)
	case width >= draw.Middle:
		text = draw.Cell(r.Started, 16) + "  " + draw.Cell(length, 8) + "  " + draw.Cell(r.User, 10) + "  " + draw.Cell(r.Server, left-16-8-10-9-8) + "  " + draw.Cell(r.State, 9)
	default:
		text = draw.Ends(r.User+" "+r.Server, " "+draw.Roughly(m.wires.Now().Sub(r.At)), left)
	}
	return m.look.Row(text, chosen)
}

// pointed is the row of the list that is in a line of the picture; false if none is.
func (m *Model) pointed(line int) (Recording, bool) {
	all, room := m.rows(), m.room()
	length := room - len(m.details(max(m.width, draw.Narrowest), room))
	if i := draw.Pointed(max(kind.At(all, m.lists[m.shown].chosen), 0), len(all), length, line-headLines); i >= 0 {
		return all[i], true
	}
	return Recording{}, false
}

// details are the chosen recording in full, where there is room for them.
func (m *Model) details(width, room int) []string {
	r, ok := m.row()
	if !ok {
		return nil
	}
	title := r.User + " on " + r.Project + "/" + r.Server
	if r.Login != "" && r.Login != r.User {
		title += " as " + r.Login
	}
	title += ", " + r.Started
	if r.Length != "" {
		title += ", " + r.Length
	}
	out := []string{"", m.look.Title.Render(draw.Cut(title, width))}
	for _, f := range r.Facts {
		for _, l := range draw.Wrap(f, width, 2) {
			out = append(out, m.look.Quiet.Render(l))
		}
	}
	if out = append(out, m.look.Quiet.Render(draw.Cut(r.Session, width)), ""); room < len(out)+4 {
		return nil
	}
	return out
}

// foot is what is asked or was filtered.
func (m *Model) foot(width int) string {
	const question = "File with the key that reads it: "
	switch {
	case m.busy:
		return m.look.Quiet.Render("…")
	case m.mode == filtering:
		return "/" + m.filter.Show(width-1)
	case m.mode == asking && width < draw.Middle:
		return m.look.Title.Render("Key file: ") + m.answer.Show(width-len("Key file: "))
	case m.mode == asking:
		return m.look.Title.Render(question) + m.answer.Show(width-len(question))
	case m.filter.String() != "":
		return m.look.Quiet.Render(draw.Cut("/"+m.filter.String(), width))
	case m.lists[m.shown].loading && m.lists[m.shown].loaded:
		return m.look.Quiet.Render("Loading …")
	}
	return ""
}

// keys is the line at the bottom.
func (m *Model) keys(width int) string {
	k := draw.Key
	switch m.mode {
	case filtering:
		return m.look.Help(width, k("enter", "keep"), k("esc", "show all"))
	case asking:
		enter := "use it"
		if m.thenPlay {
			enter = "play"
		}
		return m.look.Help(width, k("enter", enter), k("esc", "back"), k("ctrl+u", "clear"))
	case helping, telling:
		return m.look.Help(width, k("any key", "back"))
	case failed:
		return m.look.Help(width, k("any key", "back"), k("q", "quit"))
	}
	hints := []draw.Hint{}
	if _, ok := m.row(); ok {
		hints = append(hints, k("enter", "play"))
	}
	if len(m.lists) > 1 {
		hints = append(hints, k("tab", "lists"))
	}
	if m.filter.String() == "" {
		hints = append(hints, k("/", "filter"), k("?", "help"))
	} else {
		hints = append(hints, k("esc", "show all"), k("?", "help"), k("/", "filter"))
	}
	return m.look.Help(width, append(hints, k("q", "quit"), k("↑↓", "move"), k("i", "key"), k("r", "load anew"))...)
}

// help is the whole list of keys.
func (m *Model) help(width, room int) []string {
	k := draw.Key
	return m.look.Keys(width, room, 4,
		k("enter", "play it; while it plays space pauses, + and - change the speed, ← and → go 10 s back and on, Home to its beginning, and q comes back here"),
		k("tab", "the next list"),
		k("/", "filter: words of users, servers, projects, dates, states and ids"),
		k("esc", "take back the filter; then leave"),
		k("i", "another key; a recording is sealed, and only the keys that its project names read it"),
		k("↑ ↓  j k", "move; PgUp, PgDn, g and G by pages and to the ends; older ones are read when you come to the end"),
		k("r", "load anew"),
		k("q", "leave"),
		k("mouse", "a click chooses, a second one plays; one on the name of a list shows that; the wheel moves"),
	)
}
