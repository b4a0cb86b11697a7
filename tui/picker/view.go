package picker

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
)

const (
	// wide is from how many cells on the details stand beside the list. From draw.Middle on
	// labels have a column.
	wide = 110
	// headLines stand above the list: what there is, and a blank.
	headLines = 2
	footLines = 2 // what is said or typed, and the keys
	// stale is from which age on a list says how old it is, and recent within which a
	// server that works is heard of: it asks each minute.
	stale  = 2 * time.Minute
	recent = 5 * time.Minute
)

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "cardea"
	return v
}

// frame is the whole picture: never more lines than the terminal has.
func (m *Model) frame() string {
	width := max(m.width, draw.Narrowest)
	top, foot := []string{m.head(width), ""}, []string{m.foot(width), m.keys(width)}
	if m.height == 1 && m.mode != asking && m.mode != filtering {
		top, foot = nil, nil // the one line is for what matters
	}
	return draw.Screen(top, m.body(width, m.page()), foot, m.height)
}

// page is how many rows are seen.
func (m *Model) page() int { return max(m.height-headLines-footLines, 1) }

// beside reports whether the details stand beside the list.
func (m *Model) beside() bool { return m.width >= wide && m.wires.Question == "" }

// detailed reports whether details are seen.
func (m *Model) detailed() bool { return m.beside() || m.mode == detailing }

func (m *Model) listWidth() int {
	if m.beside() {
		return m.width * 3 / 5
	}
	return max(m.width, draw.Narrowest)
}

// keepInSight scrolls as little as has to be.
func (m *Model) keepInSight() {
	page := m.page()
	m.first = max(0, min(m.first, len(m.rows)-page))
	if m.cursor < m.first {
		m.first = max(m.cursor, 0)
	} else if m.cursor >= m.first+page {
		m.first = m.cursor - page + 1
	}
}

func (m *Model) head(width int) string {
	n := fmt.Sprintf("%d servers", m.total)
	if m.total == 1 {
		n = "1 server"
	}
	if !m.query.Empty() {
		n = fmt.Sprintf("%d of %d", len(m.rows), m.total)
	}
	if len(m.marked) > 0 {
		n += fmt.Sprintf(", %d marked", len(m.marked))
	}
	left := m.look.Title.Render("Cardea") + "  " + n
	if m.wires.Question != "" {
		return m.look.Title.Render(draw.Cut(ident.Text(m.wires.Question), width))
	}
	if m.mode == signedOut || len(m.hosts) == 0 && (!m.loaded || m.mode == failed) {
		left = m.look.Title.Render("Cardea")
	}
	return draw.Ends(left, m.oldness(width), width)
}

// oldness says that the list is not what it is now.
func (m *Model) oldness(width int) string {
	age := m.age + m.wires.Now().Sub(m.since)
	switch {
	case m.offline != "" && age > stale:
		return m.look.Alarm.Render("offline") + m.look.Quiet.Render(", as of "+draw.Ago(age))
	case m.offline != "":
		return m.look.Alarm.Render("offline")
	case m.paused || age > stale && !m.loading:
		return m.look.Quiet.Render("as of " + draw.Ago(age))
	case m.loading && width >= draw.Middle:
		return m.look.Quiet.Render("…")
	}
	return ""
}

// body is what stands in the middle.
func (m *Model) body(width, room int) []string {
	switch m.mode {
	case failed:
		return m.look.Problem(m.problem, width)
	case signedOut:
		return m.signIn(width)
	case helping:
		return m.help(width, room)
	case detailing:
		if h, ok := m.host(); ok && !m.beside() {
			return m.details(h, width, room)
		}
	}
	if len(m.rows) == 0 {
		return draw.Wrap(m.nothing(), width, room)
	}
	list := m.listWidth()
	var out []string
	for i := m.first; i < min(m.first+room, len(m.rows)); i++ {
		out = append(out, m.row(m.hosts[m.rows[i]], i == m.cursor, list))
	}
	h, ok := m.host()
	if !ok || !m.beside() {
		return out
	}
	for len(out) < room {
		out = append(out, strings.Repeat(" ", list))
	}
	for i, l := range m.details(h, width-list-3, room) {
		out[i] = draw.Cell(out[i], list) + m.look.Quiet.Render(" │ ") + l
	}
	return out
}

