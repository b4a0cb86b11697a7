package rows

import (
	"slices"
	"strings"
	"testing"
)

// server is what a list may be of: its id, and words.
type server struct{ id, name, project string }

var kind = Kind[server]{
	ID:    func(s server) string { return s.id },
	Texts: func(s server) []string { return []string{s.name, s.project} },
}

func team() []server {
	return []server{{"a", "web-1", "shop"}, {"b", "Web-2", "shop"}, {"c", "db-1", "Jürgen's"}}
}

func ids(list []server) string {
	var out []string
	for _, s := range list {
		out = append(out, s.id)
	}
	return strings.Join(out, " ")
}

func TestEachWordOfAFilterStandsInTheTexts(t *testing.T) {
	for filter, want := range map[string]string{
		"":          "a b c",
		"  ":        "a b c",
		"web":       "a b", // in any case
		"WEB-2":     "b",
		"shop web":  "a b", // in any order
		"shop db":   "",
		"jürgen":    "c",
		"1":         "a c",
		"web-1shop": "", // two texts are no word
		"b":         "a b c",
	} {
		if got := ids(kind.Fitting(team(), filter)); got != want {
			t.Errorf("%q fits %q, want %q", filter, got, want)
		}
	}
}

func TestTheChosenRowStaysChosenByItsID(t *testing.T) {
	list := team()
	if i := kind.At(list, "b"); i != 1 {
		t.Errorf("it is at %d", i)
	}
	slices.Reverse(list) // read anew, in another order
	list[1].name = "web-3"
	if s, ok := kind.Chosen(list, "b"); !ok || s.name != "web-3" {
		t.Errorf("chosen %+v, %v", s, ok)
	}
	if got := kind.Keep(list, "b"); got != "b" {
		t.Errorf("kept %q", got)
	}
}

func TestAChosenRowThatIsGoneGivesWayToTheFirst(t *testing.T) {
	for _, tc := range []struct {
		list         []server
		chosen, want string
	}{{team(), "gone", "a"}, {team(), "", "a"}, {nil, "a", ""}, {nil, "", ""}} {
		if got := kind.Keep(tc.list, tc.chosen); got != tc.want {
			t.Errorf("of %d rows %q is chosen after %q, want %q", len(tc.list), got, tc.chosen, tc.want)
		}
		if s, ok := kind.Chosen(tc.list, tc.chosen); ok || s != (server{}) || kind.At(tc.list, tc.chosen) != -1 {
			t.Errorf("%q is %+v", tc.chosen, s)
		}
	}
}

func TestAMoveEndsAtTheEnds(t *testing.T) {
	for _, tc := range []struct {
		chosen string
		by     int
		want   string
	}{
		{"a", 1, "b"}, {"a", 2, "c"}, {"a", 3, "c"}, {"c", 100, "c"}, {"c", -1, "b"}, {"b", -9, "a"}, {"b", 0, "b"},
		{"gone", 1, "a"}, {"gone", -1, "a"}, // as from above the first
	} {
		if got := kind.Move(team(), tc.chosen, tc.by); got != tc.want {
			t.Errorf("%d rows from %q is %q, want %q", tc.by, tc.chosen, got, tc.want)
		}
	}
	if got := kind.Move(nil, "a", 1); got != "a" {
		t.Errorf("where nothing is %q is chosen", got)
	}
}

func TestKeysThatMove(t *testing.T) {
	const page, n = 10, 95
	for keys, want := range map[string]int{
		"up k ctrl+p": -1, "down j ctrl+n": 1, "pgup ctrl+u": -page, "pgdown ctrl+d": page, "home g": -n, "end G": n,
	} {
		for key := range strings.FieldsSeq(keys) {
			if by, does := Step(key, page, n); !does || by != want {
				t.Errorf("%s moves by %d, %v; want %d", key, by, does, want)
			}
		}
	}
	for _, key := range []string{"", "q", "J", "K", "left", "enter", "ctrl+g", "shift+up"} {
		if by, does := Step(key, page, n); does || by != 0 {
			t.Errorf("%q moves by %d", key, by)
		}
	}
}
