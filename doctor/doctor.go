// Package doctor judges whether this machine can reach servers: facts in, findings out, each
// with the next command to type. Gathering facts and judging them are apart, so that every
// judgement is tested without the trouble that it is about. What is gathered here, from the
// network and from files of editors, changes nothing; what needs the user's own session is
// gathered by who calls.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// State is how a check ended.
type State string

// The states. Only Failed stands in the way of a connection.
const (
	OK      State = "ok"
	Warning State = "warning"
	Failed  State = "failed"
	Skipped State = "skipped"
)

// Finding is one line of the doctor's. Its names are for ever. It never holds a secret.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	Text  string `json:"text"`
	// Cure is what to do, with the next command to type.
	Cure string `json:"cure,omitempty"`
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, State: OK, Text: fmt.Sprintf(format, args...)}
}

func warning(check, cure, format string, args ...any) Finding {
	return Finding{Check: check, State: Warning, Cure: cure, Text: fmt.Sprintf(format, args...)}
}

func failed(check, cure, format string, args ...any) Finding {
	return Finding{Check: check, State: Failed, Cure: cure, Text: fmt.Sprintf(format, args...)}
}

// Skip is a check that could not be made, because of something that another one tells.
func Skip(check, because string) Finding {
	return Finding{Check: check, State: Skipped, Text: because}
}

// Check is something to look at, independent of all others.
type Check struct {
	Name string
	Run  func(ctx context.Context) []Finding
}

// Run makes all checks at once and returns their findings in the order of the checks. One that
// has none within limit has failed. waits is told the names of those that are still awaited,
// each time that this changes; nil to be told nothing.
//
// A check that hangs for all that (a file system whose server is gone) is left behind: the
// process ends with its report.
func Run(ctx context.Context, checks []Check, limit time.Duration, waits func([]string)) []Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var mu sync.Mutex
	found := make([][]Finding, len(checks))
	left := make([]string, 0, len(checks))
	for _, c := range checks {
		left = append(left, c.Name)
	}
	all := make(chan struct{}, len(checks))
	for i, c := range checks {
		go func() {
			f := c.Run(ctx)
			mu.Lock()
			if found[i] = f; f == nil {
				found[i] = []Finding{}
			}
			left = slices.Delete(left, slices.Index(left, c.Name), slices.Index(left, c.Name)+1)
			if waits != nil && ctx.Err() == nil {
				waits(left)
			}
			mu.Unlock()
			all <- struct{}{}
		}()
	}
	for range checks {
		select {
		case <-all:
			continue
		case <-time.After(time.Until(deadline(ctx).Add(grace))):
		}
		break
	}
	mu.Lock()
	defer mu.Unlock()
	var out []Finding
	for i, c := range checks {
		if found[i] == nil {
			out = append(out, failed(c.Name, "try again; if it stays so ask your administrator", "nothing was found out within %s", limit))
		}
		out = append(out, found[i]...)
	}
	return out
}

// grace is what a check has after its context has ended, to say so.
const grace = 300 * time.Millisecond

func deadline(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}

// Well reports whether nothing failed.
func Well(found []Finding) bool {
	return !slices.ContainsFunc(found, func(f Finding) bool { return f.State == Failed })
}

// Millis is a duration as findings tell it.
func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
