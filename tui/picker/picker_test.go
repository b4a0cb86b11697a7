package picker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/tuitest"
)

var update = flag.Bool("update", false, "write what the frames are now into testdata")

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// driver drives the screen, and is what stands behind it.
type driver struct {
	tuitest.Driver
	screen   *Model
	list     List
	err      error
	loads    int
	done     []Choice
	doErr    error
	favoured []string
	asked    []string // to be explained
	now      time.Time
}

func drive(t *testing.T, list List, change ...func(*Wires)) *driver {
	d := &driver{list: list, now: noon}
	w := Wires{
		Load: func(context.Context) (List, error) { d.loads++; return d.list, d.err },
		Explain: func(_ context.Context, h Host) ([]string, error) {
			d.asked = append(d.asked, h.Name)
			return []string{"You may enter: a grant allows it", "ok  user alice: active", "ok  grant: group engineers may enter project shop", "    ok  membership engineers: you are in it, until 2026-12-24 12:00"}, nil
		},
		Do: func(c Choice, done func(string, error) tea.Msg) tea.Cmd {
			d.done = append(d.done, c)
			return func() tea.Msg { return done(string(c.Verb)+": over", d.doErr) }
		},
		Favour: func(id string, on bool) error { d.favoured = append(d.favoured, fmt.Sprint(id, " ", on)); return nil },
		Can:    []Verb{Forward, Run, Panes, Request},
		Now:    func() time.Time { return d.now },
	}
	for _, c := range change {
		c(&w)
	}
	d.screen = New(t.Context(), w)
	d.Driver = tuitest.Drive(t, d.screen)
	return d
}

func (d *driver) name() string {
	h, _ := d.screen.host()
	return h.Name
}

func team() List {
	host := func(name, project string, seen time.Duration, labels map[string]string) Host {
		return Host{ID: "srv_" + project + name, Name: name, Call: name, Project: project, Login: "alice", Role: "user", Gateway: "required", Labels: labels, Seen: noon.Add(-seen)}
	}
	hosts := []Host{
		host("web-1", "shop", time.Minute, map[string]string{"env": "prod", "role": "web", "host/os": "debian"}),
		host("web-2", "shop", 90*time.Minute, map[string]string{"env": "prod", "role": "web"}),
		host("db-1", "shop", time.Minute, map[string]string{"env": "prod", "role": "db"}),
		host("build-1", "tools", 0, map[string]string{"env": "test"}),
		host("web-1", "test", 50*time.Hour, nil),
	}
	hosts[0].AltNames, hosts[0].Recorded, hosts[0].Uses, hosts[0].Used, hosts[0].Weight = []string{"www"}, true, 14, noon.Add(-3*time.Hour), 2
	hosts[0].Call, hosts[4].Call = "shop/web-1", "test/web-1"
	hosts[2].Favourite = true
	hosts[3].Seen = time.Time{}
	return List{Hosts: hosts, At: noon}
}

func many(n int) List {
	list := List{At: noon}
	for i := range n {
		name := fmt.Sprintf("%s-%05d", []string{"web", "db", "cache", "build"}[i%4], i)
		list.Hosts = append(list.Hosts, Host{ID: fmt.Sprintf("srv_%020d", i), Name: name, Call: name, Project: fmt.Sprintf("project-%d", i%50), Login: "alice", Role: "user", Gateway: "allowed",
			Labels: map[string]string{"env": []string{"prod", "test"}[i%2], "tier": "web", "region": fmt.Sprintf("eu-%d", i%7)}, Seen: noon})
	}
	return list
}

