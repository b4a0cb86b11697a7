package policy

import (
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Search is what somebody looks for in a list. Unlike a Selector it may also ask for
// labels that begin with host/, because a list grants nothing: it is a type of its own, so
// that nothing that a server says of itself can come into a rule.
type Search struct{ requirements []requirement }

// ParseSearch reads what ParseSelector reads, and keys with host/.
func ParseSearch(s string) (Search, error) {
	if s == "" {
		return Search{}, nil
	}
	requirements, err := parseRequirements(s, searchKey)
	return Search{requirements}, err
}

func searchKey(key string) error {
	if strings.HasPrefix(key, ident.HostLabelPrefix) {
		return ident.HostLabelKey(key)
	}
	return ident.LabelKey(key)
}

// Matches reports whether labels fulfil all that is looked for.
func (s Search) Matches(labels map[string]string) bool { return matches(s.requirements, labels) }
