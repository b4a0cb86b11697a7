package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestGatewaysAreRememberedOverTheEndOfTheAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), gatewaysFile)
	var g gateways
	g.load(file)
	via := func(addresses ...string) (routes []Route) {
		for _, a := range addresses {
			routes = append(routes, Route{Address: a, Hello: []byte("x")})
		}
		return append(routes, Route{Address: "server:22"})
	}
	if err := g.note(via("a:7234", "b:7234")); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.note(via("b:7234", "a:7234")); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(file); err != nil || !os.SameFile(first, again) {
		t.Errorf("the same gateways in another order were written anew: %v", err)
	}
	if got := fmt.Sprint(g.list()); got != "[{b:7234 false} {a:7234 false}]" {
		t.Errorf("remembers %s", got)
	}
	for i := range 2 * maxGateways {
		g.note(via(fmt.Sprintf("c%d:7234", i)))
	}
	var next gateways
	next.load(file)
	if got := next.list(); len(got) != maxGateways || got[0].Address != "c15:7234" {
		t.Errorf("the next agent knows %v", got)
	}
	for _, bad := range []string{"{", `[1]`, "null"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		var g gateways
		if g.load(file); len(g.list()) != 0 {
			t.Errorf("%q was taken for gateways", bad)
		}
	}
}
