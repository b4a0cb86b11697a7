package tui

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
	"github.com/charmbracelet/x/ansi"

	"github.com/cardea-ssh/cardea/tui/draw"
	"github.com/cardea-ssh/cardea/tui/tuitest"
)

var update = flag.Bool("update", false, "write what the frames are now into testdata")

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// driver drives the screen, and is what stands behind it.
type driver struct {
	tuitest.Driver
	screen          *Requests
	lists           Lists
	loads           int
	acts            []Choice
	loadErr, actErr error
	now             time.Time
}

func drive(t *testing.T, lists Lists) *driver {
	d := &driver{lists: lists, now: noon}
	d.screen = NewRequests(t.Context(), Wires{
		Load:    func(context.Context) (Lists, error) { d.loads++; return d.lists, d.loadErr },
		Act:     func(_ context.Context, c Choice) error { d.acts = append(d.acts, c); return d.actErr },
		Comment: 40, Now: func() time.Time { return d.now },
	})
	d.Driver = tuitest.Drive(t, d.screen)
	return d
}

func waiting(n int) []Request {
	rows := []Request{
		{ID: "rqs_aaaaaaaaaaaaaaaaaaaa", State: "pending", User: "alice", To: "web/prod-1", Group: "oncall", Rule: "rqr_aaaaaaaaaaaaaaaaaaaa", For: "2h", Reason: "the disk is full, and nobody of the team of web is awake to see to it", Asked: noon.Add(-12 * time.Minute), Until: "2026-11-22 11:48",
			Spans: []Span{{7200, "2h"}, {3600, "1h"}, {1800, "30m"}}, Verbs: []Verb{Approve, Deny}},
		{ID: "rqs_bbbbbbbbbbbbbbbbbbbb", State: "pending", User: "jürgen", To: "payments", Group: "payments-readers", Rule: "rqr_bbbbbbbbbbbbbbbbbbbb", For: "30m", Reason: "INC-42", Asked: noon.Add(-3 * time.Hour), Until: "2026-11-22 09:00",
			Spans: []Span{{1800, "30m"}, {900, "15m"}}, Verbs: []Verb{Approve, Deny}},
	}
	for i := len(rows); i < n; i++ {
		rows = append(rows, Request{ID: fmt.Sprintf("rqs_%020d", i), State: "pending", User: fmt.Sprintf("user-%d", i), To: "db", For: "1h", Reason: "x", Asked: noon, Spans: []Span{{3600, "1h"}}, Verbs: []Verb{Approve, Deny}})
	}
	return rows
}

func own() []Request {
	return []Request{
		{ID: "rqs_cccccccccccccccccccc", State: "approved", User: "carol", To: "web/prod-2", Group: "oncall", Rule: "rqr_aaaaaaaaaaaaaaaaaaaa", For: "1h", Reason: "deploy", Asked: noon.Add(-time.Hour), Until: "2026-11-21 12:30", By: "bob", Answer: "until the change is done", Verbs: []Verb{End}},
		{ID: "rqs_dddddddddddddddddddd", State: "pending", User: "carol", To: "web", Group: "oncall", Rule: "rqr_aaaaaaaaaaaaaaaaaaaa", For: "1h", Reason: "deploy", Asked: noon.Add(-50 * time.Hour), Verbs: []Verb{Cancel}},
	}
}

