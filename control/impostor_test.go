package control

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Bob has no access to web-1. He knows its id, and wants administrators to see
// that it shows a wrong host key; or to learn whether there is such a server.
func TestWhoMayNotEnterAServerTellsNothingOfIt(t *testing.T) {
	s := newScene(t)
	met := api.Impostor{Address: "10.0.0.7:22", Server: s.server.id, HostKey: newFresh(t).line()}
	there := denied(t, s.bob, api.NotFound, "POST", "/v1/impostors", met)
	met.Server = ident.New(ident.Server)
	nowhere := denied(t, s.bob, api.NotFound, "POST", "/v1/impostors", met)
	if got := strings.ReplaceAll(there.Detail, s.server.id, met.Server); got != nowhere.Detail {
		t.Errorf("of a server that is there: %q, of none: %q", there.Detail, nowhere.Detail)
	}
	if got := s.events(audit.HostImpostor); len(got) != 0 {
		t.Errorf("recorded %+v", got)
	}
}

// Alice's session is in a thief's hands, who wants to bury what he does below a
// million rows about impostors.
func TestImpostorsOfOnePersonAreRationed(t *testing.T) {
	s := newScene(t)
	met := api.Impostor{Address: "gw-1.example.com:7234", Gateways: []string{s.gateway.id}}
	for range impostorBurst {
		must[api.Named](t, s.alice, "POST", "/v1/impostors", met)
	}
	denied(t, s.alice, api.Limited, "POST", "/v1/impostors", met)
	must[api.Named](t, s.bob, "POST", "/v1/impostors", met)
	if got := s.events(audit.GatewayImpostor); len(got) != impostorBurst+1 {
		t.Errorf("%d rows", len(got))
	}
}

func TestAnImpostorIsRecordedAsAUserTellsOfIt(t *testing.T) {
	s := newScene(t)
	gateway := s.gateway.id
	for name, in := range map[string]api.Impostor{
		"no address":        {Gateways: []string{gateway}},
		"a long address":    {Address: strings.Repeat("a", 260), Gateways: []string{gateway}},
		"no gateway":        {Address: "gw-1.example.com:7234"},
		"no id":             {Address: "gw-1.example.com:7234", Gateways: []string{"gw-1"}},
		"too many gateways": {Address: "gw-1.example.com:7234", Gateways: slices.Repeat([]string{gateway}, hello.MaxRecipients+1)},
	} {
		t.Run(name, func(t *testing.T) { denied(t, s.alice, api.Invalid, "POST", "/v1/impostors", in) })
	}
	if got := s.events(audit.GatewayImpostor); len(got) != 0 {
		t.Fatalf("recorded %+v", got)
	}
	must[api.Named](t, s.alice, "POST", "/v1/impostors", api.Impostor{Address: strings.Repeat("a", 259), Gateways: slices.Repeat([]string{gateway}, hello.MaxRecipients)})
	must[api.Named](t, s.alice, "POST", "/v1/impostors", api.Impostor{Address: "gw-1.example.com:7234", Gateways: []string{gateway}})
	got := s.events(audit.GatewayImpostor)
	if len(got) != 2 || got[1].Outcome != audit.Denied || got[1].User == "" || got[1].Gateway != gateway || got[1].Detail["address"] != "gw-1.example.com:7234" {
		t.Errorf("recorded %+v", got)
	}
}
