package recordings

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

// Recording is a recorded session in words.
type Recording struct {
	Session                      string
	At                           time.Time // when it began
	Started, Length              string    // Length is empty while it goes on
	User, Login, Server, Project string
	State                        string
	Facts                        []string // more of it, a line each
}

// Page is a part of a list, newest first. Next is where older ones begin; empty if there are
// none.
type Page struct {
	Rows []Recording
	Next string
}

// Wires are what the screen is given. Load is called beside it.
type Wires struct {
	// Lists are the names of the lists that there are, at least one.
	Lists []string
	// Load reads the page of a list that begins at from, which is empty for the newest. An
	// error that is no *draw.Problem is shown as it is.
	Load func(ctx context.Context, list int, from string) (Page, error)
	// Play makes the command that plays a recording with the key in a file, which may be "" and
	// is not where Asks is set; done takes what
	// there is to say afterwards, if anything, or why it was not played. It is called
	// within Update, so it begins nothing itself.
	Play func(session, key string, done func(said string, err error) tea.Msg) tea.Cmd
	// Key is the file with the key that reads recordings, if one is known. Asks has the screen
	// ask for one before it plays: of no use to who may play nothing.
	Key  string
	Asks bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// mode is what keys mean.
type mode int

const (
	listing mode = iota
	filtering
	asking // for the file of a key
	helping
	telling // what there was to say
	failed
)

// Model is the screen. Make it with New.
type Model struct {
	wires Wires
	ctx   context.Context
	look  draw.Look

	lists         []list
	shown         int // of lists
	width, height int
	mode          mode
	filter        draw.Line
	answer        draw.Line
	key           string // file of the key that is used
	trusted       bool   // it need not be asked for again
	thenPlay      bool   // what asking is for
	problem       draw.Problem
	said          string
	busy          bool
}

// list is one that is shown.
type list struct {
	name    string
	rows    []Recording
	next    string
	chosen  string
	loaded  bool
	loading bool
	asked   int // counts loads from the beginning: what an older one brings is not taken
}

// maxKeyPath bounds what is typed for a file, in bytes: more is no path on Linux.
const maxKeyPath = 4096

// New makes the screen. ctx ends what it began.
func New(ctx context.Context, w Wires) *Model {
	if w.Now == nil {
		w.Now = time.Now
	}
	m := &Model{wires: w, ctx: ctx, look: draw.NewLook(false), width: 80, height: 24, key: w.Key, trusted: w.Key != ""}
	for _, name := range w.Lists {
		m.lists = append(m.lists, list{name: ident.Text(name)})
	}
	return m
}

// Messages to itself.
type (
	loadedMsg struct {
		list, asked int
		from        string
		page        Page
		err         error
	}
	playedMsg struct {
		said string
		err  error
	}
)

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return tea.Batch(tea.RequestBackgroundColor, m.load()) }

// load reads the list that is shown from its beginning.
func (m *Model) load() tea.Cmd {
	l := &m.lists[m.shown]
	l.asked++
	l.loading = true
	return m.read("")
}

// more reads what is older than all that is there.
func (m *Model) more() tea.Cmd {
	l := &m.lists[m.shown]
	if l.next == "" || l.loading {
		return nil
	}
	l.loading = true
	return m.read(l.next)
}

func (m *Model) read(from string) tea.Cmd {
	which, asked := m.shown, m.lists[m.shown].asked
	return func() tea.Msg {
		page, err := m.wires.Load(m.ctx, which, from)
		return loadedMsg{which, asked, from, page, err}
	}
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		m.look = draw.NewLook(msg.IsDark())
	case loadedMsg:
		m.take(msg)
	case playedMsg:
		m.played(msg)
	case tea.PasteMsg:
		switch m.mode {
		case filtering:
			m.filter.Insert(msg.Content)
			m.keepChosen()
		case asking:
			m.answer.Insert(strings.TrimRight(msg.Content, "\r\n"))
		}
	case tea.MouseMsg:
		return m, m.mouse(msg)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

// take takes what was loaded. What is chosen stays.
func (m *Model) take(msg loadedMsg) {
	l := &m.lists[msg.list]
	if msg.asked != l.asked {
		return
	}
	l.loading = false
	if msg.err != nil {
		if m.mode == listing || m.mode == filtering {
			m.fail(msg.err)
		}
		return
	}
	if msg.from == "" {
		l.rows = nil
	}
	l.loaded, l.next = true, msg.page.Next
	for _, r := range msg.page.Rows {
		l.rows = append(l.rows, harmless(r))
	}
	m.keepChosen()
}

// harmless escapes what others wrote.
func harmless(r Recording) Recording {
	for _, s := range []*string{&r.Session, &r.Started, &r.Length, &r.User, &r.Login, &r.Server, &r.Project, &r.State} {
		*s = ident.Text(*s)
	}
	r.Facts = slices.Clone(r.Facts)
	for i := range r.Facts {
		r.Facts[i] = ident.Text(r.Facts[i])
	}
	return r
}

func (m *Model) fail(err error) { m.mode, m.problem = failed, draw.ProblemOf(err) }

// played takes what came of a play. A key that did not serve is asked for anew.
func (m *Model) played(msg playedMsg) {
	m.busy, m.mode = false, listing
	switch m.trusted = msg.err == nil; {
	case msg.err != nil:
		m.fail(msg.err)
	case msg.said != "":
		m.mode, m.said = telling, ident.Text(msg.said)
	}
}

// rows are those of the list that is shown which fit the filter.
func (m *Model) rows() []Recording {
	return kind.Fitting(m.lists[m.shown].rows, m.filter.String())
}

// kind is how recordings are chosen and found.
var kind = rows.Kind[Recording]{
	ID: func(r Recording) string { return r.Session },
	Texts: func(r Recording) []string {
		return []string{r.Session, r.Started, r.User, r.Login, r.Project + "/" + r.Server, r.State}
	},
}

// keepChosen chooses the first row where the chosen one is not there any more.
func (m *Model) keepChosen() {
	l := &m.lists[m.shown]
	l.chosen = kind.Keep(m.rows(), l.chosen)
}

// row is the chosen one.
func (m *Model) row() (Recording, bool) { return kind.Chosen(m.rows(), m.lists[m.shown].chosen) }

// move moves the choice, and has older ones read where it comes to the end.
func (m *Model) move(by int) tea.Cmd {
	l, seen := &m.lists[m.shown], m.rows()
	atEnd := kind.At(seen, l.chosen)+by >= len(seen)-1
	l.chosen = kind.Move(seen, l.chosen, by)
	if atEnd && by > 0 {
		return m.more()
	}
	return nil
}
