package draw

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

func TestAScreenHasAsManyLinesAsTheTerminal(t *testing.T) {
	top, foot := []string{"name", ""}, []string{"question", "keys"}
	for _, tc := range []struct {
		height int
		body   string
		want   string
	}{
		{7, "1 2 3", "name||1|2|3|question|keys"},
		{7, "1", "name||1|||question|keys"}, // what follows stays where it is
		{7, "", "name|||||question|keys"},
		{7, "1 2 3 4 5", "name||1|2|3|question|keys"},
		{5, "1 2", "name||1|question|keys"},
		// Where all does not fit the end is shown, which has the question.
		{4, "1 2", "|1|question|keys"},
		{3, "1 2", "1|question|keys"},
		{2, "1 2", "question|keys"},
		{1, "1 2", "keys"},
		{0, "1 2", "keys"}, // before the terminal has told its size
		{-1, "1 2", "keys"},
	} {
		got := strings.ReplaceAll(Screen(top, strings.Fields(tc.body), foot, tc.height), "\n", "|")
		if got != tc.want {
			t.Errorf("%d lines for %q: %q, want %q", tc.height, tc.body, got, tc.want)
		}
	}
}

func TestABodyHasTheRoomThatIsLeft(t *testing.T) {
	top, foot := make([]string, 2), make([]string, 3)
	for height, want := range map[int]int{24: 19, 7: 2, 6: 1, 5: 1, 1: 1, 0: 1} {
		if got := Room(top, foot, height); got != want {
			t.Errorf("of %d lines %d are left, want %d", height, got, want)
		}
	}
}

func TestTheChosenRowIsSeenInTheMiddle(t *testing.T) {
	for _, tc := range []struct{ chosen, n, lines, first, end int }{
		{50, 100, 10, 45, 55},
		{51, 100, 9, 47, 56},
		{0, 100, 10, 0, 10}, // as far as that goes
		{3, 100, 10, 0, 10},
		{6, 100, 10, 1, 11},
		{99, 100, 10, 90, 100},
		{95, 100, 10, 90, 100},
		{94, 100, 10, 89, 99},
		{2, 3, 10, 0, 3}, // all of a short list
		{4, 10, 10, 0, 10},
		{7, 100, 1, 7, 8},
		{0, 0, 10, 0, 0},
	} {
		if first, end := Seen(tc.chosen, tc.n, tc.lines); first != tc.first || end != tc.end {
			t.Errorf("of %d rows %d to %d are seen in %d lines around %d, want %d to %d", tc.n, first, end, tc.lines, tc.chosen, tc.first, tc.end)
		}
	}
	for n := range 30 {
		for chosen := range n {
			for lines := 1; lines < 12; lines++ {
				first, end := Seen(chosen, n, lines)
				if chosen < first || chosen >= end || end-first != min(n, lines) {
					t.Fatalf("of %d rows %d to %d are seen in %d lines around %d", n, first, end, lines, chosen)
				}
			}
		}
	}
}

// What is drawn and what a click means are the same.
func TestARowIsPointedAtInTheLineThatShowsIt(t *testing.T) {
	for n := range 20 {
		for chosen := range max(n, 1) {
			for lines := 1; lines < 9; lines++ {
				first, end := Seen(chosen, n, lines)
				for line := -2; line < lines+3; line++ {
					want := -1
					if line >= 0 && first+line < end {
						want = first + line
					}
					if got := Pointed(chosen, n, lines, line); got != want {
						t.Fatalf("line %d of %d is row %d of %d around %d, want %d", line, lines, got, n, chosen, want)
					}
				}
			}
		}
	}
}

func TestTheNameOfAListIsPointedAtWhereItStands(t *testing.T) {
	l := NewLook(true)
	names := []string{l.Tabbed("Waiting 1", true), l.Tabbed("jürgen's 2", false)}
	if got := ansi.Strip(Tabs(names)); got != "[Waiting 1]  jürgen's 2" {
		t.Fatalf("they are %q", got)
	}
	for column, want := range map[int]int{-1: -1, 0: 0, 10: 0, 11: -1, 12: -1, 13: 1, 22: 1, 23: -1, 90: -1} {
		if got := TabAt(names, column); got != want {
			t.Errorf("in column %d is %d, want %d", column, got, want)
		}
	}
}

// A terminal without colours, and people who see few of them.
func TestWhatIsChosenIsMarkedNotByItsLookAlone(t *testing.T) {
	l := NewLook(false)
	for _, shown := range []bool{true, false} {
		tab, row := ansi.Strip(l.Tabbed("Yours 2", shown)), ansi.Strip(l.Row("web-1", shown))
		if want := map[bool]string{true: "[Yours 2]", false: "Yours 2"}[shown]; tab != want {
			t.Errorf("a list is %q, want %q", tab, want)
		}
		if want := map[bool]string{true: "› web-1", false: "  web-1"}[shown]; row != want {
			t.Errorf("a row is %q, want %q", row, want)
		}
	}
}

func TestKeysStandInAColumnBesideWhatTheyDo(t *testing.T) {
	keys := []Hint{Key("enter", "go there"), Key("ctrl+r", "read the list anew, as far as it goes"), Key("q", "leave")}
	for name, tc := range map[string]struct {
		width, room, each int
		want              string
	}{
		"wide":                      {60, 9, 3, "enter      go there|ctrl+r     read the list anew, as far as it goes|q          leave"},
		"what is long is broken":    {30, 9, 3, "enter      go there|ctrl+r     read the list anew,|           as far as it goes|q          leave"},
		"in as many lines as told":  {23, 9, 2, "enter      go there|ctrl+r     read the|           list anew, …|q          leave"},
		"and so many as there are":  {60, 2, 3, "enter      go there|…"},
		"all of them need no sign":  {60, 3, 3, "enter      go there|ctrl+r     read the list anew, as far as it goes|q          leave"},
		"one line is the sign only": {60, 1, 3, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, line := range NewLook(true).Keys(tc.width, tc.room, tc.each, keys...) {
				if got = append(got, ansi.Strip(line)); ansi.StringWidth(line) > tc.width {
					t.Errorf("%d cells of %d: %q", ansi.StringWidth(line), tc.width, line)
				}
			}
			if s := strings.Join(got, "|"); s != tc.want {
				t.Errorf("they are\n%s\nwant\n%s", s, tc.want)
			}
		})
	}
}