// scenes are what people see.
func scenes() map[string]func(*testing.T) *driver {
	after := func(keys string) func(*testing.T) *driver {
		return func(t *testing.T) *driver { d := drive(t, team()); d.Press(keys); return d }
	}
	return map[string]func(*testing.T) *driver{
		"list": after("j"), "filter": after("/w1"), "kept": after("/env=prod<tab>"), "marked": after("<space><space>"), "details": after("ji"),
		"forward": after("f8080:80"), "run": after("<space><space>euptime"), "request": after("/payments<tab>r"), "why": after("/payments<tab>rpayments<enter>INC-42"), "help": after("?"),
		"over": after("<enter>"),
		"many": func(t *testing.T) *driver { d := drive(t, many(1000)); d.Press("<pgdown><pgdown>"); return d },
		"none": func(t *testing.T) *driver { return drive(t, List{At: noon}) },
		"failed": func(t *testing.T) *driver {
			d := drive(t, team())
			d.doErr = &draw.Problem{Text: "there is no ssh on this machine", Hint: "install OpenSSH's client, and try again"}
			d.Press("<enter>")
			return d
		},
		"unreachable": func(t *testing.T) *driver {
			return drive(t, List{}, func(w *Wires) {
				w.Load = func(context.Context) (List, error) {
					return List{}, errors.New("the control plane does not answer")
				}
			})
		},
		"offline": func(t *testing.T) *driver {
			d := drive(t, team())
			d.now, d.err = d.now.Add(12*time.Minute), errors.New("the control plane does not answer")
			d.Press("<ctrl+r>")
			return d
		},
		"signedout": func(t *testing.T) *driver {
			d := drive(t, team())
			d.err = &SignedOut{Text: "your session is over", Hint: "type: cardea login"}
			d.Press("<ctrl+r>")
			return d
		},
		"question": func(t *testing.T) *driver {
			list := team()
			list.Hosts = []Host{list.Hosts[0], list.Hosts[4]}
			return drive(t, List{}, func(w *Wires) { w.First, w.Load, w.Question = list, nil, "Which web-1?" })
		},
		"hostile": func(t *testing.T) *driver {
			list := team()
			list.Hosts[0].Name, list.Hosts[0].Project = "服务器服务器服务器服务器-web-1", "al\x1b[2Jice\u202e"
			list.Hosts[0].Labels = map[string]string{"a\x1b]0;x\x07": "\x9b31m" + strings.Repeat("long", 50), "日本": "東京"}
			list.Hosts[1].Name, list.Hosts[1].Note = strings.Repeat("long-", 60), "a\nb\x1b[2J"
			d := drive(t, list)
			d.Press("/服<tab>")
			return d
		},
	}
}

func TestFrames(t *testing.T) {
	for name, show := range scenes() {
		for _, width := range []int{40, 80, 160} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				d := show(t)
				d.Send(tea.WindowSizeMsg{Width: width, Height: 24})
				if name == "details" && width == 160 {
					d.Press("i") // they stand there already
				}
				got := d.Frame()
				if n := strings.Count(got, "\n"); n != 24 {
					t.Errorf("%d lines", n)
				}
				tuitest.Golden(t, *update, fmt.Sprintf("%s-%d.txt", name, width), got)
			})
		}
	}
}

func TestOneUseIsNotATime(t *testing.T) {
	list := team()
	list.Hosts[0].Uses = 1
	d := drive(t, list)
	d.Press("ji")
	d.Send(tea.WindowSizeMsg{Width: 80, Height: 24})
	if got := d.Frame(); !strings.Contains(got, "were there 3h ago, once in all\n") {
		t.Errorf("it shows\n%s", got)
	}
}

// What was done is told beside the filter that is in force, else most servers are missing
// without a word.
func TestAFilterIsSeenBesideWhatWasSaid(t *testing.T) {
	d := drive(t, team())
	d.Press("/w2<enter>")
	d.Send(tea.WindowSizeMsg{Width: 80, Height: 24})
	foot := strings.Split(d.Frame(), "\n")[22]
	if !strings.HasPrefix(foot, "connect: over ") || !strings.HasSuffix(foot, " /w2") {
		t.Errorf("it says %q", foot)
	}
}

