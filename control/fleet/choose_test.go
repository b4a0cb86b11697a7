package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// gw is a gateway that may take any connection: reported a minute ago, healthy,
// with egress addresses that were set at revision 5.
func gw(n int, change ...func(*store.Gateway)) store.Gateway {
	g := store.Gateway{
		ID: fmt.Sprintf("gw_%d", n), Name: fmt.Sprintf("gw-%d", n), Address: fmt.Sprintf("192.0.2.%d:7234", n),
		State: store.Active, Healthy: true, ReportedAt: now.Add(-time.Minute),
		SealingKeys: []store.SealingKey{{ID: []byte{byte(n)}, Public: []byte{byte(n)}}},
		Egress:      []string{fmt.Sprintf("198.51.100.%d", n)}, EgressRevision: 5,
		Labels: map[string]string{"region": "eu"},
	}
	for _, c := range change {
		c(&g)
	}
	return g
}

func aged(d time.Duration) func(*store.Gateway) {
	return func(g *store.Gateway) { g.ReportedAt = now.Add(-d) }
}

// choice is for a server that has confirmed revision 5 of epoch 1.
func choice(mode string, gateways ...store.Gateway) Choice {
	return Choice{
		Now: now, Epoch: 1, Gateways: gateways,
		Project: store.Project{ID: "prj_1", Name: "web", Gateway: mode},
		Server:  store.Server{ID: "srv_1", Name: "web-1", Address: "10.0.0.7:22", ConfirmedEpoch: 1, ConfirmedCounter: 5},
		Shuffle: func(int, func(i, j int)) {},
	}
}

// show writes routes as "gw_1+gw_2 gw_3 direct".
func show(routes []api.Route) string {
	var out []string
	for _, r := range routes {
		if len(r.Recipients) == 0 {
			out = append(out, "direct")
			continue
		}
		var members []string
		for _, m := range r.Recipients {
			members = append(members, m.Gateway)
		}
		out = append(out, strings.Join(members, "+"))
	}
	return strings.Join(out, " ")
}

