package serveragent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Status is what `cardea-server-agent status` shows.
type Status struct {
	Server     string `json:"server"`
	Name       string `json:"name"`
	ControlURL string `json:"control_url"`
	PID        int    `json:"pid"`
	// Told is the newest state that was fetched, InForce the one that the host
	// has. They differ while something could not be done.
	Told    api.StateVersion `json:"told"`
	InForce api.StateVersion `json:"in_force"`
	// Contact is when the control plane answered last, Applied when the host was
	// last compared with the state, Reported when the control plane heard of it.
	Contact  time.Time `json:"contact,omitzero"`
	Applied  time.Time `json:"applied,omitzero"`
	Reported time.Time `json:"reported,omitzero"`
	// Accounts are the logins that may enter.
	Accounts []string `json:"accounts"`
	// Labels are what the host says of itself.
	Labels map[string]string `json:"labels,omitempty"`
	// CertificateEnds is when the host certificate does.
	CertificateEnds time.Time `json:"certificate_ends,omitzero"`
	Problems        []string  `json:"problems"`
}

// board is what the parts of the agent tell of themselves. The zero value is
// empty.
type board struct {
	mu       sync.Mutex
	status   Status              // guarded by mu
	problems map[string][]string // by part; guarded by mu
	changes  int                 // of the problems; guarded by mu
}

// The parts, in the order in which their problems are told.
var parts = [...]string{"fetch", "address", "state", "accounts", "sshd", "certificate", "revoked", "events", "queue", "hooks", "labels"}

// set replaces the problems of a part, and reports whether that changed them.
func (b *board) set(part string, problems ...string) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.problems == nil {
		b.problems = map[string][]string{}
	}
	changed = !slices.Equal(b.problems[part], problems)
	b.problems[part] = problems
	if changed {
		b.changes++
	}
	return changed
}

// count tells one set of problems from the next.
func (b *board) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes
}

func (b *board) update(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
}

// snapshot is the status with all problems, bounded as a report must be.
func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Accounts = append([]string{}, s.Accounts...)
	s.Problems = []string{}
	for _, part := range parts {
		for _, p := range b.problems[part] {
			s.Problems = append(s.Problems, cutText(ident.Text(p), maxProblem))
		}
	}
	if len(s.Problems) > maxProblems {
		s.Problems = append(s.Problems[:maxProblems-1], "there are more problems than can be told at once; see: cardea-server-agent status")
	}
	return s
}

func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-3], "") + "…"
}

// publish writes the status for the status verb. It is for people: losing it
// loses nothing.
func (a *Agent) publish() {
	s := a.board.snapshot()
	s.PID = os.Getpid()
	tellManager(s)
	if err := writeJSON(a.path(statusFile), s); err != nil {
		a.log.Warn("the status could not be written", "err", err)
	}
}

// ReadStatus reads what the running agent published last.
func ReadStatus(stateDir string) (Status, error) {
	var s Status
	raw, err := readSmall(stateDir+"/"+statusFile, maxStateFile)
	if err != nil {
		return s, err
	}
	return s, decodeOne(raw, &s)
}

// Running reports whether the agent that published the status still runs. The
// process id alone could be another program's by now.
func (s Status) Running() bool {
	if s.PID <= 0 {
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.PID))
	return err == nil && strings.Contains(filepath.Base(exe), "cardea-server-agent")
}
