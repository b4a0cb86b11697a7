package tui

import (
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/tui/draw"
)

// View implements tea.Model.
func (m *Requests) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "cardea requests"
	return v
}

// frame is the whole picture: never more lines than the terminal has.
func (m *Requests) frame() string {
	width := max(m.width, draw.Narrowest)
	top, foot := m.ends(width)
	return draw.Screen(top, m.body(width, draw.Room(top, foot, m.height)), foot, m.height)
}

// ends are what stands above the list and below it.
func (m *Requests) ends(width int) (top, foot []string) {
	title := ""
	if width >= draw.Middle {
		title = m.look.Title.Render("Requests for access")
	}
	return []string{draw.Ends(draw.Tabs(m.tabs(width)), title, width), ""}, append(m.foot(width), m.keys(width))
}

// tabs are the names of the two lists.
func (m *Requests) tabs(width int) []string {
	tab := func(text string, n int, on bool) string {
		return m.look.Tabbed(fmt.Sprintf("%s %d", text, n), on)
	}
	waiting, own := "Waiting for you", "Your own"
	if width < draw.Middle {
		waiting, own = "Waiting", "Own"
	}
	return []string{tab(waiting, len(m.lists.Waiting), !m.mine), tab(own, len(m.lists.Mine), m.mine)}
}

// body is the list, and below it the chosen request in full.
func (m *Requests) body(width, room int) []string {
	if m.mode == failed {
		return m.look.Problem(m.problem, width)
	}
	rows := m.rows()
	if len(rows) == 0 {
		return []string{m.look.Quiet.Render(draw.Cut(m.nothing(), width))}
	}
	details := m.details(width, room)
	list := room - len(details)
	at := max(kind.At(rows, m.chosen), 0)
	first, end := draw.Seen(at, len(rows), list)
	var out []string
	for i := first; i < end; i++ {
		out = append(out, m.line(rows[i], i == at, width))
	}
	return append(out, details...)
}

func (m *Requests) nothing() string {
	switch {
	case !m.loaded:
		return "Loading …"
	case m.filter.String() != "":
		return "Nothing fits the filter."
	case m.mine:
		return "You asked for nothing. To ask type: cardea request SERVER --reason …"
	}
	return "Nothing waits for your answer."
}

// room is how many rows a page has, about.
func (m *Requests) room() int { return max(m.height-12, 1) }

// line is a row of the list.
func (m *Requests) line(r Request, chosen bool, width int) string {
	since := draw.Roughly(m.wires.Now().Sub(r.Asked))
	who := r.User
	if m.mine {
		who = r.State
	}
	var text string
	switch left := width - 2; {
	case width >= draw.Wide:
		text = draw.Cell(who, 16) + "  " + draw.Cell(r.To, 28) + "  " + draw.Cell(r.For, 6) + "  " + draw.Cell(r.Reason, left-16-28-6-6-6) + "  " + fmt.Sprintf("%4s", since)
	case width >= draw.Middle:
		text = draw.Cell(who, 10) + "  " + draw.Cell(r.To, 20) + "  " + draw.Cell(r.For, 5) + "  " + draw.Cell(r.Reason, left-10-20-5-6-6) + "  " + fmt.Sprintf("%4s", since)
	default:
		text = draw.Ends(who+" "+r.To+" "+r.For, " "+since, left)
	}
	return m.look.Row(text, chosen)
}

// pointed is the row of the list that is in a line of the body; false if none is.
func (m *Requests) pointed(line, width, room int) (Request, bool) {
	all := m.rows()
	length := room - len(m.details(width, room))
	if i := draw.Pointed(max(kind.At(all, m.chosen), 0), len(all), length, line); i >= 0 {
		return all[i], true
	}
	return Request{}, false
}

