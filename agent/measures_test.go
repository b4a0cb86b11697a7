package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// gatewayRoutes are the ways to gateways as "a a/tls b", each name being one gateway, and "-" the
// server itself.
func gatewayRoutes(names string) (routes []Route) {
	number := map[string]int{}
	for _, name := range strings.Fields(names) {
		address, _, inside := strings.Cut(name, "/")
		r := Route{Address: address, TLS: inside}
		if address != "-" {
			if number[address] == 0 {
				number[address] = len(number) + 1
			}
			r.Hello, r.gateway = []byte{1}, number[address]
		}
		routes = append(routes, r)
	}
	return routes
}

func addressesOf(routes []Route) string {
	var names []string
	for _, r := range routes {
		name := r.Address
		if r.TLS {
			name += "/tls"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestGatewaysAreTriedInAnOrderThatHelpsAndNoneIsLeftOut(t *testing.T) {
	now := time.Now()
	far := func(ms int) Measure { return Measure{Attempt: Attempt{Dialled: time.Duration(ms) * time.Millisecond}} }
	failed := func(ago time.Duration) Measure {
		return Measure{Attempt: Attempt{Failed: FailedSilent, Dialled: time.Millisecond}, FailedAt: now.Add(-ago)}
	}
	worked := func(ago time.Duration) Measure { return Measure{workedAt: now.Add(-ago)} }
	for name, c := range map[string]struct {
		routes string
		known  map[string]Measure
		want   string
	}{
		"nothing is known":                        {"a b c", nil, "a b c"},
		"one has failed":                          {"a b c", map[string]Measure{"a": failed(time.Second)}, "b c a"},
		"it failed a while ago":                   {"a b", map[string]Measure{"a": failed(failedTime)}, "a b"},
		"it failed just within that":              {"a b", map[string]Measure{"a": failed(failedTime - 1)}, "b a"},
		"all have failed":                         {"a b c", map[string]Measure{"a": failed(0), "b": failed(0), "c": failed(0)}, "a b c"},
		"one is clearly farther":                  {"a b", map[string]Measure{"a": far(80), "b": far(20)}, "b a"},
		"farther by ratio, not by much":           {"a b", map[string]Measure{"a": far(12), "b": far(2)}, "a b"},
		"farther by much, not by ratio":           {"a b", map[string]Measure{"a": far(145), "b": far(100)}, "a b"},
		"three distances":                         {"c b a", map[string]Measure{"a": far(5), "b": far(50), "c": far(200)}, "a b c"},
		"two as near as each other":               {"c b a", map[string]Measure{"a": far(20), "b": far(25), "c": far(200)}, "b a c"},
		"what is not known is tried":              {"u a", map[string]Measure{"a": far(1)}, "u a"},
		"and before what is far":                  {"a u b", map[string]Measure{"a": far(90), "b": far(20)}, "u b a"},
		"near and failed comes last":              {"a b", map[string]Measure{"a": failed(0), "b": far(300)}, "b a"},
		"the ways of a gateway stay together":     {"a a/tls b b/tls", map[string]Measure{"a": failed(0), "a/tls": failed(0)}, "b b/tls a a/tls"},
		"one of its ways has worked since":        {"a a/tls b b/tls", map[string]Measure{"a": failed(time.Second), "a/tls": worked(0)}, "a a/tls b b/tls"},
		"it had worked before that":               {"a a/tls b b/tls", map[string]Measure{"a": failed(time.Second), "a/tls": worked(time.Minute)}, "b b/tls a a/tls"},
		"the way past the gateways stays last":    {"a b -", map[string]Measure{"a": failed(0), "b": failed(0)}, "a b -"},
		"the way past them, where one has failed": {"a b -", map[string]Measure{"a": failed(0)}, "b a -"},
		"only a server":                           {"-", nil, "-"},
		"no route at all":                         {"", nil, ""},
	} {
		known := func(r Route) Measure { return c.known[addressesOf([]Route{r})] }
		if got := addressesOf(ordered(gatewayRoutes(c.routes), known, now)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatWasMeasuredIsSmoothedKeptByNetworkAndForgotten(t *testing.T) {
	home, cafe := network{1}, network{2}
	now := time.Now()
	var m measures
	tell := func(a Attempt) { m.note([]Attempt{a}, home, now) }
	look := func(at network, after time.Duration) Measure { return m.from(at, now.Add(after))(Route{Address: "gw"}) }
	tell(Attempt{Address: "gw", Dialled: 100 * time.Millisecond, Answered: 40 * time.Millisecond})
	tell(Attempt{Address: "gw", Dialled: 20 * time.Millisecond})
	if got := look(home, 0); got.Dialled != 80*time.Millisecond || got.Answered != 40*time.Millisecond || got.Failed != "" {
		t.Errorf("measured %+v", got)
	}
	tell(Attempt{Address: "gw", Failed: "draining"})
	if got := look(home, 0); !got.failed(now) || got.failed(now.Add(failedTime)) || got.Dialled != 80*time.Millisecond {
		t.Errorf("after a failure %+v", got)
	}
	tell(Attempt{Address: "gw", Dialled: 80 * time.Millisecond})
	if got := look(home, 0); !got.failed(now) {
		t.Error("that it took a connection ended a failure")
	}
	tell(Attempt{Address: "gw", Answered: time.Millisecond})
	if got := look(home, 0); got.failed(now) {
		t.Error("a success did not end a failure")
	}
	if got := look(cafe, 0); got.Dialled != 0 {
		t.Errorf("another network has %+v", got)
	}
	if got := look(home, measureTime); got.Dialled != 0 {
		t.Errorf("it was not forgotten: %+v", got)
	}
	if got := m.from(home, now)(Route{Address: "gw", TLS: true}); got.Dialled != 0 {
		t.Errorf("the way inside TLS has %+v", got)
	}
}

// A helper is a program of the user's own, and tells no more than there is.
func TestOfManyAddressesTheOldestIsForgotten(t *testing.T) {
	now := time.Now()
	var m measures
	for i := range maxMeasures + 1 {
		m.note([]Attempt{{Address: fmt.Sprint(i), Dialled: time.Second}}, network{}, now.Add(time.Duration(i)))
	}
	known := m.from(network{}, now)
	if len(m.of) != maxMeasures || known(Route{Address: "0"}).Dialled != 0 || known(Route{Address: fmt.Sprint(maxMeasures)}).Dialled == 0 {
		t.Errorf("%d are remembered", len(m.of))
	}
	m.note([]Attempt{{Address: "given up"}}, network{}, now.Add(measureTime+maxMeasures))
	if len(m.of) != 0 {
		t.Errorf("%d are remembered of which nothing is known", len(m.of))
	}
	flood := make([]Attempt, maxAttempts+1)
	for i := range flood {
		flood[i] = Attempt{Address: fmt.Sprint("flood", i), Dialled: time.Second}
	}
	if m.note(flood, network{1}, now); len(m.list(network{1}, now)) != maxAttempts {
		t.Errorf("of %d attempts at once %d were taken", len(flood), len(m.list(network{1}, now)))
	}
}
