package proxycmd

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
)

func TestWhichWayLeadsThroughABastion(t *testing.T) {
	gateway := agent.Route{Address: "gw:7234", Hello: []byte("x")}
	direct := agent.Route{Address: "10.0.0.7:22"}
	behind := agent.Route{Address: "10.0.0.7:22", Bastion: "srv_a"}
	here, there := errors.New("from here"), errors.New("from there")
	for name, tc := range map[string]struct {
		routes []agent.Route
		via    string
		want   error  // of the dialler
		from   string // the bastion
		tried  int
		kind   api.Kind
	}{
		"gateways and the direct way":                {[]agent.Route{gateway, direct}, "", here, "", 2, ""},
		"a bastion of the control plane's":           {[]agent.Route{behind}, "", there, "srv_a", 1, ""},
		"one that the person named":                  {[]agent.Route{gateway, direct}, "srv_b", there, "srv_b", 1, ""},
		"one that the person named in place of it":   {[]agent.Route{behind}, "srv_b", there, "srv_b", 1, ""},
		"one that the person named where he may not": {[]agent.Route{gateway}, "srv_b", nil, "", 0, api.NoGateway},
	} {
		from := ""
		o := Options{Via: tc.via,
			Dial:    func(context.Context, string) (net.Conn, error) { return nil, here },
			Through: func(_ context.Context, bastion, _ string) (net.Conn, error) { from = bastion; return nil, there },
		}
		routes, dial, err := o.through(agent.Connected{Routes: tc.routes})
		if api.KindOf(err) != tc.kind && tc.kind != "" || (err == nil) != (tc.kind == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if _, err := dial(t.Context(), routes[0]); !errors.Is(err, tc.want) || from != tc.from || len(routes) != tc.tried {
			t.Errorf("%s: %v, from %q, %d routes", name, err, from, len(routes))
		}
	}
	if _, _, err := (Options{}).through(agent.Connected{Routes: []agent.Route{behind}}); err == nil {
		t.Error("without the means to go through it, it is dialled from here")
	}
}
