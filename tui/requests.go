package tui

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/rows"
)

// Request is somebody's request for access in words.
type Request struct {
	ID, State, User string
	To              string // what was named
	Group, Rule     string
	For, Reason     string
	Asked           time.Time
	Until           string // how long it waits, or when the access ends
	By, Answer      string // empty where nobody answered
	// Spans are the times that may be given, what was asked for first. Empty for one that
	// the person cannot answer.
	Spans []Span
	// Verbs are what may be tried; whether it may be done is decided elsewhere.
	Verbs []Verb
}

// Span is a time that may be given.
type Span struct {
	Seconds int
	Text    string
}

// Verb is what is done with a request.
type Verb string

// Verbs of the screen; the CLI has each as cardea requests VERB.
const (
	Approve Verb = "approve"
	Deny    Verb = "deny"
	Cancel  Verb = "cancel"
	End     Verb = "end"
)

// Choice is what a person decided.
type Choice struct {
	Verb    Verb
	ID      string
	Seconds int    // for Approve; 0 is what was asked for
	Comment string // for Approve and Deny
}

// Lists are what is shown.
type Lists struct{ Waiting, Mine []Request }

// Wires are what a screen of requests is given. Both functions are called beside the
// screen, never two Acts at once; an error that is no *draw.Problem is shown as it is.
type Wires struct {
	Load func(context.Context) (Lists, error)
	Act  func(context.Context, Choice) error
	// Every is how often the lists are loaded anew; 0 is only when a key asks for it.
	Every time.Duration
	// Comment is how long a comment may be, in bytes.
	Comment int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// mode is what keys mean.
type mode int

const (
	listing mode = iota
	filtering
	deciding // a Choice waits for its confirmation
	failed
)

// Requests is the screen of requests for access. Make it with NewRequests.
type Requests struct {
	wires Wires
	ctx   context.Context
	look  draw.Look

	lists         Lists
	mine          bool // the second list is shown
	chosen        string
	width, height int
	mode          mode
	filter        draw.Line
	choice        Choice
	span          int // index of Request.Spans
	comment       draw.Line
	problem       draw.Problem
	said          string // what was done last
	busy, loaded  bool
	paused        bool
	last          time.Time // of the last key
	enter         bool      // that is what it was
}

// NewRequests makes the screen. ctx ends what it began.
func NewRequests(ctx context.Context, w Wires) *Requests {
	if w.Now == nil {
		w.Now = time.Now
	}
	return &Requests{wires: w, ctx: ctx, look: draw.NewLook(false), width: 80, height: 24, last: w.Now()}
}

// Messages to itself.
type (
	loadedMsg struct {
		lists Lists
		err   error
	}
	actedMsg struct {
		choice Choice
		err    error
	}
	tickMsg struct{}
)

// Init implements tea.Model.
func (m *Requests) Init() tea.Cmd { return tea.Batch(m.load, m.tick()) }

func (m *Requests) load() tea.Msg {
	lists, err := m.wires.Load(m.ctx)
	return loadedMsg{lists, err}
}

func (m *Requests) tick() tea.Cmd {
	if m.wires.Every <= 0 {
		return nil
	}
	return tea.Tick(m.wires.Every, func(time.Time) tea.Msg { return tickMsg{} })
}

// Update implements tea.Model.
func (m *Requests) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case loadedMsg:
		m.take(msg)
	case actedMsg:
		return m, m.acted(msg)
	case tickMsg:
		if m.paused = m.wires.Now().Sub(m.last) >= draw.Patience; m.paused || m.busy {
			return m, m.tick()
		}
		return m, tea.Batch(m.load, m.tick())
	case tea.PasteMsg:
		switch m.mode {
		case filtering:
			m.filter.Insert(msg.Content)
		case deciding:
			m.comment.Insert(msg.Content)
		}
	case tea.MouseMsg:
		m.last, m.enter = m.wires.Now(), false
		return m, m.woken(m.mouse(msg))
	case tea.KeyPressMsg:
		before, was := m.last, m.enter
		m.last, m.enter = m.wires.Now(), msg.String() == "enter"
		if was && m.enter && m.last.Sub(before) < repeats {
			return m, nil
		}
		return m, m.woken(m.press(msg))
	}
	return m, nil
}

