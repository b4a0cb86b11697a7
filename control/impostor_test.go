package control

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/hello"
)

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
