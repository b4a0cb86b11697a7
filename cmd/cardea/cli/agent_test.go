package cli

import (
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

func TestTheStatusOfTheAgentSaysHowItWentAtEachGateway(t *testing.T) {
	now := time.Now()
	a := &app{now: func() time.Time { return now }}
	near := agent.Attempt{Address: "gw:7234", Dialled: 12 * time.Millisecond, Answered: 40 * time.Millisecond}
	inside := agent.Attempt{Address: "gw:443", TLS: true, Dialled: 1500 * time.Microsecond}
	dead := near
	dead.Failed = agent.FailedSilent
	for want, m := range map[string]agent.Measure{
		"gw:7234 (connected within 12.0 ms, let in after 40.0 ms)": {Attempt: near},
		"gw:443 inside TLS (connected within 1.5 ms)":              {Attempt: inside},
		"gw:7234 (silent 20s ago)":                                 {Attempt: dead, FailedAt: now.Add(-20 * time.Second)},
	} {
		if got := a.measured(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