// What is drawn on a light and a dark background, and where nobody wants colours: then the
// same is said without.
func TestColours(t *testing.T) {
	for name, show := range map[string]func(*driver) string{
		"light": func(d *driver) string {
			d.Send(tea.BackgroundColorMsg{Color: lipgloss.Color("#ffffff")})
			return d.screen.View().Content
		},
		"dark": func(d *driver) string {
			d.Send(tea.BackgroundColorMsg{Color: lipgloss.Color("#000000")})
			return d.screen.View().Content
		},
		"none": func(d *driver) string {
			var b strings.Builder
			w := colorprofile.Writer{Forward: &b, Profile: colorprofile.Env([]string{"TERM=xterm-256color", "NO_COLOR=1"})}
			fmt.Fprint(&w, d.screen.View().Content)
			if got := b.String(); strings.Contains(got, "\x1b[3") || strings.Contains(got, "\x1b[9") || strings.Contains(got, ";3") {
				t.Errorf("a colour in %q", got)
			}
			return b.String()
		},
	} {
		d := drive(t, team())
		d.Press("<space>/web<tab>")
		tuitest.Golden(t, *update, "colours-"+name+".txt", strings.ReplaceAll(show(d), "\x1b", "␛")+"\n")
	}
}

// A terminal of any size gets a frame that fits it.
func TestFramesFitTerminalsOfAnySize(t *testing.T) {
	for name, show := range scenes() {
		d := show(t)
		d.Fits(name, []int{draw.Narrowest, 27, 40, 59, 60, 61, 109, 110, 300}, []int{1, 2, 3, 4, 5, 7, 24, 100})
	}
}

func TestChoices(t *testing.T) {
	for _, tc := range []struct{ name, keys, want string }{
		{"the favourite is first", "<enter>", "connect db-1"},
		{"what is used is next", "j<enter>", "connect shop/web-1"},
		{"what was found is entered at once", "/w2<enter>", "connect web-2"},
		{"a filter is typed, and stays", "/web-<tab>j<enter>", "connect test/web-1"},
		{"letters in a filter are no keys", "/qfce", ""},
		{"nor do they move", "/gGjk<tab>rINC-1<enter>", "request INC-1 to gGjk"},
		{"arrows do", "/web-<down><enter>", "connect test/web-1"},
		{"letters are taken back", "/w2x<bs><enter>", "connect web-2"},
		{"by label", "/env=test<enter>", "connect build-1"},
		{"by project", "/project:te<enter>", "connect test/web-1"},
		{"nothing fits", "/zzz<enter>", ""},
		{"the last one", "G<enter>", "connect web-2"},
		{"and the first one again", "Gg<enter>", "connect db-1"},
		{"one after the other", "<enter>j<enter>", "connect db-1, connect shop/web-1"},
		{"a port is forwarded", "f8080<enter>", "forward db-1 8080"},
		{"or not", "f8080<esc>", ""},
		{"nothing is no port", "f<space><enter><esc>", ""},
		{"a command on one", "euptime<enter>", "run db-1 uptime"},
		{"on those that are marked", "<space>j<space>euname -a<enter>", "run db-1 build-1 uname -a"},
		{"a mark is taken away", "<space>g<space>t", "panes shop/web-1"},
		{"marks outlive a filter", "<space>/build<tab><space>t", "panes db-1 build-1"},
		{"access to the chosen one", "rINC-1<enter>", "request INC-1 to db-1"},
		{"access to what is not there", "/pay<tab>rINC-1<enter>", "request INC-1 to pay"},
		{"requests", "a", "requests"},
		{"recordings", "R", "recordings db-1"},
		{"recordings where nothing is chosen", "/zzz<tab>R", "recordings"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := drive(t, team())
			d.Press(tc.keys)
			var got []string
			for _, c := range d.done {
				s := string(c.Verb)
				for _, h := range c.Hosts {
					s += " " + h.Call
				}
				if c.Text != "" {
					s += " " + c.Text
				}
				if c.To != "" {
					s += " to " + c.To
				}
				got = append(got, s)
			}
			if s := strings.Join(got, ", "); s != tc.want {
				t.Errorf("chose %q, want %q", s, tc.want)
			}
		})
	}
}

func TestWhatThisMachineCannotDoHasNoKey(t *testing.T) {
	d := drive(t, team(), func(w *Wires) { w.Can = nil })
	d.Press("<space>tefx<enter>")
	for _, c := range d.done {
		if c.Verb != Connect {
			t.Errorf("chose %+v", c)
		}
	}
	d.Press("?")
	if got := d.Frame(); strings.Contains(got, "tmux") || strings.Contains(got, "run a command") {
		t.Errorf("help\n%s", got)
	}
}