func (m *Model) nothing() string {
	switch {
	case !m.loaded:
		return "Loading …"
	case m.filter.String() != "" && m.wires.Question == "":
		return "Nothing fits. To ask for access to something else press r."
	case m.filter.String() != "":
		return "Nothing fits."
	}
	return "There is no server that you may reach. A grant in a project gives access: ask an administrator. To see what you may ask for yourself type: cardea requests rules"
}

func (m *Model) signIn(width int) []string {
	out := []string{m.look.Title.Render("You cannot go on yet"), ""}
	out = append(out, draw.Wrap(m.problem.Text, width, 4)...)
	if m.problem.Hint != "" {
		out = append(append(out, ""), draw.Wrap(m.problem.Hint, width, 3)...)
	}
	return out
}

// row is a line of the list: what is chosen, marked and loved, the name, and as much more
// as there is room for.
func (m *Model) row(h Host, chosen bool, width int) string {
	mark, plus, star := " ", " ", " "
	if chosen {
		mark = "›"
	}
	if m.marked[h.ID] {
		plus = "+"
	}
	if h.Favourite {
		star = "*"
	}
	lead := mark + plus + star + " "
	if chosen {
		lead = m.look.Chosen.Render(lead)
	}
	left := width - 4
	state := m.state(h)
	switch {
	case width >= draw.Middle:
		name := max(18, width/3)
		project := max(10, width/6)
		rest := left - name - project - 6 - 6
		return lead + m.name(h, name, chosen) + "  " + draw.Cell(h.Project, project) + "  " +
			m.look.Quiet.Render(draw.Cell(labels(h), rest)) + "  " + state
	default:
		right := " " + state
		if room := left - ansi.StringWidth(h.Name) - 8; room > 6 {
			right = " " + m.look.Quiet.Render(draw.Cut(h.Project, room)) + right
		}
		room := left - ansi.StringWidth(right)
		return lead + m.name(h, room, chosen) + right
	}
}

// name is the name of a host in n cells, with what was found in it set off.
func (m *Model) name(h Host, n int, chosen bool) string {
	style := lipgloss.NewStyle()
	if chosen {
		style = m.look.Chosen
	}
	text := draw.Cut(h.Name, n)
	pad := strings.Repeat(" ", max(n-ansi.StringWidth(text), 0))
	if m.query.Empty() {
		return style.Render(text) + pad
	}
	marks := m.query.Marks(h.Name)
	var b strings.Builder
	for i := 0; i < len(text); {
		on, from := i < len(marks) && marks[i], i
		for i < len(text) && (i < len(marks) && marks[i]) == on {
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
		}
		if on {
			b.WriteString(m.look.Match.Render(text[from:i]))
		} else {
			b.WriteString(style.Render(text[from:i]))
		}
	}
	return b.String() + pad
}

// state is how a server is, in six cells. What was known long ago is told as such.
func (m *Model) state(h Host) string {
	text := health(h, m.at)
	cell := fmt.Sprintf("%6s", text)
	switch {
	case m.at.IsZero() || m.wires.Now().Sub(m.at) > 2*recent:
		return m.look.Quiet.Render(cell)
	case text == "up":
		return m.look.Good.Render(cell)
	}
	return m.look.Alarm.Render(cell)
}

// health is a word: up, for how long it was not heard of, or never.
func health(h Host, at time.Time) string {
	switch {
	case h.Seen.IsZero():
		return "never"
	case at.IsZero():
		return "?"
	case at.Sub(h.Seen) <= recent:
		return "up"
	}
	return draw.Roughly(at.Sub(h.Seen))
}

