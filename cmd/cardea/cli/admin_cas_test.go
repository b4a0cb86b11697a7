package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

func TestARotationSaysWhatFollows(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name  string
		v     api.Rotation
		ready bool
		want  string
	}{
		{"no rotation runs", api.Rotation{CA: "host", Phase: api.PhaseIdle, Servers: 3, Done: 3}, true, ""},
		{"servers do not know the key", api.Rotation{CA: "host", Phase: api.PhasePublished, Servers: 3, Done: 2}, false, "wait for the servers below, then type: cardea admin ca switch host"},
		{"all know it", api.Rotation{CA: "user/web", Phase: api.PhasePublished, Servers: 3, Done: 3}, true, "type: cardea admin ca switch user/web"},
		{"certificates are not over", api.Rotation{CA: "host", Phase: api.PhaseSwitched, NotBefore: now.Add(time.Second)}, false, "then type: cardea admin ca retire host"},
		{"they are over", api.Rotation{CA: "host", Phase: api.PhaseSwitched, NotBefore: now}, true, "type: cardea admin ca retire host"},
	} {
		got := nextStep(tc.v, now)
		if readyAt(tc.v, now) != tc.ready || !strings.HasSuffix(got, tc.want) || tc.want == "" && got != "" || tc.ready == strings.HasPrefix(got, "wait") {
			t.Errorf("%s: %q, ready %v", tc.name, got, readyAt(tc.v, now))
		}
	}
}