func TestItEnds(t *testing.T) {
	for keys, ends := range map[string]bool{
		"q": true, "<esc>": true, "<ctrl+c>": true, "/x<ctrl+c>": true, "/q": false, "/web<tab><esc>": false, "/web<tab><esc><esc>": true,
		"<space><esc>": false, "<space><esc><esc>": true, "i<esc>": false, "i<esc><esc>": true, "f<esc>": false, "?q": false, "fq": false,
	} {
		d := drive(t, team())
		if d.Press(keys); d.Quit != ends {
			t.Errorf("%s: ended %v", keys, d.Quit)
		}
	}
}

// The first picture needs nobody: not the disk, and not the network.
func TestWhatIsKnownIsPaintedBeforeAnybodyIsAsked(t *testing.T) {
	asked := 0
	m := New(t.Context(), Wires{First: List{Hosts: team().Hosts[:2], Total: 5, Age: time.Hour}, Now: func() time.Time { return noon },
		Known: func(context.Context) (List, error) { asked++; return team(), nil },
		Load:  func(context.Context) (List, error) { asked++; return team(), nil }})
	got := ansi.Strip(m.View().Content)
	if asked != 0 || !strings.Contains(got, "web-1") || !strings.Contains(got, "5 servers") || !strings.Contains(got, "as of 1h ago") {
		t.Errorf("%d asked\n%s", asked, got)
	}
}

// The first picture does not wait for the whole list, and where there is none nothing waits
// for a picture.
func TestTheFirstPictureHasAMomentForItself(t *testing.T) {
	for name, first := range map[string]List{"what was shown last": team(), "nothing": {}} {
		known := false
		m := New(t.Context(), Wires{First: first, Paint: time.Millisecond, Known: func(context.Context) (List, error) { known = true; return team(), nil }})
		msg := m.painted()()
		if _, waits := msg.(paintedMsg); waits != (len(first.Hosts) > 0) || known == waits {
			t.Errorf("%s: first comes %T, and all was asked for: %v", name, msg, known)
		}
		_, cmd := m.Update(msg)
		if loaded := cmd == nil; !loaded {
			m.Update(cmd())
		}
		if !known || !m.loaded {
			t.Errorf("%s: all is asked for: %v, and shown: %v", name, known, m.loaded)
		}
	}
}

func TestAListThatIsLoadedAnewMovesNothing(t *testing.T) {
	d := drive(t, team())
	d.Press("<space>j") // the order is db-1, web-1 of shop, build-1
	if d.name() != "build-1" {
		t.Fatalf("chosen is %s", d.name())
	}
	d.list.Hosts = append(slices.Clone(d.list.Hosts[2:]), Host{ID: "srv_new", Name: "aaa", Call: "aaa", Project: "shop"})
	d.Press("<ctrl+r>")
	if d.name() != "build-1" || !d.screen.marked["srv_shopdb-1"] || !strings.Contains(d.Frame(), "aaa") {
		t.Errorf("chosen is %s\n%s", d.name(), d.Frame())
	}
	d.list.Hosts = d.list.Hosts[2:]
	d.Press("<ctrl+r>")
	if len(d.screen.marked) != 0 || d.name() == "" {
		t.Errorf("marked %v, chosen %q", d.screen.marked, d.name())
	}
	// While somebody types, what he types stays.
	d.Press("/we")
	d.Send(tickMsg{})
	if got := d.Frame(); !strings.Contains(got, "/we") {
		t.Errorf("while typing\n%s", got)
	}
}

func TestAnErrorTakesNothingAway(t *testing.T) {
	d := drive(t, team())
	d.err = errors.New("the control plane\x1b[2J does not answer")
	d.Press("<ctrl+r>")
	if got := d.Frame(); !strings.Contains(got, "build-1") || !strings.Contains(got, "offline") || !strings.Contains(got, `\x1b[2J does`) {
		t.Errorf("offline\n%s", got)
	}
	d.err = nil
	d.Press("<ctrl+r>")
	if got := d.Frame(); strings.Contains(got, "offline") {
		t.Errorf("afterwards\n%s", got)
	}
}

