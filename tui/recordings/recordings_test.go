package recordings

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

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// driver drives the screen, and is what stands behind it.
type driver struct {
	tuitest.Driver
	screen  *Model
	lists   map[int][]Page // by list; the pages follow each other
	err     error
	loads   []string
	plays   []string
	said    string
	playErr error
}

func drive(t *testing.T, change func(*driver, *Wires)) *driver {
	d := &driver{lists: map[int][]Page{0: {{Rows: own()}}, 1: {{Rows: append(there(), own()...)}}}}
	w := Wires{
		Lists: []string{"Yours", "On web-1"}, Asks: true,
		Load: func(_ context.Context, list int, from string) (Page, error) {
			d.loads = append(d.loads, fmt.Sprint(list, from))
			n := 0
			fmt.Sscan(from, &n)
			return d.lists[list][n], d.err
		},
		Play: func(session, key string, done func(string, error) tea.Msg) tea.Cmd {
			d.plays = append(d.plays, session+" "+key)
			return func() tea.Msg { return done(d.said, d.playErr) }
		},
		Now: func() time.Time { return noon },
	}
	if change != nil {
		change(d, &w)
	}
	d.screen = New(t.Context(), w)
	d.Driver = tuitest.Drive(t, d.screen)
	return d
}

func own() []Recording {
	return []Recording{
		{Session: "gse_aaaaaaaaaaaaaaaaaaaa", At: noon.Add(-4 * time.Minute), Started: "2026-11-22 11:56", User: "alice", Login: "alice", Server: "web-1", Project: "shop", State: "recording",
			Facts: []string{"from 192.0.2.7; is being made, 0 bytes", "gateway: gw-1"}},
		{Session: "gse_bbbbbbbbbbbbbbbbbbbb", At: noon.Add(-26 * time.Hour), Started: "2026-11-21 10:00", Length: "12m30s", User: "alice", Login: "deploy", Server: "db-1", Project: "shop", State: "stored",
			Facts: []string{"from 192.0.2.7; stored and read back, 48211 bytes", "gateway: gw-2", "ended by: client"}},
	}
}

func there() []Recording {
	return []Recording{{Session: "gse_cccccccccccccccccccc", At: noon.Add(-time.Hour), Started: "2026-11-22 11:00", Length: "45s", User: "jürgen", Login: "jurgen", Server: "web-1", Project: "shop", State: "damaged",
		Facts: []string{"from 2001:db8::7; some of it was set aside on the gateway; the rest is stored, 1022 bytes", "gateway: gw-1", "ended by: server", "fault: the segment 2 cannot be read back, and was set aside"}}}
}

func pages(n int) (out []Page) {
	for p := range n {
		page := Page{Next: fmt.Sprint(p + 1)}
		for i := range 50 {
			k := p*50 + i
			page.Rows = append(page.Rows, Recording{Session: fmt.Sprintf("gse_%020d", k), At: noon, Started: "2026-11-22 12:00", Length: "1s", User: fmt.Sprintf("user-%d", k), Server: "web-1", Project: "shop", State: "stored"})
		}
		out = append(out, page)
	}
	out[n-1].Next = ""
	return out
}