// details are the chosen request in full, where there is room for them.
func (m *Requests) details(width, room int) []string {
	r, ok := m.row()
	if !ok {
		return nil
	}
	out := []string{"", m.look.Title.Render(draw.Cut(fmt.Sprintf("%s asks for %s, for %s", r.User, r.To, r.For), width))}
	out = append(out, draw.Wrap(r.Reason, width, 3)...)
	facts := fmt.Sprintf("%s, group %s by rule %s, asked %s", r.State, r.Group, r.Rule, draw.Ago(m.wires.Now().Sub(r.Asked)))
	if r.Until != "" {
		facts += ", until " + r.Until
	}
	for _, l := range draw.Wrap(facts, width, 3) {
		out = append(out, m.look.Quiet.Render(l))
	}
	if r.By != "" {
		answer := "answered by " + r.By
		if r.Answer != "" {
			answer += ": " + r.Answer
		}
		out = append(out, draw.Wrap(answer, width, 2)...)
	}
	if out = append(out, m.look.Quiet.Render(draw.Cut(r.ID, width)), ""); room < len(out)+4 {
		return nil
	}
	return out
}

// foot is what is asked, or was done.
func (m *Requests) foot(width int) []string {
	switch {
	case m.mode == filtering:
		return []string{"/" + m.filter.Show(width-1)}
	case m.mode == deciding:
		return m.question(width)
	case m.said != "":
		return []string{m.look.Good.Render(draw.Cut(m.said, width))}
	case m.paused:
		return []string{m.look.Quiet.Render(draw.Cut("not loaded anew since nobody is here; press a key", width))}
	case m.filter.String() != "":
		return []string{m.look.Quiet.Render(draw.Cut("/"+m.filter.String(), width))}
	}
	return []string{""}
}

// question asks for the confirmation.
func (m *Requests) question(width int) []string {
	r, ok := m.row()
	if !ok || r.ID != m.choice.ID {
		return []string{m.look.Alarm.Render(draw.Cut("it does not wait any more", width))}
	}
	if m.busy {
		return []string{m.look.Quiet.Render("…")}
	}
	switch m.choice.Verb {
	case Approve:
		given := r.For
		if m.span < len(r.Spans) {
			given = r.Spans[m.span].Text
		}
		if m.span == 0 {
			given += ", as asked"
		}
		return []string{
			m.look.Title.Render(draw.Cut(fmt.Sprintf("Let %s into %s for %s?", r.User, r.To, given), width)),
			"comment: " + m.comment.Show(width-9),
		}
	case Deny:
		return []string{m.look.Title.Render(draw.Cut("Say no to "+r.User+"?", width)), "why not: " + m.comment.Show(width-9)}
	case Cancel:
		return []string{m.look.Title.Render(draw.Cut("Take back your request for "+r.To+"?", width))}
	}
	return []string{m.look.Title.Render(draw.Cut("End the access to "+r.To+" now, with its connections?", width))}
}

// keys is the help line.
func (m *Requests) keys(width int) string {
	switch m.mode {
	case filtering:
		return m.look.Help(width, draw.Key("enter", "keep"), draw.Key("esc", "show all"))
	case failed:
		return m.look.Help(width, draw.Key("any key", "back"), draw.Key("q", "quit"))
	case deciding:
		switch m.choice.Verb {
		case Approve:
			return m.look.Help(width, draw.Key("enter", "approve"), draw.Key("esc", "back"), draw.Key("↓", "shorter"), draw.Key("↑", "longer"))
		case Deny:
			return m.look.Help(width, draw.Key("enter", "deny"), draw.Key("esc", "back"))
		}
		return m.look.Help(width, draw.Key("y", "yes"), draw.Key("esc", "back"))
	}
	hints := []draw.Hint{}
	if r, ok := m.row(); ok {
		for _, h := range []struct {
			Verb
			draw.Hint
		}{{Approve, draw.Key("a", "approve")}, {Deny, draw.Key("d", "deny")}, {Cancel, draw.Key("c", "take back")}, {End, draw.Key("e", "end")}} {
			if slices.Contains(r.Verbs, h.Verb) {
				hints = append(hints, h.Hint)
			}
		}
	}
	hints = append(hints, draw.Key("tab", "lists"))
	if m.filter.String() != "" {
		hints = append(hints, draw.Key("esc", "show all"))
	}
	hints = append(hints, draw.Key("q", "quit"), draw.Key("/", "filter"), draw.Key("↑↓", "move"), draw.Key("r", "load anew"))
	return m.look.Help(width, hints...)
}
