package fleet

import (
	"slices"
	"strings"
	"sync"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/store"
)

// sudoers adds up the commands of entitlements. Whole groups have the same ones
// on a thousand servers, so each sum is made once and then shared: nobody may
// change what of returns.
type sudoers struct {
	commands map[string][]entitlement.Command // by id; never changed

	mu   sync.Mutex
	sums map[string]*sum // by sorted ids; guarded by mu
}

// sum is never changed once it was made.
type sum struct {
	commands []entitlement.Command
	leftOut  int
}

func newSudoers(rows []store.Entitlement) *sudoers {
	s := &sudoers{commands: make(map[string][]entitlement.Command, len(rows)), sums: map[string]*sum{}}
	for _, e := range rows {
		s.commands[e.ID] = e.Commands
	}
	return s
}

// of returns what these entitlements allow together: commands sorted and each
// once, and how many are left out because no account can have so many. It is the
// same one for the same entitlements, nil for none.
func (s *sudoers) of(ids []string) *sum {
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	key := strings.Join(ids, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.sums[key]; got != nil {
		return got
	}
	lists := make([][]entitlement.Command, 0, len(ids))
	for _, id := range ids {
		lists = append(lists, s.commands[id])
	}
	made := &sum{}
	made.commands, made.leftOut = entitlement.Merge(lists...)
	s.sums[key] = made
	return made
}

// sudoLists are those of one state.
type sudoLists struct {
	lists [][]entitlement.Command
	known map[*sum]int // counting from 1
}

// number returns which list the sum is; 0 for none.
func (l *sudoLists) number(s *sum) int {
	if s == nil || len(s.commands) == 0 {
		return 0
	}
	if l.known == nil {
		l.known = map[*sum]int{}
	}
	if l.known[s] == 0 {
		l.lists = append(l.lists, s.commands)
		l.known[s] = len(l.lists)
	}
	return l.known[s]
}

func idsOf(refs []store.EntitlementRef) (ids []string) {
	for _, r := range refs {
		ids = append(ids, r.ID)
	}
	return ids
}
