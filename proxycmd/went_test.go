package proxycmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

// dialler counts who is dialled. What hangs says nothing, as behind a firewall.
type dialler struct {
	mu    sync.Mutex
	calls []string
	hangs string
}

func (d *dialler) dial(ctx context.Context, address string) (net.Conn, error) {
	d.mu.Lock()
	d.calls = append(d.calls, address)
	d.mu.Unlock()
	if address == d.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return dialTCP(ctx, address)
}

// The first connection waits until the next gateway is tried beside the dead one; the second
// one does not come near it, though the control plane names it first again.
func TestADeadGatewayIsWaitedForOnce(t *testing.T) {
	w, s := home(t)
	dead, good := newGateway(t, nil), newGateway(t, relayTo(s.Addr))
	through(w, s.Addr, dead.route(), good.route())
	d := &dialler{hangs: dead.Addr}
	o := Options{Agent: w.Ask, Host: "web-1", Dial: d.dial}
	for i, first := range []string{dead.Addr, good.Addr} {
		d.calls = nil
		r, err := Probe(t.Context(), o)
		if err != nil || r.Address != good.Addr || d.calls[0] != first {
			t.Errorf("connection %d came to %s, %v; dialled %v, want %s first", i+1, r.Address, err, d.calls, first)
		}
		w.Until("the agent has heard of it", func() bool {
			st, err := w.Ask.Status(t.Context())
			return err == nil && slices.ContainsFunc(st.Measures, func(m agent.Measure) bool { return m.Address == dead.Addr && m.Failed == agent.FailedSilent }) &&
				slices.ContainsFunc(st.Measures, func(m agent.Measure) bool { return m.Address == good.Addr && m.Answered > 0 && m.Failed == "" })
		})
	}
	// Where it is the only one it is tried nevertheless.
	through(w, s.Addr, dead.route())
	d.calls, d.hangs = nil, ""
	dead.serve = relayTo(s.Addr)
	if r, err := Probe(t.Context(), o); err != nil || r.Address != dead.Addr {
		t.Errorf("came to %+v, %v", r, err)
	}
}

func TestWhatAGatewayIsNotToBlameForCountsNotAgainstIt(t *testing.T) {
	for want, errs := range map[string][]error{
		"":                      {&refusal{kind: "claim"}, &refusal{kind: "ticket"}, &refusal{kind: "server"}, &refusal{kind: "address"}, &refusal{kind: "mode"}, &refusal{kind: "moon"}},
		"draining":              {&refusal{kind: "draining"}},
		"record":                {&refusal{kind: "record"}},
		agent.FailedImpostor:    {&impostor{}},
		agent.FailedClosed:      {dropped{errors.New("x")}},
		agent.FailedSilent:      {plain("a:1", context.DeadlineExceeded)},
		agent.FailedUnreachable: {plain("a:1", errors.New("connection refused"))},
	} {
		for _, err := range errs {
			if got := failureOf(fmt.Errorf("x: %w", err)); got != want {
				t.Errorf("%v: %q, want %q", err, got, want)
			}
		}
	}
}

// Of several at once the one that wins says nothing about those that were begun a moment ago.
func TestOnlyWhoHadItsTimeIsTooSlow(t *testing.T) {
	var j journal
	long := time.Now().Add(-answerAfter)
	for _, a := range []string{"hangs", "mute", "wins", "begun", "connected", "refused"} {
		j.begin(agent.Route{Address: a, Hello: []byte{1}})
	}
	j.begin(agent.Route{Address: "server"})
	j.tries[0].began, j.tries[1].connected = long, long
	j.note(event{of: 4, connected: true, took: time.Millisecond}, false)
	j.note(event{of: 5, err: &refusal{kind: "busy"}}, false)
	j.note(event{of: 2, connected: true, took: time.Second}, false)
	j.note(event{of: 2, took: time.Minute}, false)
	j.decide()
	j.note(event{of: 3, err: errors.New("cancelled")}, true)
	j.note(event{of: 4, err: errors.New("cancelled")}, true)
	got := map[string]agent.Attempt{}
	for _, a := range j.attempts() {
		got[a.Address] = a
	}
	if len(got) != 6 || got["hangs"].Failed != agent.FailedSilent || got["mute"].Failed != agent.FailedSilent || got["begun"].Failed+got["connected"].Failed+got["wins"].Failed != "" ||
		got["refused"].Failed != "busy" || got["wins"].Dialled != time.Second || got["wins"].Answered != time.Minute || got["connected"].Dialled != time.Millisecond {
		t.Errorf("told %+v", got)
	}
	// Who leaves, as by Ctrl-C, has nothing to say of any.
	var gone journal
	gone.begin(agent.Route{Address: "a", Hello: []byte{1}})
	gone.note(event{of: 0, err: context.Canceled}, true)
	if all := gone.attempts(); all[0].Failed != "" {
		t.Errorf("told %+v", all)
	}
}
