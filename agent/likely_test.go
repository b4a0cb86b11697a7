package agent

import (
	"strings"
	"testing"
)

func TestGuessedAreTheGatewaysOfTheProjectOnThisNetworkByChance(t *testing.T) {
	home, away := network{1}, network{2}
	plain := func(addresses ...string) (routes []Route) {
		for _, a := range addresses {
			routes = append(routes, Route{Address: a, Hello: []byte{1}})
		}
		return routes
	}
	var l likely
	l.note("web", plain("a", "b"), home)
	l.note("pay", append(plain("c"), Route{Address: "inside", Hello: []byte{1}, TLS: true}, Route{Address: "server"}), home)
	seen := map[string]int{}
	for range 100 {
		seen[strings.Join(l.guess("web", home), " ")]++
	}
	if len(seen) != 2 || seen["a b"] == 0 || seen["b a"] == 0 {
		t.Errorf("guesses %v", seen)
	}
	for name, c := range map[string]struct {
		project string
		at      network
		want    string
	}{
		"the plain way of a pair":      {"pay", home, "c"},
		"another network":              {"web", away, ""},
		"a project that nobody has":    {"none", home, ""},
		"a server that is in none":     {"", home, ""},
		"the zero value of everything": {"", network{}, ""},
	} {
		if got := strings.Join(l.guess(c.project, c.at), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	// Nothing but the inside of TLS works here now; then there is no gateway at all.
	l.note("pay", append([]Route{{Address: "inside", Hello: []byte{1}, TLS: true}}, plain("c")...), home)
	l.note("web", []Route{{Address: "server"}}, home)
	if got := append(l.guess("pay", home), l.guess("web", home)...); len(got) > 0 {
		t.Errorf("guessed %q", got)
	}
}
