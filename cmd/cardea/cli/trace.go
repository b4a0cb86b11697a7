package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// traceVariable has each step of a connection told on stderr: by us, and by the
// ProxyCommand of an ssh that inherits it.
const traceVariable = "CARDEA_TRACE"

// traced switches it on for this process and for the ssh that it becomes.
func (a *app) traced() {
	lookup := a.lookup
	a.lookup = func(name string) (string, bool) {
		if name == traceVariable {
			return "1", true
		}
		return lookup(name)
	}
	os.Setenv(traceVariable, "1")
}

// tracer tells steps, each with the time since the verb began; nil where nobody asked.
func (a *app) tracer() func(agent.Step) {
	switch a.env(traceVariable) {
	case "", "0", "false", "no":
		return nil
	}
	began := time.Now()
	var mu sync.Mutex
	return func(s agent.Step) {
		mu.Lock()
		defer mu.Unlock()
		ended := s.Ended
		if ended.IsZero() {
			ended = time.Now()
		}
		fmt.Fprintf(a.err, "cardea: %8.1f ms  %s (%s)\n", millis(ended.Sub(began)), ident.Text(s.What), took(s.Took))
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// took is a duration as people compare it.
func took(d time.Duration) string { return fmt.Sprintf("%.1f ms", millis(d)) }
