package proxycmd

import (
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

// journal is how the attempts of a race went, for the agent to put gateways in order by.
type journal struct{ tries []try }

type try struct {
	agent.Attempt
	direct           bool
	began, connected time.Time
	over             bool
}

func (j *journal) begin(r agent.Route) {
	j.tries = append(j.tries, try{Attempt: agent.Attempt{Address: r.Address, TLS: r.TLS}, direct: r.Direct(), began: time.Now()})
}

// note takes what an attempt tells. over says that the race was decided, or given up, by then:
// an error is our own doing.
func (j *journal) note(e event, over bool) {
	t := &j.tries[e.of]
	switch {
	case t.over:
	case e.connected:
		t.Dialled, t.connected = e.took, time.Now()
	case e.err == nil:
		t.Answered, t.over = e.took, true
	default:
		t.over = true
		if !over {
			t.Failed = failureOf(e.err)
		}
	}
}

// decide ends the others when one has won: whoever had as long as it takes until the next one
// begins, and did not make it, was too slow.
func (j *journal) decide() {
	for i := range j.tries {
		t := &j.tries[i]
		slow := t.connected.IsZero() && time.Since(t.began) >= nextAfter || !t.connected.IsZero() && time.Since(t.connected) >= answerAfter
		if !t.over && slow {
			t.Failed = agent.FailedSilent
		}
		t.over = true
	}
}

// attempts are those at gateways.
func (j *journal) attempts() (all []agent.Attempt) {
	for _, t := range j.tries {
		if !t.direct {
			all = append(all, t.Attempt)
		}
	}
	return all
}

// failureOf is what an error says of the gateway; empty if it is not the gateway's fault: the
// control plane refused, or the server did not answer.
func failureOf(err error) string {
	var no *refusal
	switch {
	case errors.As(err, &no):
		switch no.kind {
		case "control", "busy", "draining", "record":
			return no.kind
		}
		return ""
	case errors.As(err, new(*impostor)):
		return agent.FailedImpostor
	case errors.Is(err, errDropped):
		return agent.FailedClosed
	case errors.Is(err, errNoAnswer):
		return agent.FailedSilent
	}
	return agent.FailedUnreachable
}