func TestWhoIsSignedOutIsOfferedToSignIn(t *testing.T) {
	d := drive(t, team())
	d.err = &SignedOut{Text: "your session is over", Hint: "type: cardea login"}
	d.Press("<ctrl+r>")
	if got := d.Frame(); strings.Contains(got, "build-1") || !strings.Contains(got, "your session is over") {
		t.Fatalf("frame\n%s", got)
	}
	d.Press("c") // there is nothing to copy
	d.err = nil
	d.Press("<enter>")
	if len(d.done) != 1 || d.done[0].Verb != SignIn || !strings.Contains(d.Frame(), "build-1") {
		t.Errorf("did %+v\n%s", d.done, d.Frame())
	}
}

// Somebody new has no control plane at which the picker could sign him in.
func TestWhoHasNoControlPlaneIsToldWhatToType(t *testing.T) {
	d := drive(t, team())
	d.err = &SignedOut{Text: "not signed in", Hint: "type: cardea login https://YOUR-CONTROL-PLANE", Nowhere: true}
	d.Press("<ctrl+r><enter>")
	if got := d.Frame(); len(d.done) != 0 || strings.Contains(got, "enter") || !strings.Contains(got, "cardea login https://YOUR-CONTROL-PLANE") {
		t.Errorf("did %+v\n%s", d.done, got)
	}
}

func TestFavouritesAreKeptAndStandFirst(t *testing.T) {
	d := drive(t, team())
	d.Press("G*gk")
	if d.Press("g"); d.name() != "db-1" {
		t.Errorf("first is %s", d.name())
	}
	if d.Press("j"); d.name() != "web-2" {
		t.Errorf("second is %s", d.name())
	}
	d.Press("b")
	if want := []string{"srv_shopweb-2 true", "srv_shopweb-2 false"}; !slices.Equal(d.favoured, want) {
		t.Errorf("kept %q", d.favoured)
	}
}

func TestTheCommandIsCopied(t *testing.T) {
	d := drive(t, team())
	d.Press("jc")
	if got := d.Frame(); !strings.Contains(got, "copied: cardea ssh shop/web-1") {
		t.Errorf("frame\n%s", got)
	}
	if want := fmt.Sprintf("%v", tea.SetClipboard("cardea ssh shop/web-1")()); len(d.Told) == 0 || fmt.Sprintf("%v", d.Told[len(d.Told)-1]) != want {
		t.Errorf("told the terminal %v", d.Told)
	}
}

func TestDetailsAreAskedForOnceAndOnlyWhereTheyAreSeen(t *testing.T) {
	d := drive(t, team())
	d.Press("jjk")
	if len(d.asked) != 0 {
		t.Errorf("asked for %q that nobody sees", d.asked)
	}
	d.Press("i")
	d.Press("<esc>i")
	if want := []string{"web-1"}; !slices.Equal(d.asked, want) {
		t.Errorf("asked for %q", d.asked)
	}
	d.Send(tea.WindowSizeMsg{Width: 160, Height: 24})
	d.Press("<esc>jj")
	if want := []string{"web-1", "build-1", "web-1"}; !slices.Equal(d.asked, want) {
		t.Errorf("asked for %q", d.asked)
	}
	// Who only passes by asks for nothing.
	d.screen.wires.Settle = time.Nanosecond
	_, first := d.screen.Update(tea.KeyPressMsg{Code: 'j', Text: "j"})
	d.Press("g")
	n := len(d.asked)
	d.Run(first)
	if len(d.asked) != n {
		t.Errorf("asked for %q", d.asked)
	}
}

