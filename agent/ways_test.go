package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

func TestAWayInsideTLSIsRememberedForAWhileOnOneNetwork(t *testing.T) {
	var w ways
	now, home, cafe := time.Now(), network{1}, network{2}
	if w.first("gw:443", home, now) {
		t.Error("it is first before it ever worked")
	}
	w.worked("gw:443", home, now)
	w.worked("gw:443", home, now.Add(wayTime-time.Second)) // does not prolong it
	for _, c := range []struct {
		address string
		at      network
		after   time.Duration
		want    bool
	}{
		{"gw:443", home, wayTime - time.Second, true},
		{"gw:443", home, wayTime, false},
		{"gw:443", cafe, 0, false},
		{"other:443", home, 0, false},
	} {
		if got := w.first(c.address, c.at, now.Add(c.after)); got != c.want {
			t.Errorf("%s after %s: %t", c.address, c.after, got)
		}
	}
	w.worked("gw:443", cafe, now)
	if !w.first("gw:443", cafe, now) || w.first("gw:443", home, now) {
		t.Error("on another network it is remembered anew")
	}
	for i := range 2 * maxWays {
		w.worked(fmt.Sprint(i), home, now)
	}
	if len(w.of) != maxWays {
		t.Errorf("%d are remembered, the limit is %d", len(w.of), maxWays)
	}
	w.worked("later", home, now.Add(wayTime))
	if len(w.of) != 1 {
		t.Errorf("%d are remembered after their time", len(w.of))
	}
}

func TestEachWayHasAHelloOfItsOwnAndTheOneThatWorkedComesFirst(t *testing.T) {
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := hello.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	id := key.ID()
	members := []api.Recipient{{Gateway: "gw_1", SealingKey: api.SealingKey{ID: id[:], Public: key.Public()}}}
	got := api.Connection{Ticket: []byte("t"), Routes: []api.Route{
		{Address: "a:7234", Recipients: members, TLS: &api.TLSRoute{Address: "a:443", Recipients: members}},
		{Address: "b:7234", Recipients: members}, {Address: "c:22"},
	}}
	for want, first := range map[string]bool{"a:7234 a:443/tls b:7234 c:22/direct": false, "a:443/tls a:7234 b:7234 c:22/direct": true} {
		routes, err := seal(got, fresh, time.Now(), func(address string) bool { return first && address == "a:443" })
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		hellos := map[string]bool{}
		for _, r := range routes {
			name := r.Address
			if r.TLS {
				name += "/tls"
			}
			if r.Direct() {
				name += "/direct"
			} else if hellos[string(r.Hello)] {
				t.Error("a hello is good once, and stands there twice")
			}
			hellos[string(r.Hello)] = true
			text = append(text, name)
		}
		if strings.Join(text, " ") != want {
			t.Errorf("routes %q, want %q", text, want)
		}
	}
	got.Routes[0].Recipients = nil
	if _, err := seal(got, fresh, time.Now(), func(string) bool { return false }); err == nil {
		t.Error("a direct way with gateways inside TLS was taken")
	}
}
