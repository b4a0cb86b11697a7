package picker

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/find"
)

// Host is a server that the person may reach.
type Host struct {
	ID, Name, Project, Login, Role, Gateway string
	// Call is the shortest name that means this one alone on a command line.
	Call     string
	Bastion  string // the name of the server through which the way leads
	AltNames []string
	Labels   map[string]string
	Recorded bool
	Note     string    // what has to be known before one goes there
	Seen     time.Time // when it was last heard of; zero is never
	// The person's own habits: how much he uses it, and when he did last.
	Favourite bool
	Weight    float64
	Uses      int
	Used      time.Time
}

// List is what is known of the servers.
type List struct {
	Hosts []Host
	Age   time.Duration // since it was known to be current
	// At is when Seen of the hosts was so; zero is unknown.
	At time.Time
	// Total is how many there are, where Hosts are only the first; else 0.
	Total int
}

// Verb is what is to be done.
type Verb string

// Verbs. The CLI has each as a verb of its own.
const (
	Connect    Verb = "connect"    // cardea ssh
	Forward    Verb = "forward"    // cardea ssh -N -L
	Run        Verb = "run"        // cardea exec
	Panes      Verb = "panes"      // cardea ssh in each pane of tmux
	Request    Verb = "request"    // cardea request
	Requests   Verb = "requests"   // cardea requests
	Recordings Verb = "recordings" // cardea sessions
	SignIn     Verb = "sign in"    // cardea login
)

// Choice is what a person decided.
type Choice struct {
	Verb  Verb
	Hosts []Host
	// Text is what was typed for it: the port of Forward, the command of Run, why for Request.
	Text string
	// To is what Request is for.
	To string
}

// Wires are what the screen is given. Functions are called beside it.
type Wires struct {
	// First is painted before anything else is done. Known is what is known on this
	// machine, if First is not all of that; Load is what is newest. Either may be nil.
	First       List
	Known, Load func(context.Context) (List, error)
	// Explain tells more of one host, a line each.
	Explain func(context.Context, Host) ([]string, error)
	// Do makes the command that does what was chosen; done takes a sentence of what came of
	// it. It is called within Update, so it begins nothing itself.
	Do func(c Choice, done func(said string, err error) tea.Msg) tea.Cmd
	// Favour keeps a favourite.
	Favour func(id string, on bool) error
	// Can are the verbs that there are on this machine.
	Can []Verb
	// Question has the person choose one host: then nothing else can be done, and Chosen
	// tells which.
	Question string
	// Every is how often Load is called while somebody is here; 0 is only by a key. Settle
	// is how long a host is chosen before it is explained.
	Every, Settle time.Duration
	// Paint is how long the first picture has for itself, if there is something to show on it,
	// before Known is called: reading a long list beside it would have both wait.
	Paint time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// SignedOut is the error of Known and Load where nobody is signed in.
type SignedOut struct {
	Text, Hint string
	// Nowhere is where no control plane is known: then the picker cannot sign in, and Hint
	// says what to type.
	Nowhere bool
}

func (e *SignedOut) Error() string { return e.Text }

// mode is what keys mean.
type mode int

const (
	listing mode = iota
	filtering
	asking // for the Text of a Choice
	detailing
	helping
	failed
	signedOut
)

// Model is the screen. Make it with New.
type Model struct {
	wires Wires
	ctx   context.Context
	look  draw.Look

	hosts  []Host // in their order
	at     time.Time
	age    time.Duration
	total  int
	since  time.Time // when age was so
	index  *find.Index
	query  find.Query
	rows   []int // of hosts, as shown
	chosen string
	cursor int             // of rows; where chosen is
	first  int             // of rows; the first one that is seen
	marked map[string]bool // ids

	width, height int
	mode          mode
	back          mode // where asking and detailing came from
	filter        draw.Line
	choice        Choice
	answer        draw.Line
	problem       draw.Problem
	said          string
	offline       string // why the list could not be loaded
	nowhere       bool   // no control plane is known
	loaded        bool   // all that there is
	busy, loading bool
	paused        bool
	last          time.Time // of the last key
	explained     map[string]explained
	wanted        int // counts what was chosen, for Settle
	result        *Host
}

// explained is what Explain told.
type explained struct {
	lines []string
	at    time.Time
}

// New makes the screen. ctx ends what it began.
func New(ctx context.Context, w Wires) *Model {
	if w.Now == nil {
		w.Now = time.Now
	}
	m := &Model{wires: w, ctx: ctx, look: draw.NewLook(false), width: 80, height: 24, last: w.Now(), marked: map[string]bool{}, explained: map[string]explained{}}
	m.take(w.First)
	m.loaded = w.Known == nil && w.Load == nil
	return m
}

// Chosen is the answer to Question; false if there is none.
func (m *Model) Chosen() (Host, bool) {
	if m.result == nil {
		return Host{}, false
	}
	return *m.result, true
}

// Messages to itself.
type (
	loadedMsg struct {
		list   List
		err    error
		newest bool
	}
	doneMsg struct {
		said string
		err  error
	}
	explainedMsg struct {
		id    string
		lines []string
		err   error
	}
	settledMsg struct{ n int }
	paintedMsg struct{}
	tickMsg    struct{}
	keptMsg    struct{ err error }
)

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, m.painted(), m.tick(), m.settle())
}

// painted begins when the first picture is on the screen.
func (m *Model) painted() tea.Cmd {
	if m.wires.Paint <= 0 || len(m.hosts) == 0 {
		return m.begin()
	}
	return tea.Tick(m.wires.Paint, func(time.Time) tea.Msg { return paintedMsg{} })
}