// scenes are what people see.
func scenes() map[string]func(*testing.T) *driver {
	after := func(keys string) func(*testing.T) *driver {
		return func(t *testing.T) *driver { d := drive(t, nil); d.Press(keys); return d }
	}
	return map[string]func(*testing.T) *driver{
		"list": after("j"), "other": after("<tab>"), "filter": after("/db"), "kept": after("/nobody<enter>"), "asking": after("<enter>~/auditor.key"), "help": after("?"),
		"many": func(t *testing.T) *driver {
			d := drive(t, func(d *driver, _ *Wires) { d.lists[0] = pages(3) })
			d.Press("G")
			return d
		},
		"empty": func(t *testing.T) *driver {
			return drive(t, func(d *driver, _ *Wires) { d.lists[0] = []Page{{}} })
		},
		"none": func(t *testing.T) *driver {
			return drive(t, func(d *driver, w *Wires) { d.lists[0], w.Lists = []Page{{}}, []string{"Yours"} })
		},
		"unreachable": func(t *testing.T) *driver {
			return drive(t, func(d *driver, _ *Wires) { d.err = errors.New("the control plane does not answer") })
		},
		"denied": func(t *testing.T) *driver {
			d := drive(t, func(d *driver, w *Wires) {
				w.Key = "auditor.key"
				d.playErr = &draw.Problem{Text: "administrators alone may fetch recordings", Hint: "ask one; to see what is known of this one type: cardea sessions show gse_aaaaaaaaaaaaaaaaaaaa"}
			})
			d.Press("<enter>")
			return d
		},
		"said": func(t *testing.T) *driver {
			d := drive(t, func(d *driver, w *Wires) {
				w.Key, d.said = "auditor.key", "nothing was shown here; for the files that passed type: cardea sessions export --format files -i KEY gse_aaaaaaaaaaaaaaaaaaaa"
			})
			d.Press("<enter>")
			return d
		},
		"hostile": func(t *testing.T) *driver {
			return drive(t, func(d *driver, w *Wires) {
				r := own()[0]
				r.User, r.Server, r.Project, r.State = "al\x1b[2Jice\u202e", "服务器服务器服务器服务器-web-1", strings.Repeat("long", 50), "\x9b31m"
				r.Facts = []string{"a\nb\x1b]0;x\x07", strings.Repeat("long ", 100)}
				d.lists[0], w.Lists = []Page{{Rows: []Recording{r}}}, []string{"Yours", "On \x1b[31mweb"}
			})
		},
	}
}

func TestFrames(t *testing.T) {
	for name, show := range scenes() {
		for _, width := range []int{40, 80, 160} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				d := show(t)
				d.Send(tea.WindowSizeMsg{Width: width, Height: 24})
				got := d.Frame()
				if n := strings.Count(got, "\n"); n != 24 {
					t.Errorf("%d lines", n)
				}
				tuitest.Golden(t, *update, fmt.Sprintf("%s-%d.txt", name, width), got)
			})
		}
	}
}

// Where nobody wants colours the same is said without.
func TestColours(t *testing.T) {
	for name, dark := range map[string]string{"light": "#ffffff", "dark": "#000000"} {
		d := drive(t, nil)
		d.Send(tea.BackgroundColorMsg{Color: lipgloss.Color(dark)})
		tuitest.Golden(t, *update, "colours-"+name+".txt", strings.ReplaceAll(d.screen.View().Content, "\x1b", "␛")+"\n")
		var b strings.Builder
		w := colorprofile.Writer{Forward: &b, Profile: colorprofile.Env([]string{"TERM=xterm-256color", "NO_COLOR=1"})}
		fmt.Fprint(&w, d.screen.View().Content)
		if got := b.String(); strings.Contains(got, "\x1b[3") || strings.Contains(got, "\x1b[9") || strings.Contains(got, ";3") || ansi.Strip(got) != ansi.Strip(d.screen.View().Content) {
			t.Errorf("%s: a colour in %q", name, got)
		}
	}
}

// A terminal of any size gets a frame that fits it.
func TestFramesFitTerminalsOfAnySize(t *testing.T) {
	for name, show := range scenes() {
		d := show(t)
		d.Fits(name, []int{draw.Narrowest, 27, 59, 60, 99, 100, 300}, []int{1, 2, 4, 5, 7, 24, 100})
	}
}

func TestWhatIsPlayed(t *testing.T) {
	const first, second, other = "gse_aaaaaaaaaaaaaaaaaaaa", "gse_bbbbbbbbbbbbbbbbbbbb", "gse_cccccccccccccccccccc"
	for _, tc := range []struct {
		name, keys string
		want       []string
	}{
		{"the newest, with the key that is asked for", "<enter>k1<enter>", []string{first + " k1"}},
		{"no more is asked once a key has served", "<enter>k1<enter>j<enter>", []string{first + " k1", second + " k1"}},
		{"nothing without a key", "<enter><enter><esc>", nil},
		{"nothing, when another key was given", "ik1<enter>", nil},
		{"with another key", "<enter>k1<enter>i<ctrl+u>k2<enter><enter>", []string{first + " k1", first + " k2"}},
		{"one of another list", "<tab><enter>k1<enter>", []string{other + " k1"}},
		{"back on the first list", "<tab><tab>j<enter>k1<enter>", []string{second + " k1"}},
		{"what was found", "/deploy shop/db<enter><enter>k1<enter>", []string{second + " k1"}},
		{"letters in a filter are no keys", "/qri<esc><enter>k1<enter>", []string{first + " k1"}},
		{"nothing fits", "/nobody<enter><enter>k1<enter>", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := drive(t, nil)
			if d.Press(tc.keys); !slices.Equal(d.plays, tc.want) || d.Quit {
				t.Errorf("played %q, left %v", d.plays, d.Quit)
			}
		})
	}
}