// What people see, at the widths of a telephone, a plain terminal and a wide one.
func TestFrames(t *testing.T) {
	for name, show := range map[string]func(*testing.T) *driver{
		"nothing": func(t *testing.T) *driver { return drive(t, Lists{}) },
		"waiting": func(t *testing.T) *driver { return drive(t, Lists{waiting(2), own()}) },
		"own":     func(t *testing.T) *driver { d := drive(t, Lists{waiting(2), own()}); d.Press("<tab>"); return d },
		"many": func(t *testing.T) *driver {
			d := drive(t, Lists{waiting(60), nil})
			d.Press("<pgdown><pgdown>")
			return d
		},
		"approve": func(t *testing.T) *driver {
			d := drive(t, Lists{waiting(2), nil})
			d.Press("a<down>until noon")
			return d
		},
		"deny":   func(t *testing.T) *driver { d := drive(t, Lists{waiting(2), nil}); d.Press("d"); return d },
		"end":    func(t *testing.T) *driver { d := drive(t, Lists{nil, own()}); d.Press("<tab>e"); return d },
		"filter": func(t *testing.T) *driver { d := drive(t, Lists{waiting(2), nil}); d.Press("/pay"); return d },
		"said":   func(t *testing.T) *driver { d := drive(t, Lists{waiting(2), nil}); d.Press("a<enter>"); return d },
		"failed": func(t *testing.T) *driver {
			d := drive(t, Lists{waiting(2), nil})
			d.actErr = &draw.Problem{Text: "project web asks who you are each 10m, also to let others in", Hint: "type: cardea login --project web"}
			d.Press("a<enter>")
			return d
		},
		"hostile": func(t *testing.T) *driver {
			rows := waiting(1)
			rows[0].User, rows[0].Reason = "al\x1b[2Jice\u202e", "a\nb\x1b]0;owned\x07\x9b31m"+strings.Repeat("long ", 100)
			return drive(t, Lists{rows, nil})
		},
	} {
		for _, width := range []int{40, 80, 160} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				d := show(t)
				d.Send(tea.WindowSizeMsg{Width: width, Height: 24})
				got := d.Frame()
				for i, l := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
					if n := ansi.StringWidth(l); n > width {
						t.Errorf("line %d has %d cells: %q", i+1, n, l)
					}
				}
				if n := strings.Count(got, "\n"); n != 24 {
					t.Errorf("%d lines", n)
				}
				tuitest.Golden(t, *update, fmt.Sprintf("%s-%d.txt", name, width), got)
			})
		}
	}
}