func TestTheChoiceOfGateways(t *testing.T) {
	minute, hour := time.Minute, time.Hour
	draining := func(g *store.Gateway) { g.Draining = true }
	refusing := func(g *store.Gateway) { g.RefuseConnections = true }
	disabled := func(g *store.Gateway) { g.State = store.Disabled }
	sick := func(g *store.Gateway) { g.Healthy = false }
	never := func(g *store.Gateway) { g.ReportedAt = time.Time{} }
	keyless := func(g *store.Gateway) { g.SealingKeys = nil }
	elsewhere := func(g *store.Gateway) { g.Labels = map[string]string{"region": "us"} }
	newEgress := func(g *store.Gateway) { g.EgressRevision = 6 }
	noEgress := func(g *store.Gateway) { g.Egress = nil }
	at := func(address string) func(*store.Gateway) { return func(g *store.Gateway) { g.Address = address } }
	selector := func(s string) func(*Choice) { return func(c *Choice) { c.Project.GatewaySelector = s } }

	for _, c := range []struct {
		name     string
		mode     string
		gateways []store.Gateway
		change   func(*Choice)
		want     string // "" for a refusal
	}{
		{"no gateway wanted: direct alone", "none", []store.Gateway{gw(1)}, nil, "direct"},
		{"allowed: gateways first, direct last", "allowed", []store.Gateway{gw(1), gw(2)}, nil, "gw_1 gw_2 direct"},
		{"allowed and none there: direct", "allowed", nil, nil, "direct"},
		{"required: gateways alone", "required", []store.Gateway{gw(1), gw(2)}, nil, "gw_1 gw_2"},
		{"required and none there: refused, never direct", "required", nil, nil, ""},
		{"an unknown setting still asks for gateways", "", []store.Gateway{gw(1)}, nil, "gw_1 direct"},

		{"a report 4:59 old is fresh", "required", []store.Gateway{gw(1, aged(5*minute-time.Second)), gw(2, aged(6*minute))}, nil, "gw_1"},
		{"a report 5:00 old is not", "required", []store.Gateway{gw(1, aged(5*minute)), gw(2)}, nil, "gw_2"},
		{"a report 5:01 old is not", "required", []store.Gateway{gw(1, aged(5*minute+time.Second)), gw(2)}, nil, "gw_2"},
		{"5:00 is the newest: it is the last resort", "required", []store.Gateway{gw(1, aged(5*minute)), gw(2, aged(6*minute))}, nil, "gw_1"},
		{"all are stale: the newest alone", "required", []store.Gateway{gw(1, aged(7*hour)), gw(2, aged(3*hour)), gw(3, aged(4*hour))}, nil, "gw_2"},
		{"the newest is 23:59 old", "required", []store.Gateway{gw(1, aged(24*hour-minute))}, nil, "gw_1"},
		{"the newest is 24:00 old", "required", []store.Gateway{gw(1, aged(24*hour))}, nil, "gw_1"},
		{"the newest is 24:01 old", "required", []store.Gateway{gw(1, aged(24*hour+minute))}, nil, ""},
		{"the newest is a nanosecond over 24 hours old", "required", []store.Gateway{gw(1, aged(24*hour+1))}, nil, ""},
		{"24:01 old where direct is allowed", "allowed", []store.Gateway{gw(1, aged(24*hour+minute))}, nil, "direct"},
		{"never reported", "required", []store.Gateway{gw(1, never)}, nil, ""},
		{"a clock that is ahead counts as fresh", "required", []store.Gateway{gw(1, aged(-minute))}, nil, "gw_1"},

		{"draining", "required", []store.Gateway{gw(1, draining), gw(2)}, nil, "gw_2"},
		{"draining is no last resort", "required", []store.Gateway{gw(1, draining)}, nil, ""},
		{"told to refuse connections", "required", []store.Gateway{gw(1, refusing), gw(2)}, nil, "gw_2"},
		{"told to refuse connections is no last resort", "required", []store.Gateway{gw(1, refusing)}, nil, ""},
		{"told to refuse connections is no member behind a balancer", "required", []store.Gateway{gw(1, at("lb:7234")), gw(2, at("lb:7234"), refusing)}, nil, "gw_1"},
		{"disabled", "required", []store.Gateway{gw(1, disabled)}, nil, ""},
		{"unhealthy", "required", []store.Gateway{gw(1, sick), gw(2, sick)}, nil, ""},
		{"unhealthy is no last resort", "required", []store.Gateway{gw(1, sick, aged(hour)), gw(2, aged(2*hour))}, nil, "gw_2"},
		{"without a sealing key nobody can speak to it", "required", []store.Gateway{gw(1, keyless)}, nil, ""},
		{"the selector does not match", "required", []store.Gateway{gw(1, elsewhere), gw(2)}, selector("region=eu"), "gw_2"},
		{"a selector that does not parse matches nothing", "required", []store.Gateway{gw(1)}, selector("region"), ""},

		{"egress addresses that the server has not confirmed", "required", []store.Gateway{gw(1, newEgress), gw(2)}, nil, "gw_2"},
		{"they are confirmed at the very revision", "required", []store.Gateway{gw(1)}, func(c *Choice) { c.Server.ConfirmedCounter = 5 }, "gw_1"},
		{"one revision short", "required", []store.Gateway{gw(1)}, func(c *Choice) { c.Server.ConfirmedCounter = 4 }, ""},
		{"confirmed in an epoch before a restore", "required", []store.Gateway{gw(1)}, func(c *Choice) { c.Epoch = 2 }, ""},
		{"no egress addresses at all", "required", []store.Gateway{gw(1, noEgress)}, nil, ""},
		{"where it is only allowed, egress does not matter", "allowed", []store.Gateway{gw(1, newEgress, noEgress)}, nil, "gw_1 direct"},

		{"one address, one route", "required", []store.Gateway{gw(1, at("lb:7234")), gw(2, at("lb:7234")), gw(3)}, nil, "gw_1+gw_2 gw_3"},
		{"a stale member behind a balancer may answer too", "required", []store.Gateway{gw(1, at("lb:7234")), gw(2, at("lb:7234"), aged(hour))}, nil, "gw_1+gw_2"},
		{"a draining member behind a balancer may not", "required", []store.Gateway{gw(1, at("lb:7234")), gw(2, at("lb:7234"), draining)}, nil, "gw_1"},
		{"no more than four routes", "required", []store.Gateway{gw(1), gw(2), gw(3), gw(4), gw(5)}, nil, "gw_1 gw_2 gw_3 gw_4"},
		{"direct is one of the four", "allowed", []store.Gateway{gw(1), gw(2), gw(3), gw(4)}, nil, "gw_1 gw_2 gw_3 direct"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := choice(c.mode, c.gateways...)
			if c.change != nil {
				c.change(&in)
			}
			routes, err := Choose(in)
			if got := show(routes); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (c.want == "") != (err != nil) || err != nil && api.KindOf(err) != api.NoGateway {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A gateway whose egress addresses nobody declared is never confirmed, so who
// waits would wait for ever: an administrator has something to type.
// A bastion is the way where there is one, and never the way around a gateway.
func TestTheWayThroughABastion(t *testing.T) {
	for mode, want := range map[string]string{"none": "direct srv_2", "allowed": "direct srv_2", "required": "gw_1 "} {
		c := choice(mode, gw(1))
		c.Server.Bastion = "srv_2"
		routes, err := Choose(c)
		if err != nil || len(routes) != 1 || show(routes)+" "+routes[0].Bastion != want {
			t.Errorf("%s: %q, %+v, %v", mode, show(routes), routes, err)
		}
	}
	c := choice("required")
	c.Server.Bastion = "srv_2"
	if routes, err := Choose(c); err == nil {
		t.Errorf("a gateway is required and there is none: %+v", routes)
	}
}

func TestUndeclaredEgressIsToldWithTheCommandThatDeclaresIt(t *testing.T) {
	undeclared := gw(1, func(g *store.Gateway) { g.Name, g.Egress = "gw-1", nil })
	in := choice("required")
	in.Gateways = []store.Gateway{undeclared}
	_, err := Choose(in)
	const want = "nobody has declared from which addresses gw-1 reaches servers; an administrator can; type: cardea admin gateways update gw-1 --egress ADDRESS"
	if errors.Is(err, errUnconfirmed) || api.KindOf(err) != api.NoGateway || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	// Where another gateway waits for the server, waiting helps.
	in.Gateways = append(in.Gateways, gw(2, func(g *store.Gateway) { g.EgressRevision = 6 }))
	if _, err := Choose(in); !errors.Is(err, errUnconfirmed) {
		t.Errorf("with one that is unconfirmed: %v", err)
	}
}

// The way inside TLS has its own address, its own members behind it, and its place
// in the ticket.
func TestTheWayInsideTLS(t *testing.T) {
	at := func(plain, inside string) func(*store.Gateway) {
		return func(g *store.Gateway) { g.Address, g.TLSAddress = plain, inside }
	}
	write := func(routes []api.Route) string {
		var out []string
		for _, r := range routes {
			text := r.Address + " " + show([]api.Route{r})
			if r.TLS != nil {
				text += " or " + r.TLS.Address + " " + show([]api.Route{{Recipients: r.TLS.Recipients}})
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct {
		name     string
		gateways []store.Gateway
		want     string
	}{
		{"none", []store.Gateway{gw(1)}, "192.0.2.1:7234 gw_1"},
		{"its own", []store.Gateway{gw(1, at("a:7234", "a:443"))}, "a:7234 gw_1 or a:443 gw_1"},
		{"one balancer for both", []store.Gateway{gw(1, at("lb:7234", "lb:443")), gw(2, at("lb:7234", "lb:443"))}, "lb:7234 gw_1+gw_2 or lb:443 gw_1+gw_2"},
		{"a balancer for TLS alone is tried once", []store.Gateway{gw(1, at("a:7234", "lb:443")), gw(2, at("b:7234", "lb:443"))}, "a:7234 gw_1 or lb:443 gw_1+gw_2, b:7234 gw_2"},
		{"a member without TLS is not behind it", []store.Gateway{gw(1, at("lb:7234", "lb:443")), gw(2, at("lb:7234", ""))}, "lb:7234 gw_1+gw_2 or lb:443 gw_1"},
	} {
		routes, err := Choose(choice("required", c.gateways...))
		if got := write(routes); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	var many []store.Gateway
	for i := range 64 {
		many = append(many, gw(i+1, at("lb:7234", "lb:443")))
	}
	routes, err := Choose(choice("required", many...))
	if err != nil || len(routes) != 1 || routes[0].TLS == nil || len(routes[0].TLS.Recipients) != 64 {
		t.Errorf("64 members at both: %s, %v", write(routes), err)
	}
	many[63].Address = "other:7234"
	many = append(many, gw(65, at("lb:7234", "")))
	routes, err = Choose(choice("required", many...))
	if err != nil || routes[0].TLS != nil {
		t.Errorf("a 65th at the address inside TLS does not fit into the ticket: %s, %v", write(routes), err)
	}
}

func TestUnconfirmedEgressIsToldFromNoGatewayAtAll(t *testing.T) {
	in := choice("required", gw(1))
	in.Server.ConfirmedCounter = 4
	if _, err := Choose(in); !errors.Is(err, errUnconfirmed) {
		t.Errorf("unconfirmed: %v", err)
	}
	if _, err := Choose(choice("required")); errors.Is(err, errUnconfirmed) {
		t.Errorf("none at all: %v", err)
	}
}

func TestAPoolAtTheLimitOfAHelloAndAboveIt(t *testing.T) {
	pool := func(n int, address string) (out []store.Gateway) {
		for i := range n {
			out = append(out, gw(i+1, func(g *store.Gateway) { g.Address = address }))
		}
		return out
	}
	routes, err := Choose(choice("required", pool(64, "lb:7234")...))
	if err != nil || len(routes) != 1 || len(routes[0].Recipients) != 64 {
		t.Errorf("64 members: %d routes, %v", len(routes), err)
	}
	if _, err := Choose(choice("required", pool(65, "lb:7234")...)); err == nil {
		t.Error("65 members behind one address fit into no hello, and there was no error")
	}
	other := gw(200)
	if routes, err = Choose(choice("required", append(pool(64, "lb:7234"), other)...)); err != nil || len(routes) != 1 {
		t.Errorf("64 and another: %d routes, %v; want the first alone", len(routes), err)
	}
}

func TestFreshGatewaysComeInAnyOrder(t *testing.T) {
	seen := map[string]bool{}
	in := choice("required", gw(1), gw(2), gw(3))
	in.Shuffle = nil
	for range 200 {
		routes, err := Choose(in)
		if err != nil {
			t.Fatal(err)
		}
		seen[show(routes)] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d of 6 orders in 200 tries: %v", len(seen), seen)
	}
	if !slices.IsSortedFunc(in.Gateways, func(a, b store.Gateway) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the caller's own list was shuffled")
	}
}

// A recorded project has no way but through gateways that record now, whatever else it says.
func TestRecordedSessionsGoThroughGatewaysThatRecord(t *testing.T) {
	records := func(g *store.Gateway) { g.Records = true }
	for _, c := range []struct {
		name, mode string
		gateways   []store.Gateway
		want, says string
	}{
		{"one of two records", "required", []store.Gateway{gw(1), gw(2, records)}, "gw_2", ""},
		{"none records", "required", []store.Gateway{gw(1), gw(2)}, "", "no gateway of it can record now"},
		{"there is none", "required", nil, "", "none takes sessions now"},
		{"the one that records has no egress", "required", []store.Gateway{gw(1), gw(2, records, func(g *store.Gateway) { g.Egress = nil })}, "", "declared from which addresses gw-2"},
		{"the server has not confirmed the one that records", "required", []store.Gateway{gw(1), gw(2, records, func(g *store.Gateway) { g.EgressRevision = 6 })}, "", "not yet confirmed"},
		{"never direct, where the settings disagree", "allowed", []store.Gateway{gw(1)}, "", "no gateway of it can record now"},
		{"never direct, where there are to be no gateways", "none", []store.Gateway{gw(1, records)}, "gw_1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			choice := choice(c.mode, c.gateways...)
			choice.Project.RecordRules = store.RecordRules{Recording: store.RecordingBestEffort, Recipients: []string{"age1x"}}
			routes, err := Choose(choice)
			if got := show(routes); got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