// A key that did not serve is asked for anew, with what was typed before.
func TestAKeyThatDoesNotReadItIsAskedForAnew(t *testing.T) {
	d := drive(t, func(d *driver, w *Wires) { w.Key, d.playErr = "wrong", errors.New("no identity reads it") })
	d.Press("<enter>")
	if got := d.Frame(); !strings.Contains(got, "no identity reads it") {
		t.Errorf("frame\n%s", got)
	}
	d.playErr = nil
	if d.Press("x<enter>-not<enter>"); !slices.Equal(d.plays, []string{"gse_aaaaaaaaaaaaaaaaaaaa wrong", "gse_aaaaaaaaaaaaaaaaaaaa wrong-not"}) {
		t.Errorf("played %q", d.plays)
	}
	if d.Press("<enter>"); len(d.plays) != 3 {
		t.Errorf("played %q", d.plays)
	}
}

// Who may play nothing is not asked for a key before he hears so.
func TestNobodyIsAskedForAKeyInVain(t *testing.T) {
	d := drive(t, func(d *driver, w *Wires) {
		w.Asks, d.playErr = false, errors.New("administrators alone may fetch recordings")
	})
	d.Press("<enter>x<enter>xik1<enter><enter>")
	if want := []string{"gse_aaaaaaaaaaaaaaaaaaaa ", "gse_aaaaaaaaaaaaaaaaaaaa ", "gse_aaaaaaaaaaaaaaaaaaaa k1"}; !slices.Equal(d.plays, want) {
		t.Errorf("played %q", d.plays)
	}
}

func TestOlderOnesAreReadAtTheEnd(t *testing.T) {
	d := drive(t, func(d *driver, _ *Wires) { d.lists[0] = pages(3) })
	if d.Press("j"); !slices.Equal(d.loads, []string{"0"}) {
		t.Errorf("read %q", d.loads)
	}
	if d.Press("GG"); !slices.Equal(d.loads, []string{"0", "01", "02"}) || !strings.Contains(d.Frame(), "Yours 150]") {
		t.Errorf("read %q\n%s", d.loads, d.Frame())
	}
	d.Press("G")
	if r, _ := d.screen.row(); len(d.loads) != 3 || r.User != "user-149" {
		t.Errorf("read %q, chosen %s", d.loads, r.User)
	}
	// Also where nothing of the newest fits; and anew from the beginning by a key.
	d = drive(t, func(d *driver, _ *Wires) { d.lists[0] = pages(3) })
	d.Press("/user-77")
	if !strings.Contains(d.Frame(), "of the newest 50") {
		t.Errorf("frame\n%s", d.Frame())
	}
	d.Press("<down><down>")
	if r, ok := d.screen.row(); !ok || r.User != "user-77" {
		t.Errorf("chosen %s\n%s", r.User, d.Frame())
	}
	if d.Press("r"); d.loads[len(d.loads)-1] != "0" {
		t.Errorf("read %q", d.loads)
	}
}