func TestTheMouseChoosesAndConnects(t *testing.T) {
	d := drive(t, team())
	click := func(x, y int) { d.Send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	click(5, headLines+2)
	if d.name() != "build-1" || len(d.done) != 0 {
		t.Errorf("chosen %s, did %v", d.name(), d.done)
	}
	for _, y := range []int{0, 1, headLines + 5, 22, 23, 99} { // nothing is there
		click(5, y)
	}
	click(5, headLines+2)
	if len(d.done) != 1 || d.done[0].Hosts[0].Name != "build-1" {
		t.Errorf("did %+v", d.done)
	}
	d.Send(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	if d.name() != "db-1" {
		t.Errorf("after the wheel: %s", d.name())
	}
	d.Press("?")
	click(5, headLines+1)
	if d.Press("x"); d.name() != "db-1" {
		t.Errorf("a click on the help chose %s", d.name())
	}
}

// On a terminal of a few lines the list stands higher: a click on what is below it enters nothing.
func TestAClickMeansTheLineThatIsSeen(t *testing.T) {
	for height := 1; height < 6; height++ {
		for y := range height + 2 {
			d := drive(t, team())
			d.Send(tea.WindowSizeMsg{Width: 80, Height: height})
			lines := strings.Split(d.Frame(), "\n")
			want := 0
			if y < len(lines) && strings.HasPrefix(lines[y], "› ") && height > 1 {
				want = 1
			}
			if d.Send(tea.MouseClickMsg{X: 5, Y: y, Button: tea.MouseLeft}); len(d.done) != want {
				t.Errorf("%d lines, a click on line %d: did %v\n%s", height, y, d.done, d.Frame())
			}
		}
	}
}

func TestAQuestionHasOneAnswer(t *testing.T) {
	ask := func(keys string) (Host, bool, *driver) {
		list := List{Hosts: []Host{team().Hosts[0], team().Hosts[4]}, At: noon}
		d := drive(t, List{}, func(w *Wires) { w.First, w.Load, w.Question = list, nil, "Which web-1?" })
		d.Press(keys)
		h, ok := d.screen.Chosen()
		return h, ok, d
	}
	if h, ok, d := ask("j<enter>"); !ok || h.Call != "test/web-1" || !d.Quit {
		t.Errorf("chose %+v", h)
	}
	if _, ok, d := ask("<esc>"); ok || !d.Quit {
		t.Error("esc chose")
	}
	if _, ok, d := ask("efrRat*"); ok || d.Quit || len(d.done)+len(d.favoured) > 0 {
		t.Errorf("did %+v %v", d.done, d.favoured)
	}
}

func TestNothingIsLoadedWhereNobodyIs(t *testing.T) {
	d := drive(t, team())
	loads := d.loads
	d.now = d.now.Add(draw.Patience)
	d.Send(tickMsg{})
	if d.loads != loads || !strings.Contains(d.Frame(), "press a key") {
		t.Errorf("%d loads\n%s", d.loads-loads, d.Frame())
	}
	if d.Press("j"); d.loads != loads+1 {
		t.Errorf("%d loads after a key", d.loads-loads)
	}
}

func TestPastedTextIsTyped(t *testing.T) {
	d := drive(t, team())
	d.Press("/")
	d.Send(tea.PasteMsg{Content: "web\n-2\x1b[2J"})
	if got := d.screen.filter.String(); got != "web -2 [2J" {
		t.Errorf("filter %q", got)
	}
}

// The goal is a first picture of 10,000 servers within 50 ms.
func BenchmarkFirstPaintOf10000(b *testing.B) {
	list := many(10_000)
	for b.Loop() {
		m := New(b.Context(), Wires{First: list, Now: func() time.Time { return noon }})
		m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
		_ = m.View()
	}
}

// The goal is 16 ms from a key to the frame. This is a word, letter by letter, and back.
func BenchmarkKeyToFrameAmong10000(b *testing.B) {
	m := New(b.Context(), Wires{First: many(10_000), Now: func() time.Time { return noon }})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.Update(tea.KeyPressMsg{Code: '/', Text: "/"})
	var took []time.Duration
	press := func(k tea.KeyPressMsg) {
		began := time.Now()
		m.Update(k)
		_ = m.View()
		took = append(took, time.Since(began))
	}
	for b.Loop() {
		for _, r := range "web eu env=p" {
			press(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
		for range len("web eu env=p") {
			press(tea.KeyPressMsg{Code: tea.KeyBackspace})
		}
	}
	slices.Sort(took)
	for _, percent := range []int{50, 95} {
		b.ReportMetric(float64(took[len(took)*percent/100].Microseconds())/1000, fmt.Sprintf("ms-p%d", percent))
	}
}
