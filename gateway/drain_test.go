package gateway

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

func askHealth(g *running, path string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	g.Health(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestDraining(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	if w := askHealth(g, "/readyz"); w.Code != http.StatusOK {
		t.Fatalf("readyz says %d: %s", w.Code, w.Body)
	}
	client := newCaller(t, p, server.addr, g).mustCall(g)
	remote := server.next(t)
	g.stop()
	eventually(t, "the report", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.reports[len(p.reports)-1].Draining
	})
	if w := askHealth(g, "/readyz"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("readyz says %d", w.Code)
	}
	if w := askHealth(g, "/healthz"); w.Code != http.StatusOK {
		t.Errorf("healthz says %d", w.Code)
	}
	if _, a := newCaller(t, p, server.addr, g).call(g); a.Accepted || a.Kind != kindDraining {
		t.Errorf("a new one: %+v", a)
	}
	say(t, client, "alive")
	hear(t, remote, "alive")
	client.Close()
	remote.Close()
	select {
	case err := <-g.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		g.done <- nil // for the cleanup
	case <-time.After(patience):
		t.Fatal("the gateway does not stop after its last session")
	}
	p.end("gse_1")
	if r := p.lastReport(); !r.Draining || r.Sessions != 0 {
		t.Errorf("what it told last stands in the list of gateways: %+v", r)
	}
}

// TestTheReportOfADrainIsTheLast: another one is still under way when the gateway is told to stop.
func TestTheReportOfADrainIsTheLast(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, nil)
	newCaller(t, p, server.addr, g).mustCall(g)
	server.next(t)
	slow, released, told := make(chan struct{}, 1), make(chan struct{}), atomic.Int32{}
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	p.On("POST", "/v1/gateway/report", func(c apitest.Call) (any, error) {
		defer told.Add(1)
		var in api.GatewayReport
		if c.Into(t, &in); !in.Draining {
			wakeUp(slow)
			<-released
		}
		return p.report(c)
	})
	g.wakeReport()
	<-slow
	g.stop()
	eventually(t, "the drain", g.draining.Load)
	time.Sleep(100 * time.Millisecond) // in which one report could overtake the other
	release()
	eventually(t, "both reports", func() bool { return told.Load() >= 2 })
	if r := p.lastReport(); !r.Draining {
		t.Errorf("the control plane believes that the gateway takes sessions: %+v", r)
	}
}

// TestAHangingControlPlaneDoesNotHoldAStop: neither the report that was under way nor those that
// the stop brings are ever answered.
func TestAHangingControlPlaneDoesNotHoldAStop(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, func(o *Options) { o.DrainTime = time.Millisecond })
	g.lastTime = 50 * time.Millisecond
	newCaller(t, p, server.addr, g).mustCall(g)
	server.next(t)
	asked, over := make(chan struct{}, 1), make(chan struct{})
	defer close(over)
	p.On("POST", "/v1/gateway/report", func(apitest.Call) (any, error) {
		wakeUp(asked)
		<-over
		return nil, api.Errorf(api.Unavailable, "too late")
	})
	g.wakeReport()
	<-asked
	began := time.Now()
	g.stop()
	select {
	case err := <-g.done:
		if took := time.Since(began); err != nil || took > callTimeout/2 {
			t.Errorf("it stopped after %s: %v", took, err)
		}
		g.done <- nil // for the cleanup
	case <-time.After(patience):
		t.Fatal("the gateway does not stop")
	}
}

func TestDrainingEndsAtItsLimit(t *testing.T) {
	p, server := newPlane(t), newSSHD(t)
	g := runGateway(t, p, func(o *Options) { o.DrainTime = 200 * time.Millisecond })
	client := newCaller(t, p, server.addr, g).mustCall(g)
	dial(t, g.addr) // one who never says a word does not hold it up
	g.stop()
	if _, err := client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the session lives on: %v", err)
	}
	if got := p.end("gse_1"); got.Cause != "drained" {
		t.Errorf("reported %+v", got)
	}
	eventually(t, "the word that it carries nothing any more", func() bool { return p.lastReport().Sessions == 0 })
}
