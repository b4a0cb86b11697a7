package recordings

import (
	"strings"

	tea "charm.land/bubbletea/v2"

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
		m.pressFilter(k)
		return nil
	case asking:
		return m.pressAnswer(k)
	case helping, telling:
		m.mode = listing
		return nil
	case failed:
		m.mode = listing
		switch {
		case key == "q":
			return tea.Quit
		case !m.lists[m.shown].loaded:
			return m.load()
		}
		return nil
	}
	return m.pressList(key)
}

func (m *Model) pressList(key string) tea.Cmd {
	if by, does := rows.Step(key, m.page(), len(m.rows())); does {
		return m.move(by)
	}
	switch key {
	case "q":
		return tea.Quit
	case "esc":
		if m.filter.String() == "" {
			return tea.Quit
		}
		m.filter = draw.Line{}
		m.keepChosen()
	case "ctrl+z":
		return tea.Suspend
	case "tab", "right", "l":
		return m.turn(1)
	case "shift+tab", "left", "h":
		return m.turn(-1)
	case "/":
		m.mode = filtering
	case "?":
		m.mode = helping
	case "ctrl+r", "r":
		return m.load()
	case "i":
		m.ask(false)
	case "enter":
		return m.play()
	}
	return nil
}

// turn shows another list.
func (m *Model) turn(by int) tea.Cmd {
	return m.show((m.shown + by + len(m.lists)) % len(m.lists))
}

func (m *Model) show(list int) tea.Cmd {
	m.shown = list
	m.keepChosen()
	if l := m.lists[m.shown]; !l.loaded && !l.loading {
		return m.load()
	}
	return nil
}

// ask asks for the file of a key.
func (m *Model) ask(thenPlay bool) {
	m.mode, m.thenPlay, m.answer = asking, thenPlay, draw.Line{Most: maxKeyPath}
	m.answer.Insert(m.key)
}

// play plays the chosen one, or asks first for what it takes.
func (m *Model) play() tea.Cmd {
	r, ok := m.row()
	switch {
	case !ok:
		return nil
	case !m.trusted && m.wires.Asks:
		m.ask(true)
		return nil
	}
	m.busy = true
	return m.wires.Play(r.Session, m.key, func(said string, err error) tea.Msg { return playedMsg{said, err} })
}

func (m *Model) pressFilter(k tea.KeyPressMsg) {
	switch k.String() {
	case "enter", "tab", "up", "down":
		m.mode = listing
	case "esc":
		m.mode, m.filter = listing, draw.Line{}
	default:
		m.filter.Key(k)
	}
	m.keepChosen()
}

func (m *Model) pressAnswer(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.mode = listing
	case "enter":
		text := strings.TrimSpace(m.answer.String())
		if text == "" {
			return nil
		}
		m.mode, m.key, m.trusted = listing, text, true
		if m.thenPlay {
			return m.play()
		}
	default:
		m.answer.Key(k)
	}
	return nil
}

// mouse takes the wheel, clicks on rows, of which the first one chooses and the second plays,
// and clicks on the names of lists.
func (m *Model) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.busy || m.mode != listing && m.mode != filtering {
		return nil
	}
	switch e := msg.(type) {
	case tea.MouseWheelMsg:
		return m.move(draw.Wheel(e))
	case tea.MouseClickMsg:
		if e.Button != tea.MouseLeft {
			return nil
		}
		line := e.Y + draw.Hidden(headLines+m.room()+footLines, m.height)
		if tab := draw.TabAt(m.tabs(), e.X); line == 0 && tab >= 0 {
			return m.show(tab)
		}
		r, ok := m.pointed(line)
		switch l := &m.lists[m.shown]; {
		case !ok:
		case r.Session == l.chosen:
			m.mode = listing
			return m.play()
		default:
			l.chosen = r.Session
		}
	}
	return nil
}
