package cli

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

// A step that is heard of later stands in the trace at its own time.
func TestATraceTellsWhenAStepEnded(t *testing.T) {
	a, _, stderr := testApp(t)
	a.lookup = func(name string) (string, bool) { return "1", name == traceVariable }
	synctest.Test(t, func(t *testing.T) { // where no time goes by
		tell := a.tracer()
		tell(agent.Step{What: "asked", Took: time.Millisecond, Ended: time.Now().Add(time.Hour)})
		tell(agent.Step{What: "answered", Took: time.Millisecond})
	})
	lines := strings.Split(stderr.String(), "\n")
	if !strings.Contains(lines[0], " 3600000.0 ms ") || !strings.Contains(lines[1], "  0.0 ms ") {
		t.Errorf("it told\n%s", stderr)
	}
}