// A terminal of any size gets a frame that fits it.
func TestFramesFitSmallTerminals(t *testing.T) {
	for _, keys := range []string{"", "<tab>", "a", "d", "/x", "a<enter>"} {
		d := drive(t, Lists{waiting(5), own()})
		d.Press(keys)
		d.Fits(keys, []int{draw.Narrowest, 27, 34, 41, 48}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	}
}

// A click means the row that is seen there, also far down in a long list; elsewhere it means
// nothing, and by itself it answers no request.
func TestAClickChoosesAndAnotherAsksWhetherToApprove(t *testing.T) {
	for keys, height := range map[string]int{"": 24, "G": 24, "<pgdown><pgdown>": 24, "gj": 9, "gjj": 4, "gjjj": 3} { // 9 lines have no room for details, 4 none for all that is around
		d := drive(t, Lists{waiting(60), nil})
		d.Send(tea.WindowSizeMsg{Width: 120, Height: height})
		d.Press(keys)
		for y := range height + 3 {
			before, _ := d.screen.row()
			lines := strings.Split(d.Frame(), "\n")
			seen := ""
			if l := lines[min(y, len(lines)-1)]; strings.HasPrefix(l, "  ") || strings.HasPrefix(l, "› ") {
				seen = strings.Fields(strings.TrimPrefix(l, "› "))[0]
			}
			d.Send(tea.MouseClickMsg{X: 5, Y: y, Button: tea.MouseLeft})
			r, _ := d.screen.row()
			asked := strings.Contains(d.Frame(), "Let "+r.User+" into")
			switch {
			case seen == "" && (r.User != before.User || asked):
				t.Fatalf("%q: a click on line %d chose %s\n%s", keys, y, r.User, d.Frame())
			case seen == before.User && !asked:
				t.Fatalf("%q: a click on the chosen one of line %d asked nothing\n%s", keys, y, d.Frame())
			case seen != "" && (r.User != seen || asked != (seen == before.User)):
				t.Fatalf("%q: a click on %s in line %d chose %s\n%s", keys, seen, y, r.User, d.Frame())
			}
			if asked {
				d.Send(tea.MouseClickMsg{X: 5, Y: y, Button: tea.MouseLeft})
				d.Press("<esc>")
			}
		}
		if len(d.acts) != 0 {
			t.Errorf("clicks did %+v", d.acts)
		}
	}
}

func TestTheMouseMovesAndShowsTheOtherList(t *testing.T) {
	d := drive(t, Lists{waiting(9), own()})
	d.Send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	if r, _ := d.screen.row(); r.User != "user-3" {
		t.Errorf("the wheel chose %s", r.User)
	}
	second := strings.Index(strings.SplitN(d.Frame(), "\n", 2)[0], "Your own")
	d.Send(tea.MouseClickMsg{X: second, Y: 0, Button: tea.MouseRight})
	if d.screen.mine {
		t.Error("the right button shows the other list")
	}
	d.Send(tea.MouseClickMsg{X: second, Y: 0, Button: tea.MouseLeft})
	if r, _ := d.screen.row(); !d.screen.mine || r.User != "carol" {
		t.Errorf("a click on the other list shows %+v", r)
	}
	for range 2 { // there is nothing to approve
		d.Send(tea.MouseClickMsg{X: 5, Y: 3, Button: tea.MouseLeft})
	}
	if strings.Contains(d.Frame(), "Let carol") {
		t.Error(d.Frame())
	}
	d.Send(tea.MouseClickMsg{X: 2, Y: 0, Button: tea.MouseLeft})
	if d.screen.mine {
		t.Error("a click on the first list does not show it")
	}
}

func TestChoices(t *testing.T) {
	const alice, jurgen = "rqs_aaaaaaaaaaaaaaaaaaaa", "rqs_bbbbbbbbbbbbbbbbbbbb"
	for _, tc := range []struct {
		name, keys string
		want       []Choice
	}{
		{"approve for what was asked", "a<enter>", []Choice{{Approve, alice, 0, ""}}},
		{"approve for less, with a comment", "a<down><down>ok<space>then<enter>", []Choice{{Approve, alice, 1800, "ok then"}}},
		{"no shorter than the shortest, and back", "a<down><down><down><down><up><enter>", []Choice{{Approve, alice, 3600, ""}}},
		{"the second one", "ja<enter>", []Choice{{Approve, jurgen, 0, ""}}},
		{"by the keys of a shell, too", "<ctrl+n><ctrl+n><ctrl+p>a<enter>", []Choice{{Approve, alice, 0, ""}}},
		{"a page on", "<pgdown>a<enter>", []Choice{{Approve, jurgen, 0, ""}}},
		{"nothing without confirmation", "a<esc>", nil},
		{"letters in a comment are no keys", "aqdr<esc>", nil},
		{"a no needs a word", "d<enter>", nil},
		{"blanks are no word", "d<space><enter>", nil},
		{"a no with a word", "dask db<enter>", []Choice{{Deny, alice, 0, "ask db"}}},
		{"a comment is corrected", "dxask<home><del><end>!<bs><left><left><left>no, <enter>", []Choice{{Deny, alice, 0, "no, ask"}}},
		{"a comment is wiped", "dwrong<ctrl+u>right<left><left><ctrl+k><enter>", []Choice{{Deny, alice, 0, "rig"}}},
		{"a comment has an end", "d" + strings.Repeat("x", 60) + "<enter>", []Choice{{Deny, alice, 0, strings.Repeat("x", 40)}}},
		{"a filter chooses what fits", "/pay<enter>a<enter>", []Choice{{Approve, jurgen, 0, ""}}},
		{"what is not one's own is not taken back", "cy", nil},
		{"one's own is not answered", "<tab>ja<enter>", nil},
		{"one's own is taken back", "<tab>jcy", []Choice{{Cancel, "rqs_dddddddddddddddddddd", 0, ""}}},
		{"or not", "<tab>jcn", nil},
		{"what was given is ended", "<tab>e<enter>", []Choice{{End, "rqs_cccccccccccccccccccc", 0, ""}}},
		{"one after the other", "a<enter>ja<enter>", []Choice{{Approve, alice, 0, ""}, {Approve, jurgen, 0, ""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := drive(t, Lists{waiting(2), own()})
			d.Press(tc.keys)
			if !slices.Equal(d.acts, tc.want) {
				t.Errorf("chose %+v, want %+v", d.acts, tc.want)
			}
		})
	}
}

// Who says no to the next one at once says it to him, though the list is still read anew.
func TestWhatWasAnsweredIsGoneAtOnce(t *testing.T) {
	for _, verb := range []Verb{Approve, Deny} {
		d := drive(t, Lists{waiting(3), own()})
		answered, _ := d.screen.row()
		d.screen.Update(actedMsg{choice: Choice{Verb: verb, ID: answered.ID}}) // and nothing is loaded
		d.Press("dlate<enter>")
		if len(d.acts) != 1 || d.acts[0].ID == answered.ID || len(d.screen.lists.Waiting) != 3 {
			t.Errorf("%s: then %+v", verb, d.acts)
		}
	}
}

// Enter opens and confirms, but one that is held down does not go through the list.
func TestAnEnterThatIsHeldDownAnswersOneAtMost(t *testing.T) {
	d := drive(t, Lists{waiting(3), own()})
	d.Press("<enter>")
	d.now = d.now.Add(300 * time.Millisecond) // so long it takes until it repeats itself
	for range 20 {
		d.Press("<enter>")
		d.now = d.now.Add(30 * time.Millisecond)
	}
	if len(d.acts) != 1 || d.acts[0].Verb != Approve {
		t.Errorf("chose %+v", d.acts)
	}
}

func TestItEnds(t *testing.T) {
	for keys, ends := range map[string]bool{"q": true, "<esc>": true, "<ctrl+c>": true, "a<ctrl+c>": true, "aq": false, "/q": false, "/x<enter><esc>": false, "/x<enter><esc><esc>": true} {
		d := drive(t, Lists{waiting(2), own()})
		if d.Press(keys); d.Quit != ends {
			t.Errorf("%s: ended %v", keys, d.Quit)
		}
	}
}

func TestListsAreLoadedAnewAndTheChosenRowStays(t *testing.T) {
	d := drive(t, Lists{waiting(5), nil})
	d.Press("jj")
	chosen := d.screen.chosen
	d.lists.Waiting = d.lists.Waiting[1:]
	d.Press("r")
	if d.screen.chosen != chosen || d.loads != 2 {
		t.Errorf("chosen %s, was %s; %d loads", d.screen.chosen, chosen, d.loads)
	}
	// Somebody else answers while the question stands: nothing else is answered by it.
	d.Press("a")
	d.lists.Waiting = d.lists.Waiting[:1]
	d.Send(tickMsg{})
	d.Press("<enter>")
	if len(d.acts) != 0 {
		t.Errorf("chose %+v", d.acts)
	}
	// Nobody is here: nothing is loaded until a key is pressed.
	d.Press("<esc>")
	loads := d.loads
	d.now = d.now.Add(draw.Patience)
	d.Send(tickMsg{})
	if d.loads != loads || !strings.Contains(d.Frame(), "press a key") {
		t.Errorf("%d loads more:\n%s", d.loads-loads, d.Frame())
	}
	if d.Press("k"); d.loads != loads+1 {
		t.Errorf("%d loads after a key", d.loads-loads)
	}
}

func TestAnErrorIsAScreen(t *testing.T) {
	d := drive(t, Lists{waiting(2), nil})
	d.loadErr = errors.New("the control plane\x1b[2J does not answer")
	d.Press("r")
	if got := d.Frame(); !strings.Contains(got, `the control plane\x1b[2J does not answer`) {
		t.Errorf("frame\n%s", got)
	}
	d.loadErr = nil
	d.Press("x")
	if got := d.Frame(); !strings.Contains(got, "alice") || d.Quit {
		t.Errorf("afterwards\n%s", got)
	}
	// While somebody types, a refresh that fails does not take his words.
	d.Press("dno")
	d.loadErr = errors.New("gone")
	d.Send(tickMsg{})
	if got := d.Frame(); !strings.Contains(got, "why not: no") {
		t.Errorf("while typing\n%s", got)
	}
}

func TestPastedLinesAreOneLine(t *testing.T) {
	d := drive(t, Lists{waiting(1), nil})
	d.Press("d")
	d.Send(tea.PasteMsg{Content: "a\nb\x1b[2Jc"})
	d.Press("<enter>")
	if want := []Choice{{Deny, "rqs_aaaaaaaaaaaaaaaaaaaa", 0, "a b [2Jc"}}; !slices.Equal(d.acts, want) {
		t.Errorf("chose %+v", d.acts)
	}
}

// First paint and a key among many rows stay within a frame.
func BenchmarkKeyAmong1000Requests(b *testing.B) {
	m := NewRequests(b.Context(), Wires{Load: func(context.Context) (Lists, error) { return Lists{}, nil }})
	m.Update(loadedMsg{lists: Lists{Waiting: waiting(1000)}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	for b.Loop() {
		m.Update(tea.KeyPressMsg{Code: 'j', Text: "j"})
		_ = m.View()
	}
}