// labels are written as they are typed, those of the administrator first.
func labels(h Host) string {
	keys := make([]string, 0, len(h.Labels))
	for k := range h.Labels {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		own := func(k string) int {
			if strings.HasPrefix(k, ident.HostLabelPrefix) {
				return 1
			}
			return 0
		}
		if d := own(a) - own(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = ident.Text(k + "=" + h.Labels[k])
	}
	return strings.Join(keys, " ")
}

// details are all of one host.
func (m *Model) details(h Host, width, room int) []string {
	out := []string{m.look.Title.Render(draw.Cut(h.Name, width)), ""}
	fact := func(name, text string) {
		if text == "" {
			return
		}
		for i, l := range draw.Wrap(text, width-11, 6) {
			if i > 0 {
				name = ""
			}
			out = append(out, m.look.Quiet.Render(draw.Cell(name, 11))+l)
		}
	}
	fact("note", h.Note)
	fact("project", h.Project)
	fact("also", strings.Join(h.AltNames, " "))
	fact("login", h.Login)
	fact("role", h.Role)
	fact("gateway", h.Gateway)
	fact("through", h.Bastion)
	if h.Recorded {
		fact("recorded", "yes, what is shown there is recorded")
	}
	fact("labels", labels(h))
	fact("seen", m.seen(h))
	if h.Uses > 0 {
		often := fmt.Sprintf("%d times in all", h.Uses)
		if h.Uses == 1 {
			often = "once in all"
		}
		fact("you", "were there "+draw.Ago(m.wires.Now().Sub(h.Used))+", "+often)
	}
	out = append(out, "")
	for _, l := range m.explained[h.ID].lines {
		out = append(out, draw.Wrap(l, width, 3)...)
	}
	if len(out) > room {
		out = append(out[:room-1:room-1], m.look.Quiet.Render("…"))
	}
	return out
}

func (m *Model) seen(h Host) string {
	switch text := health(h, m.at); text {
	case "up":
		return "now"
	case "never", "?":
		return map[string]string{"never": "never", "?": ""}[text]
	}
	return draw.Ago(m.wires.Now().Sub(h.Seen))
}

// foot is what is typed, or was said.
func (m *Model) foot(width int) string {
	switch {
	case m.busy:
		return m.look.Quiet.Render("…")
	case m.mode == filtering:
		return "/" + m.filter.Show(width-1)
	case m.mode == asking:
		text := m.question() + " "
		return m.look.Title.Render(draw.Cut(text, width*2/3)) + m.answer.Show(width-min(ansi.StringWidth(text), width*2/3))
	case m.said != "":
		return m.besideFilter(m.look.Good, m.said, width)
	case m.paused:
		return m.besideFilter(m.look.Quiet, "not loaded anew since nobody is here; press a key", width)
	case m.offline != "":
		return m.besideFilter(m.look.Quiet, m.offline, width)
	case m.filter.String() != "":
		return m.look.Quiet.Render(draw.Cut("/"+m.filter.String(), width))
	}
	return ""
}

// besideFilter is a text with the filter that is in force at the end of the line, where there
// is room for both.
func (m *Model) besideFilter(style lipgloss.Style, text string, width int) string {
	filter := "/" + m.filter.String()
	if filter == "/" || ansi.StringWidth(text)+2+ansi.StringWidth(filter) > width {
		return style.Render(draw.Cut(text, width))
	}
	return draw.Ends(style.Render(text), m.look.Quiet.Render(filter), width)
}

// question asks for the text of a choice.
func (m *Model) question() string {
	to := ""
	if n := len(m.choice.Hosts); n == 1 {
		to = m.choice.Hosts[0].Name
	} else if n > 1 {
		to = fmt.Sprintf("%d servers", n)
	}
	switch m.choice.Verb {
	case Forward:
		return "Port of " + to + " (8080, or 8080:80, or 8080:host:80):"
	case Run:
		return "Run on " + to + ":"
	}
	if m.choice.To == "" {
		return "Ask for access to the server or project:"
	}
	return "Ask for access to " + ident.Text(m.choice.To) + ", because:"
}
