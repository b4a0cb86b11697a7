package proxycmd

import (
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// heardSteps collects what a trace tells.
type heardSteps struct {
	mu     sync.Mutex
	all    []string
	agents []agent.Step // those of the agent
	found  time.Time    // when it was told that the agent is there
}

func (h *heardSteps) tell(s agent.Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, s.What)
	if s.What == "the agent was found" {
		h.found = time.Now()
	}
	if strings.HasPrefix(s.What, "agent: ") {
		h.agents = append(h.agents, s)
	}
}

// inOrder reports the first of words that no step has after the one before; "" if all are there.
func (h *heardSteps) inOrder(words ...string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := h.all
	for _, w := range words {
		i := slices.IndexFunc(rest, func(s string) bool { return strings.Contains(s, w) })
		if i < 0 {
			return w
		}
		rest = rest[i+1:]
	}
	return ""
}

func TestAProbeTellsEachStepUntilTheServerSpeaks(t *testing.T) {
	w, s := home(t)
	g := newGateway(t, relayTo(s.Addr))
	dead := newGateway(t, nil).route()
	dead.Address = nobody
	through(w, s.Addr, dead, g.route())
	var h heardSteps
	r, err := Probe(t.Context(), Options{Agent: &agent.Control{Paths: w.Paths, Trace: h.tell}, Host: "web-1", Trace: h.tell})
	if err != nil || r.Banner != "SSH-2.0-Go" || r.Name != "web-1" || !r.Gateway || r.Address != g.Addr {
		t.Errorf("reached %+v, %v", r, err)
	}
	if missing := h.inOrder("agent was found", "agent: the server is known", "agent: the control plane was asked", "agent: the control plane answered",
		"agent: the certificate is good, and the ways are ready: 2", "agent has answered", "not connected to", "connected to "+g.Addr+", a gateway", "hello accepted by "+g.Addr, "SSH-2.0-Go"); missing != "" {
		t.Errorf("no step says in its turn %q:\n%s", missing, strings.Join(h.all, "\n"))
	}
	for i, s := range h.agents { // all are heard at once, with the answer
		if s.Ended.IsZero() || i > 0 && s.Ended.Sub(h.agents[i-1].Ended) != s.Took {
			t.Errorf("%q took %v, and ended at %v", s.What, s.Took, s.Ended)
		}
		if s.Ended.Add(-s.Took).Before(h.found) {
			t.Errorf("%q is told to have begun before the agent was found", s.What)
		}
	}

	through(w, s.Addr, newGateway(t, refuse("server", "the server did not answer")).route())
	if _, err := Probe(t.Context(), Options{Agent: &agent.Control{Paths: w.Paths}, Host: "web-1"}); api.KindOf(err) != api.NoGateway {
		t.Errorf("a gateway that refused: %v", err)
	}
	mute := tcptest.Listen(t)
	go tcptest.Each(mute, func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	through(w, s.Addr, api.Route{Address: mute.Addr().String()})
	if _, err := Probe(t.Context(), Options{Agent: &agent.Control{Paths: w.Paths}, Host: "web-1"}); err == nil || !strings.Contains(err.Error(), "does not speak SSH") {
		t.Errorf("a web server in the place of sshd: %v", err)
	}
}

// Who asks for steps and who does not get the same bytes, copied or passed.
func TestTheFirstByteIsToldAndStillThereForSSH(t *testing.T) {
	w, s := home(t)
	g := newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, g.route())
	for _, fdpass := range []string{"no", "yes"} {
		for _, trace := range []string{"", "1"} {
			t.Setenv(traceTestVariable, trace)
			command := `"` + os.Args[0] + `" proxycommand %h %p`
			if fdpass == "yes" {
				command = `"` + os.Args[0] + `" proxycommand --fdpass %h %p`
			}
			r := realSSH(w, "-o", "ProxyCommand="+command, "-o", "ProxyUseFdpass="+fdpass)
			if r.Exit != 0 || r.Stdout != "hello alice\n" || strings.Contains(r.Stderr, "first byte of ssh") != (trace != "") {
				t.Errorf("passed: %s, traced: %q: exit %d, stdout %q, stderr %q", fdpass, trace, r.Exit, r.Stdout, r.Stderr)
			}
		}
	}
}