// woken has the lists loaded, beside what somebody did who was away.
func (m *Requests) woken(cmd tea.Cmd) tea.Cmd {
	if !m.paused {
		return cmd
	}
	m.paused = false
	return tea.Batch(cmd, m.load)
}

// take takes what was loaded. While somebody decides or reads an error nothing of that
// changes under his hands.
func (m *Requests) take(msg loadedMsg) {
	if msg.err != nil {
		if m.mode == listing || m.mode == filtering {
			m.fail(msg.err)
		}
		return
	}
	m.loaded = true
	m.lists = Lists{harmless(msg.lists.Waiting), harmless(msg.lists.Mine)}
	m.keepChosen()
}

// repeats is how soon another Enter comes from a key that is held down: that one answers no
// request, as it would answer the next one, and the one after it.
const repeats = 150 * time.Millisecond

// harmless escapes what others wrote.
func harmless(rows []Request) []Request {
	out := slices.Clone(rows)
	for i := range out {
		r := &out[i]
		for _, s := range []*string{&r.ID, &r.State, &r.User, &r.To, &r.Group, &r.Rule, &r.For, &r.Reason, &r.Until, &r.By, &r.Answer} {
			*s = ident.Text(*s)
		}
	}
	return out
}

func (m *Requests) fail(err error) {
	m.mode, m.problem = failed, draw.ProblemOf(err)
}

// acted takes what became of a choice.
func (m *Requests) acted(msg actedMsg) tea.Cmd {
	m.busy = false
	if msg.err != nil {
		m.fail(msg.err)
		return m.load
	}
	m.mode = listing
	m.said = map[Verb]string{Approve: "approved", Deny: "denied", Cancel: "taken back", End: "ended"}[msg.choice.Verb] + " " + msg.choice.ID
	if msg.choice.Verb == Approve || msg.choice.Verb == Deny {
		// Whoever goes on at once means the next one.
		m.lists.Waiting = slices.DeleteFunc(m.lists.Waiting, func(r Request) bool { return r.ID == msg.choice.ID })
		m.keepChosen()
	}
	return m.load
}

// rows are those of the list that is shown which fit the filter.
func (m *Requests) rows() []Request {
	from := m.lists.Waiting
	if m.mine {
		from = m.lists.Mine
	}
	return kind.Fitting(from, m.filter.String())
}

// kind is how requests are chosen and found.
var kind = rows.Kind[Request]{
	ID:    func(r Request) string { return r.ID },
	Texts: func(r Request) []string { return []string{r.ID, r.State, r.User, r.To, r.Group, r.Reason, r.By} },
}

// keepChosen chooses the first row where the chosen one is not there any more.
func (m *Requests) keepChosen() { m.chosen = kind.Keep(m.rows(), m.chosen) }

// row is the chosen one.
func (m *Requests) row() (Request, bool) { return kind.Chosen(m.rows(), m.chosen) }

// press takes a key.
func (m *Requests) press(k tea.KeyPressMsg) tea.Cmd {
	if k.String() == "ctrl+c" {
		return tea.Quit
	}
	switch m.mode {
	case filtering:
		return m.pressFilter(k)
	case deciding:
		return m.pressDecide(k)
	case failed:
		m.mode = listing
		if s := k.String(); s == "q" {
			return tea.Quit
		}
		return m.load
	}
	return m.pressList(k)
}

