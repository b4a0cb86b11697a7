package control

import (
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// An administrator has a gateway refuse connections: it hears of it at once, is in
// nobody's routes any more, and whoever was sent there before is sent elsewhere.
func TestAGatewayThatIsToldToRefuseConnections(t *testing.T) {
	s := newScene(t)
	f := newFresh(t)
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	message, _ := s.hello(f, c)
	other := s.newGateway("gw-2")

	heard := make(chan api.GatewayWatch, 1)
	go func() {
		w, err := try[api.GatewayWatch](t, s.gateway.device, "GET", "/v1/gateway/watch?wait=20", nil)
		if err != nil {
			t.Error(err)
		}
		heard <- w
	}()
	time.Sleep(100 * time.Millisecond)
	yes, no := true, false
	g := must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{RefuseConnections: &yes})
	if w := <-heard; !w.RefuseConnections || !g.RefuseConnections {
		t.Errorf("it hears %+v, and is %+v", w, g)
	}
	denied(t, s.gateway.device, api.Unavailable, "POST", "/v1/gateway/sessions", api.Claim{Hello: s.gateway.open(t, message).Claim, Source: "203.0.113.9:1"})
	if w := must[api.GatewayWatch](t, s.gateway.device, "GET", "/v1/gateway/watch?wait=0", nil); !w.RefuseConnections {
		t.Error("who asks later is not told")
	}
	for range 4 {
		c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
		if len(c.Routes) != 2 || len(c.Routes[0].Recipients) != 1 || c.Routes[0].Recipients[0].Gateway != other.id {
			t.Fatalf("routes %+v", c.Routes)
		}
	}
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{RefuseConnections: &no})
	c = must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if len(c.Routes) != 3 {
		t.Errorf("routes %+v", c.Routes)
	}
}

// The address inside TLS comes from the enrolment token or an administrator.
func TestTheAddressInsideTLSComesFromTheTokenOrAnAdministrator(t *testing.T) {
	s := newScene(t)
	inside, none, wrong := "gw.example.com:443", "", "gw.example.com"
	g := must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{TLSAddress: &inside})
	c := must[api.Connection](t, s.alice, "POST", "/v1/connect", newFresh(t).connect("web-1", ""))
	if r := c.Routes[0]; g.TLSAddress != inside || r.TLS == nil || r.TLS.Address != inside || len(r.TLS.Recipients) != 1 {
		t.Errorf("gateway %+v, route %+v", g, r)
	}
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{TLSAddress: &wrong})
	if g = must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{TLSAddress: &none}); g.TLSAddress != "" {
		t.Errorf("gateway %+v", g)
	}
	token := s.token(api.NewEnrolmentToken{Kind: "gateway", Name: "gw-9", Address: "gw-9.example.com:7234", TLSAddress: "gw-9.example.com:443"})
	if token.TLSAddress != "gw-9.example.com:443" {
		t.Errorf("token %+v", token)
	}
	denied(t, s.admin, api.Invalid, "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Kind: "server", Project: "web", TLSAddress: inside})
}