// A click means the row that is seen there, also far down in a long list; elsewhere it means nothing.
func TestAClickChoosesAndAnotherPlays(t *testing.T) {
	click := func(d *driver, y int) { d.Send(tea.MouseClickMsg{X: 5, Y: y, Button: tea.MouseLeft}) }
	for keys, height := range map[string]int{"": 24, "G": 24, "G<up><up><up><up><up><up><up><up><up><up>": 24, "gj": 9, "gjj": 4, "gjjj": 3} { // 9 lines have no room for details, 4 none for all that is around
		d := drive(t, func(d *driver, w *Wires) { d.lists[0], w.Key = pages(3), "k" })
		d.Send(tea.WindowSizeMsg{Width: 120, Height: height})
		d.Press(keys)
		for y := range height + 3 {
			before, _ := d.screen.row()
			lines := strings.Split(d.Frame(), "\n")
			seen := ""
			if i := min(y, len(lines)-1); strings.Contains(lines[i], " user-") {
				seen = strings.Fields(lines[i][strings.Index(lines[i], " user-"):])[0]
			}
			played := len(d.plays)
			click(d, y)
			r, _ := d.screen.row()
			switch {
			case seen == "" || strings.HasPrefix(lines[min(y, len(lines)-1)], "user-"):
				if r.User != before.User || len(d.plays) != played {
					t.Fatalf("%q: a click on line %d chose %s, played %q\n%s", keys, y, r.User, d.plays, d.Frame())
				}
			case seen == before.User:
				if len(d.plays) != played+1 {
					t.Fatalf("%q: a click on the chosen one of line %d played %q", keys, y, d.plays)
				}
			case r.User != seen || len(d.plays) != played:
				t.Fatalf("%q: a click on %s in line %d chose %s, played %q", keys, seen, y, r.User, d.plays)
			}
		}
		played := len(d.plays)
		r, _ := d.screen.row()
		click(d, slices.IndexFunc(strings.Split(d.Frame(), "\n"), func(l string) bool { return strings.Contains(l, " "+r.User+" ") }))
		if len(d.plays) != played+1 {
			t.Errorf("%q: a click on the chosen one played %q", keys, d.plays)
		}
	}
	d := drive(t, nil)
	d.Press("?")
	if click(d, headLines+1); !strings.Contains(d.Frame(), "any key") {
		t.Errorf("a click on the help\n%s", d.Frame())
	}
	d.Send(tea.MouseClickMsg{X: 5, Y: headLines, Button: tea.MouseRight})
	if d.Press("x"); len(d.plays) != 0 {
		t.Errorf("played %q", d.plays)
	}
}

func TestAClickOnTheNameOfAListShowsIt(t *testing.T) {
	d := drive(t, nil)
	click := func(x, y int, b tea.MouseButton) { d.Send(tea.MouseClickMsg{X: x, Y: y, Button: b}) }
	second := strings.Index(strings.SplitN(d.Frame(), "\n", 2)[0], "On web-1")
	for _, c := range []struct {
		x, y int
		b    tea.MouseButton
	}{{second, 1, tea.MouseLeft}, {second, 0, tea.MouseRight}, {60, 0, tea.MouseLeft}} {
		if click(c.x, c.y, c.b); d.screen.shown != 0 || len(d.loads) != 1 {
			t.Fatalf("a click at %+v shows list %d, loaded %q", c, d.screen.shown, d.loads)
		}
	}
	if click(second, 0, tea.MouseLeft); d.screen.shown != 1 || !slices.Equal(d.loads, []string{"0", "1"}) {
		t.Errorf("shows list %d, loaded %q", d.screen.shown, d.loads)
	}
	if click(2, 0, tea.MouseLeft); d.screen.shown != 0 || len(d.loads) != 2 {
		t.Errorf("back to list %d, loaded %q", d.screen.shown, d.loads)
	}
}

// What was asked before a list was loaded anew is not added to that.
func TestALateAnswerIsNotAdded(t *testing.T) {
	d := drive(t, func(d *driver, _ *Wires) { d.lists[0] = pages(2) })
	late := d.screen.more()
	d.Press("r")
	d.Run(late)
	if n := len(d.screen.lists[0].rows); n != 50 {
		t.Errorf("%d rows", n)
	}
}

func TestLeaving(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "<esc>": true, "/x<enter><esc>": false, "/x<enter><esc><esc>": true, "<ctrl+c>": true, "?q": false, "/<ctrl+c>": true, "<enter><esc>": false} {
		if d := drive(t, nil); true {
			if d.Press(keys); d.Quit != want {
				t.Errorf("%s: left %v", keys, d.Quit)
			}
		}
	}
	d := drive(t, func(d *driver, _ *Wires) { d.err = errors.New("gone") })
	d.err = nil
	if d.Press("x"); !strings.Contains(d.Frame(), "alice") {
		t.Errorf("after an error\n%s", d.Frame())
	}
}
