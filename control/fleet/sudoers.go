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
	sums map[string]sum // by sorted ids; guarded by mu
}

type sum struct {
	commands []entitlement.Command
	leftOut  int
}

func newSudoers(rows []store.Entitlement) *sudoers {
	s := &sudoers{commands: make(map[string][]entitlement.Command, len(rows)), sums: map[string]sum{}}
	for _, e := range rows {
		s.commands[e.ID] = e.Commands
	}
	return s
}

// of returns the commands of these entitlements, sorted and each once, and how
// many are left out because no account can have so many.
func (s *sudoers) of(ids []string) ([]entitlement.Command, int) {
	if len(ids) == 0 {
		return nil, 0
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	key := strings.Join(ids, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	got, known := s.sums[key]
	if !known {
		lists := make([][]entitlement.Command, 0, len(ids))
		for _, id := range ids {
			lists = append(lists, s.commands[id])
		}
		got.commands, got.leftOut = entitlement.Merge(lists...)
		s.sums[key] = got
	}
	return got.commands, got.leftOut
}

func idsOf(refs []store.EntitlementRef) (ids []string) {
	for _, r := range refs {
		ids = append(ids, r.ID)
	}
	return ids
}
