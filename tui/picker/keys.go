package picker

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/rows"
)

// press takes a key.
func (m *Model) press(k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	if key == "ctrl+c" {
		return tea.Quit
	}
	if m.busy {
		return nil
	}
	switch m.mode {
	case filtering:
		return m.pressFilter(k)
	case asking:
		return m.pressAnswer(k)
	case helping:
		m.mode = listing
		return nil
	case failed:
		return m.pressFailed(key)
	case signedOut:
		return m.pressSignedOut(key)
	}
	m.said = ""
	if by, does := rows.Step(key, m.page(), len(m.rows)); does {
		m.choose(m.cursor + by)
		return m.settle()
	}
	return m.pressList(key)
}

func (m *Model) pressList(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "esc":
		return m.leave()
	case "ctrl+z":
		return tea.Suspend
	case "/":
		m.mode = filtering
		m.indexed() // so that no letter waits for it
	case "?":
		m.mode = helping
	case "i", "tab", "right", "l":
		if m.mode == detailing || m.beside() {
			m.mode = listing
			return nil
		}
		m.mode = detailing
		return m.settle()
	case "left", "h":
		m.mode = listing
	case "enter":
		return m.connect()
	case "ctrl+r":
		return m.load()
	default:
		return m.pressVerb(key)
	}
	return nil
}

// pressVerb takes the keys of what can be done with a host.
func (m *Model) pressVerb(key string) tea.Cmd {
	h, ok := m.host()
	if m.wires.Question != "" {
		return nil
	}
	switch {
	case key == "a":
		return m.do(Choice{Verb: Requests})
	case key == "r":
		return m.ask(Choice{Verb: Request, To: m.target()})
	case key == "R":
		c := Choice{Verb: Recordings}
		if ok {
			c.Hosts = []Host{h}
		}
		return m.do(c)
	case !ok:
	case key == "c":
		m.said = "copied: " + ident.Text(sshLine(h))
		return tea.SetClipboard(sshLine(h))
	case key == "f":
		return m.ask(Choice{Verb: Forward, Hosts: []Host{h}})
	case key == "*", key == "b":
		return m.favour(h)
	case key == "space":
		m.mark(h.ID)
		m.choose(m.cursor + 1)
		return m.settle()
	case key == "e":
		return m.ask(Choice{Verb: Run, Hosts: m.many()})
	case key == "t" && m.can(Panes):
		return m.do(Choice{Verb: Panes, Hosts: m.many()})
	}
	return nil
}

func sshLine(h Host) string { return "cardea ssh " + h.Call }

// target is what access is asked for: what was looked for and is not there, else the
// chosen host.
func (m *Model) target() string {
	if h, ok := m.host(); ok {
		return h.Call
	}
	return strings.TrimSpace(m.filter.String())
}

// leave is esc: it undoes one thing after the other, and ends at last.
func (m *Model) leave() tea.Cmd {
	switch {
	case m.mode == detailing:
		m.mode = listing
	case m.filter.String() != "":
		m.filter = draw.Line{}
		m.search()
		return m.settle()
	case len(m.marked) > 0:
		clear(m.marked)
	default:
		return tea.Quit
	}
	return nil
}

func (m *Model) can(v Verb) bool { return slices.Contains(m.wires.Can, v) }

func (m *Model) mark(id string) {
	if m.marked[id] {
		delete(m.marked, id)
	} else {
		m.marked[id] = true
	}
}

// favour makes a host a favourite, or no longer, and has that kept.
func (m *Model) favour(h Host) tea.Cmd {
	for i := range m.hosts {
		if m.hosts[i].ID == h.ID {
			m.hosts[i].Favourite = !h.Favourite
		}
	}
	m.order()
	if m.wires.Favour == nil {
		return nil
	}
	return func() tea.Msg { return keptMsg{m.wires.Favour(h.ID, !h.Favourite)} }
}

// connect goes to the chosen host, or answers Question with it.
func (m *Model) connect() tea.Cmd {
	h, ok := m.host()
	if !ok {
		return nil
	}
	if m.wires.Question != "" {
		m.result = &h
		return tea.Quit
	}
	return m.do(Choice{Verb: Connect, Hosts: []Host{h}})
}

// do has a choice done.
func (m *Model) do(c Choice) tea.Cmd {
	if m.wires.Do == nil || m.wires.Question != "" {
		return nil
	}
	m.busy = true
	return m.wires.Do(c, func(said string, err error) tea.Msg { return doneMsg{said, err} })
}

// ask asks for the text of a choice, where there is such a verb here.
func (m *Model) ask(c Choice) tea.Cmd {
	if m.can(c.Verb) {
		m.back, m.mode, m.choice, m.answer = m.mode, asking, c, draw.Line{Most: maxAnswer}
	}
	return nil
}

// maxAnswer bounds what is typed, in bytes: a command is the longest.
const maxAnswer = 1000

func (m *Model) pressAnswer(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.mode = m.back
	case "enter":
		text := strings.TrimSpace(m.answer.String())
		switch {
		case text == "":
		case m.choice.Verb == Request && m.choice.To == "":
			m.choice.To, m.answer = text, draw.Line{Most: maxAnswer}
		default:
			m.choice.Text = text
			return m.do(m.choice)
		}
	default:
		m.answer.Key(k)
	}
	return nil
}

func (m *Model) pressFilter(k tea.KeyPressMsg) tea.Cmd {
	switch key := k.String(); key {
	case "enter":
		m.mode = listing
		return m.connect()
	case "tab":
		m.mode = listing
	case "esc":
		m.mode, m.filter = listing, draw.Line{}
		m.search()
	case "up", "down", "pgup", "pgdown", "ctrl+p", "ctrl+n":
		by, _ := rows.Step(key, m.page(), len(m.rows))
		m.choose(m.cursor + by)
	default:
		if before := m.filter.String(); m.filter.Key(k) && m.filter.String() != before {
			m.chosen = "" // the best one is what is meant
			m.search()
		}
	}
	return m.settle()
}

func (m *Model) paste(text string) tea.Cmd {
	switch m.mode {
	case filtering:
		m.filter.Insert(text)
		m.chosen = ""
		m.search()
		return m.settle()
	case asking:
		m.answer.Insert(text)
	}
	return nil
}

func (m *Model) pressFailed(key string) tea.Cmd {
	if key == "q" {
		return tea.Quit
	}
	m.mode = listing
	return m.load()
}

func (m *Model) pressSignedOut(key string) tea.Cmd {
	switch key {
	case "q", "esc":
		return tea.Quit
	case "enter":
		if !m.nowhere {
			return m.do(Choice{Verb: SignIn})
		}
	case "ctrl+r":
		return m.begin()
	}
	return nil
}

// mouse takes the wheel, and clicks on rows: the first one chooses, the second connects.
func (m *Model) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.busy || m.mode != listing && m.mode != filtering {
		return nil
	}
	switch e := msg.(type) {
	case tea.MouseWheelMsg:
		by := draw.Wheel(e)
		m.choose(m.cursor + by)
	case tea.MouseClickMsg:
		line := e.Y + draw.Hidden(headLines+m.page()+footLines, m.height)
		row := m.first + line - headLines
		if e.Button != tea.MouseLeft || line < headLines || line >= headLines+m.page() || row >= len(m.rows) || e.X >= m.listWidth() {
			return nil
		}
		if row == m.cursor {
			return m.connect()
		}
		m.choose(row)
	}
	return m.settle()
}