func (m *Requests) pressList(k tea.KeyPressMsg) tea.Cmd {
	m.said = ""
	if by, does := rows.Step(k.String(), m.room(), len(m.rows())); does {
		m.chosen = kind.Move(m.rows(), m.chosen, by)
		return nil
	}
	switch k.String() {
	case "q":
		return tea.Quit
	case "esc":
		if m.filter.String() == "" {
			return tea.Quit
		}
		m.filter = draw.Line{}
		m.keepChosen()
	case "tab", "left", "right", "h", "l":
		m.show(!m.mine)
	case "/":
		m.mode = filtering
	case "r":
		return m.load
	case "a", "enter":
		m.decide(Approve)
	case "d":
		m.decide(Deny)
	case "c":
		m.decide(Cancel)
	case "e":
		m.decide(End)
	}
	return nil
}

func (m *Requests) show(mine bool) {
	m.mine = mine
	m.keepChosen()
}

// mouse takes the wheel, clicks on rows, of which the first one chooses and the second asks
// whether to approve, and clicks on the names of lists.
func (m *Requests) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.busy || m.mode != listing && m.mode != filtering {
		return nil
	}
	switch e := msg.(type) {
	case tea.MouseWheelMsg:
		m.chosen = kind.Move(m.rows(), m.chosen, draw.Wheel(e))
	case tea.MouseClickMsg:
		if e.Button == tea.MouseLeft {
			m.said = ""
			m.click(e.X, e.Y)
		}
	}
	return nil
}

func (m *Requests) click(x, y int) {
	width := max(m.width, draw.Narrowest)
	top, foot := m.ends(width)
	room := draw.Room(top, foot, m.height)
	line := y + draw.Hidden(len(top)+room+len(foot), m.height)
	if tab := draw.TabAt(m.tabs(width), x); line == 0 && tab >= 0 {
		m.show(tab == 1)
		return
	}
	switch r, ok := m.pointed(line-len(top), width, room); {
	case !ok:
	case r.ID == m.chosen:
		m.mode = listing
		m.decide(Approve)
	default:
		m.chosen = r.ID
	}
}

// decide asks for the confirmation of a choice.
func (m *Requests) decide(v Verb) {
	r, ok := m.row()
	if !ok || m.busy || !slices.Contains(r.Verbs, v) {
		return
	}
	m.mode, m.choice, m.span, m.comment = deciding, Choice{Verb: v, ID: r.ID}, 0, draw.Line{Most: m.wires.Comment}
}

func (m *Requests) pressFilter(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "enter", "up", "down":
		m.mode = listing
	case "esc":
		m.mode, m.filter = listing, draw.Line{}
	default:
		m.filter.Key(k)
	}
	m.keepChosen()
	return nil
}

// pressDecide is the confirmation. Where nothing is typed a y confirms, else the line end.
func (m *Requests) pressDecide(k tea.KeyPressMsg) tea.Cmd {
	if m.busy {
		return nil
	}
	r, ok := m.row()
	if !ok || r.ID != m.choice.ID { // it is answered by somebody else, or filtered out
		m.mode = listing
		return nil
	}
	typed := m.choice.Verb == Approve || m.choice.Verb == Deny
	switch s := k.String(); {
	case s == "esc", !typed && s != "y" && s != "enter":
		m.mode = listing
	case m.choice.Verb == Approve && (s == "down" || s == "shift+tab"):
		m.span = min(m.span+1, len(r.Spans)-1)
	case m.choice.Verb == Approve && (s == "up" || s == "tab"):
		m.span = max(m.span-1, 0)
	case s == "enter" && m.choice.Verb == Deny && strings.TrimSpace(m.comment.String()) == "":
		// who is refused reads why
	case s == "enter", !typed:
		return m.confirm(r)
	default:
		m.comment.Key(k)
	}
	return nil
}

func (m *Requests) confirm(r Request) tea.Cmd {
	c := m.choice
	c.Comment = strings.TrimSpace(m.comment.String())
	if c.Verb == Approve && m.span > 0 {
		c.Seconds = r.Spans[m.span].Seconds
	}
	m.busy = true
	return func() tea.Msg { return actedMsg{c, m.wires.Act(m.ctx, c)} }
}
