package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

func TestTheWayToTheControlPlaneIsLookedAtPartByPart(t *testing.T) {
	none := &httpproxy.Config{}
	secure := apitest.NewTLS(t)
	look := func(url string, client *http.Client) []Finding {
		return Control(LookAtControl(t.Context(), url, client, none))
	}
	trusting := api.NewHTTP(func(tr *http.Transport) {
		tr.TLSClientConfig = secure.HTTP().Transport.(*http.Transport).TLSClientConfig
	})
	expect(t, "all is well", look(secure.URL, trusting), "ok proxy: none", "ok tcp: connected to 127.0.0.1", "ok tls: signed by", "ok control-plane: of team demo", "ok clock: within 1s")
	expect(t, "a root that nobody knows", look(secure.URL, api.NewHTTP(nil)), "ok proxy: none", "ok tcp: ",
		"failed tls: signed by unknown authority | --ca-file")
	secure.Stop()
	expect(t, "nothing listens", look(secure.URL, api.NewHTTP(nil)), "ok proxy: none", "failed tcp: nothing listens there | check the URL and its port")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "maintenance", http.StatusServiceUnavailable)
	}))
	defer other.Close()
	expect(t, "maintenance", look(other.URL, api.NewHTTP(nil)), "ok proxy: none", "ok tcp: ", "failed control-plane: answered with status 503 | check the URL", "ok clock: ")
	expect(t, "none is known", Control(ControlFacts{}), "skipped control-plane: none is known")
}

func TestWhatTheNetworkTellsIsJudged(t *testing.T) {
	known := ControlFacts{URL: "https://x", Err: api.Errorf(api.Unavailable, "the control plane at https://x cannot be reached: there is no host x").WithHint("check the URL")}
	known.DNSErr = errors.New("no such host")
	expect(t, "no such name", Control(known), "ok proxy: none", "failed dns: there is no host x | check the URL")
	expect(t, "a proxy that cannot be used", Control(ControlFacts{URL: "https://x", ProxyErr: errors.New("invalid URL")}), "failed proxy: invalid URL | env | grep")
	expect(t, "a proxy, and a certificate near its end", Control(ControlFacts{URL: "https://x", Proxy: "proxy:3128", Addresses: []string{"10.0.0.1"}, Address: "10.0.0.1:3128",
		NotAfter: now.Add(24 * time.Hour), At: now, Date: now, Team: "demo"}),
		"ok proxy: through proxy:3128", "ok dns: the proxy's name is 10.0.0.1", "ok tcp: ", "warning tls: ends 2026-11-23 | administrator", "ok control-plane: ", "ok clock: ")
	for skew, want := range map[time.Duration]string{
		0: "ok clock: within 1s", loose: "ok clock: ", loose + 1: "warning clock: 30s ahead | set it", -broken: "warning clock: 2m0s behind | set it",
		-broken - 1: "failed clock: 2m0s behind | timedatectl", 90 * time.Minute: "failed clock: 1h30m0s ahead | timedatectl",
	} {
		expect(t, skew.String(), []Finding{Clock(ControlFacts{Date: now, At: now.Add(skew)})}, want)
	}
}

func TestOneGatewayIsEnough(t *testing.T) {
	l := tcptest.Listen(t)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		if address == "down:7234" {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	look := func(addresses ...string) []Finding {
		var ways []Gateway
		for _, a := range addresses {
			ways = append(ways, Gateway{Address: a})
		}
		return Gateways(GatewayFacts{Gateways: LookAtGateways(t.Context(), ways, dial, &httpproxy.Config{HTTPSProxy: "http://user:secret@proxy:3128", NoProxy: "up"})})
	}
	expect(t, "none is known", look(), "skipped gateway: cardea doctor SERVER")
	expect(t, "one of two is down", look("up:7234", "down:7234"), "ok gateway: up:7234 took a connection", "warning gateway: down:7234 through proxy:3128: connection refused | another one")
	expect(t, "none is known, and a server is named", Gateways(GatewayFacts{Server: "web-1"}), "skipped gateway: the way to web-1 is looked at by itself")
	expect(t, "none is needed", Gateways(GatewayFacts{Server: "web-1", Led: true}), "ok gateway: the way to web-1 leads through none")
	expect(t, "a server's", Gateways(GatewayFacts{Server: "web-1", Led: true, Gateways: []Gateway{{Address: "a:7234"}, {Address: "b:7234", Proxy: "proxy:3128", Err: errors.New("connection refused")}}}),
		"ok gateway: a:7234 on the way to web-1 took a connection", "warning gateway: b:7234 on the way to web-1 through proxy:3128: connection refused | another one")
	expect(t, "all are down", look("down:7234"), "failed gateway: connection refused | TCP")
}

func TestChecksRunAtOnceAndNoneHoldsUpTheRest(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	both := make(chan struct{})
	found := Run(t.Context(), []Check{
		{"hangs", func(context.Context) []Finding { <-hang; return nil }},
		{"first", func(context.Context) []Finding { both <- struct{}{}; return []Finding{ok("first", "")} }},
		{"second", func(context.Context) []Finding { <-both; return []Finding{Skip("second", "")} }},
	}, 20*time.Millisecond, nil)
	expect(t, "one that hangs", found, "failed hangs: nothing was found out | try again", "ok first: ", "skipped second: ")
	if Well(found) || !Well(found[1:]) {
		t.Error("what failed decides whether all is well")
	}
}