// begin takes what is known here, and then what is newest.
func (m *Model) begin() tea.Cmd {
	if m.wires.Known == nil {
		return m.load()
	}
	return func() tea.Msg {
		list, err := m.wires.Known(m.ctx)
		return loadedMsg{list, err, false}
	}
}

func (m *Model) load() tea.Cmd {
	if m.wires.Load == nil || m.loading {
		return nil
	}
	m.loading = true
	return func() tea.Msg {
		list, err := m.wires.Load(m.ctx)
		return loadedMsg{list, err, true}
	}
}

func (m *Model) tick() tea.Cmd {
	if m.wires.Every <= 0 {
		return nil
	}
	return tea.Tick(m.wires.Every, func(time.Time) tea.Msg { return tickMsg{} })
}

// settle explains the chosen host when it has been that for a moment.
func (m *Model) settle() tea.Cmd {
	h, ok := m.host()
	if !ok || m.wires.Explain == nil || !m.detailed() {
		return nil
	}
	if e, known := m.explained[h.ID]; known && m.wires.Now().Sub(e.at) < time.Minute {
		return nil
	}
	m.wanted++
	n := m.wanted
	if m.wires.Settle <= 0 {
		return func() tea.Msg { return settledMsg{n} }
	}
	return tea.Tick(m.wires.Settle, func(time.Time) tea.Msg { return settledMsg{n} })
}

func (m *Model) explain() tea.Cmd {
	h, ok := m.host()
	if !ok {
		return nil
	}
	return func() tea.Msg {
		lines, err := m.wires.Explain(m.ctx, h)
		return explainedMsg{h.ID, lines, err}
	}
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.keepInSight()
		return m, m.settle()
	case tea.BackgroundColorMsg:
		m.look = draw.NewLook(msg.IsDark())
	case loadedMsg:
		return m, m.took(msg)
	case doneMsg:
		return m, m.done(msg)
	case paintedMsg:
		return m, m.begin()
	case settledMsg:
		if msg.n == m.wanted {
			return m, m.explain()
		}
	case explainedMsg:
		m.explainedBy(msg)
	case keptMsg:
		if msg.err != nil {
			m.said = "the favourite could not be kept: " + ident.Text(msg.err.Error())
		}
	case tickMsg:
		if m.paused = m.wires.Now().Sub(m.last) >= draw.Patience; m.paused {
			return m, m.tick()
		}
		return m, tea.Batch(m.load(), m.tick())
	case tea.PasteMsg:
		return m, m.paste(msg.Content)
	case tea.MouseMsg:
		return m, m.awake(m.mouse(msg))
	case tea.KeyPressMsg:
		return m, m.awake(m.press(msg))
	}
	return m, nil
}

// awake notes that somebody is here.
func (m *Model) awake(cmd tea.Cmd) tea.Cmd {
	m.last = m.wires.Now()
	if m.paused {
		m.paused = false
		return tea.Batch(cmd, m.load())
	}
	return cmd
}

// took takes a list that was loaded, or why it was not. What somebody does is not disturbed.
func (m *Model) took(msg loadedMsg) tea.Cmd {
	if msg.newest {
		m.loading = false
	}
	var out *SignedOut
	switch {
	case msg.err == nil:
		m.loaded, m.offline = true, ""
		if m.mode == signedOut || m.mode == failed && len(m.hosts) == 0 {
			m.mode = listing
		}
		m.take(msg.list)
	case errors.As(msg.err, &out):
		m.loaded = true
		m.mode, m.nowhere, m.problem = signedOut, out.Nowhere, draw.Problem{Text: ident.Text(out.Text), Hint: ident.Text(out.Hint)}
		return nil
	case !msg.newest: // the newest may still come
	case len(m.hosts) == 0 && (m.mode == listing || m.mode == filtering):
		m.loaded = true
		m.fail(msg.err)
	default:
		m.loaded = true
		m.offline = draw.ProblemOf(msg.err).Text
	}
	if !msg.newest {
		return tea.Batch(m.load(), m.settle())
	}
	return m.settle()
}

func (m *Model) fail(err error) { m.mode, m.problem = failed, draw.ProblemOf(err) }

// take shows a list. What is chosen, marked and typed stays.
func (m *Model) take(list List) {
	m.hosts = make([]Host, len(list.Hosts))
	copy(m.hosts, list.Hosts)
	for i := range m.hosts {
		m.hosts[i].harmless()
	}
	m.at, m.age, m.total, m.since = list.At, list.Age, max(list.Total, len(m.hosts)), m.wires.Now()
	m.unmark()
	m.order()
}

// unmark forgets the marks of what is gone, if that is known.
func (m *Model) unmark() {
	if len(m.marked) == 0 || m.total > len(m.hosts) {
		return
	}
	still := map[string]bool{}
	for i := range m.hosts {
		if m.marked[m.hosts[i].ID] {
			still[m.hosts[i].ID] = true
		}
	}
	m.marked = still
}

func (m *Model) explainedBy(msg explainedMsg) {
	if msg.err != nil {
		msg.lines = []string{"not known now: " + draw.ProblemOf(msg.err).Text}
	}
	lines := make([]string, len(msg.lines))
	for i, l := range msg.lines {
		lines[i] = ident.Text(l)
	}
	m.explained[msg.id] = explained{lines, m.wires.Now()}
}

// done says what came of a choice. Habits changed by it, and what may be reached.
func (m *Model) done(msg doneMsg) tea.Cmd {
	m.busy, m.mode = false, listing
	m.said = ident.Text(msg.said)
	if msg.err != nil {
		m.fail(msg.err)
	}
	return m.begin()
}
