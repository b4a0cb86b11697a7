package gateway

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

func readiness(g *running) int {
	mux := http.NewServeMux()
	g.Health(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	return w.Code
}

func (p *plane) lastReport() api.GatewayReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reports[len(p.reports)-1]
}

func TestAGatewayThatRefusesConnectionsByItsConfigurationSaysSo(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, func(o *Options) { o.RefuseConnections = true })
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Accepted || a.Kind != "draining" {
		t.Errorf("answer %+v", a)
	}
	if r := p.lastReport(); !r.Draining || !r.Healthy {
		t.Errorf("report %+v", r)
	}
	if readiness(g) != http.StatusServiceUnavailable {
		t.Error("a balancer is told to send it connections")
	}
}

func TestABalancerSendsADisabledGatewayNobodyUntilItIsEnabled(t *testing.T) {
	t.Parallel() // it waits for the third refusal
	p, server := newPlane(t), newSSHD(t)
	var disabled atomic.Bool
	p.On("GET", "/v1/gateway/watch", func(apitest.Call) (any, error) {
		if disabled.Load() {
			return nil, api.Errorf(api.Denied, "this gateway is disabled")
		}
		time.Sleep(10 * time.Millisecond) // a poll that is not long
		return api.GatewayWatch{GatewayKeys: p.ticketKeys()}, nil
	})
	g := runGateway(t, p, nil)
	disabled.Store(true)
	eventually(t, "that it is not ready", func() bool { return readiness(g) == http.StatusServiceUnavailable })
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Accepted || a.Kind != kindDraining {
		t.Errorf("answer %+v", a) // the client goes to the next one
	}
	disabled.Store(false)
	eventually(t, "readiness", func() bool { return readiness(g) == http.StatusOK })
	newCaller(t, p, server.addr, g).mustCall(g)
}

func TestAnAdministratorHasAGatewayRefuseAndTakeConnections(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	word := make(chan bool, 2)
	p.On("GET", "/v1/gateway/watch", func(c apitest.Call) (any, error) {
		select {
		case refuse := <-word:
			return api.GatewayWatch{RefuseConnections: refuse, GatewayKeys: p.ticketKeys()}, nil
		case <-t.Context().Done():
			return nil, nil
		}
	})
	g := runGateway(t, p, nil)
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	word <- true
	eventually(t, "the refusal", func() bool { return readiness(g) == http.StatusServiceUnavailable })
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Accepted || a.Kind != "draining" {
		t.Errorf("answer %+v", a)
	}
	say(t, client, "ping") // the session of before runs on
	hear(t, remote, "ping")
	word <- false
	eventually(t, "readiness", func() bool { return readiness(g) == http.StatusOK })
	newCaller(t, p, server.addr, g).mustCall(g)
}
