package offer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
)

func TestNamesMeanOneServerEach(t *testing.T) {
	servers := []api.CatalogEntry{
		{Name: "a", ProjectName: "x"}, {Name: "a", ProjectName: "y"}, {Name: "b", ProjectName: "x", AltNames: []string{"b", "c"}},
		{Name: "c", ProjectName: "x"}, {Name: "d", ProjectName: "x"},
	}
	want := []string{"x/a", "y/a", "b", "x/c", "d"}
	if got := Names(servers); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if a, b := Dotted("x/a"), Dotted("b"); a != "a.x" || b != "b" {
		t.Errorf("without a slash: %q and %q", a, b)
	}
}

func TestOnlyWhatBeginsWithWhatWasTypedIsOffered(t *testing.T) {
	words := []string{"db-1", "web", "web-1", "web-10", "web-2", "web/x", "wet"}
	for _, tc := range []struct {
		typed string
		most  int
		want  string
	}{
		{"", 100, "db-1 web web-1 web-10 web-2 web/x wet"},
		{"web", 100, "web web-1 web-10 web-2 web/x"},
		{"web-1", 100, "web-1 web-10"},
		{"web-10", 100, "web-10"},
		{"web-100", 100, ""},
		{"wet", 100, "wet"},
		{"a", 100, ""},
		{"z", 100, ""},
		{"\xff", 100, ""},
		{"web", 5, "web web-1 web-10 web-2 web/x"},
		// What all that fit have in common is what those that are left have, too.
		{"web", 4, "web web-1 web-10 web/x"},
		{"", 2, "db-1 wet"},
		{"", 1, "wet"},
	} {
		if got := strings.Join(Beginning(words, tc.typed, tc.most), " "); got != tc.want {
			t.Errorf("%q, %d at the most: %q, want %q", tc.typed, tc.most, got, tc.want)
		}
	}
	if got := Beginning(words, "", 2); words[1] != "web" || len(got) != 2 {
		t.Errorf("the words themselves were changed: %q", words)
	}
}

func TestEachProjectIsOfferedOnce(t *testing.T) {
	servers := []api.CatalogEntry{{ProjectName: "web"}, {ProjectName: "data"}, {ProjectName: "web"}, {ProjectName: "w\x1b[2J"}, {ProjectName: "-x"}}
	for typed, want := range map[string]string{"": "data web", "w": "web", "x": ""} {
		if got := strings.Join(Projects(servers, typed, 100), " "); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func TestSelectorsGoOnWithWhatIsThere(t *testing.T) {
	servers := []api.CatalogEntry{
		{Labels: map[string]string{"env": "prod", "tier": "db", "host/os": "debian"}},
		{Labels: map[string]string{"env": "dev", "tier": "db"}},
		{},
		{Labels: map[string]string{"env": "$(touch hacked)", "Bad key": "x", "e\x1b[2J": "x", "esc": "\x1b[2J", "two": "a\nb", "host/": "x", "empty": ""}},
	}
	for typed, want := range map[string]string{
		"":                   "env= host/os= tier=",
		"e":                  "env=",
		"env=":               "env=dev env=prod",
		"env=p":              "env=prod",
		"env!=":              "env!=dev env!=prod",
		"env!":               "",
		"host/os=":           "host/os=debian",
		"env=prod,t":         "env=prod,tier=",
		"env=prod,tier!=d":   "env=prod,tier!=db",
		"env=prod,tier!=d,":  "env=prod,tier!=d,host/os= env=prod,tier!=d,tier=", // nothing has two values, but may lack two
		"env=prod,env":       "",
		"env=prod,env=":      "env=prod,env=dev env=prod,env=prod", // typed on purpose
		"esc=":               "",
		"no=":                "",
		"=":                  "",
		",":                  ",env= ,host/os= ,tier=",
		"$(touch hacked),en": "$(touch hacked),env=", // the shell has what was typed already
	} {
		if got := strings.Join(Selectors(servers, typed, 100), " "); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// Who has a value for each server finds his own by typing on.
func TestManyValuesAreNarrowedByWhatIsTyped(t *testing.T) {
	var servers []api.CatalogEntry
	for i := range 3000 {
		servers = append(servers, api.CatalogEntry{Labels: map[string]string{"id": fmt.Sprintf("n%04d", i)}})
	}
	if got := Selectors(servers, "id=", 200); len(got) != 200 || got[199] != "id=n2999" {
		t.Errorf("%d of all, the last is %q", len(got), got[len(got)-1])
	}
	if got := Selectors(servers, "id=n293", 200); len(got) != 10 {
		t.Errorf("of those that fit: %q", got)
	}
}
