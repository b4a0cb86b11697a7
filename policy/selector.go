package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// MaxRequirements bounds a selector: it is evaluated for every server of a project times
// every grant, and nobody reads more.
const MaxRequirements = 16

// Selector is a conjunction over labels. The zero value selects everything.
type Selector struct{ requirements []requirement }

type requirement struct {
	key, value string
	not        bool
}

// ParseSelector reads "env=prod,tier!=db": comma means and; != also holds where the label
// is missing. The empty string selects everything. Keys that begin with host/ are refused:
// a server must not be able to talk itself into a grant.
func ParseSelector(s string) (Selector, error) {
	if s == "" {
		return Selector{}, nil
	}
	requirements, err := parseRequirements(s, ident.LabelKey)
	return Selector{requirements}, err
}

func parseRequirements(s string, checkKey func(string) error) ([]requirement, error) {
	parts := strings.Split(s, ",")
	if len(parts) > MaxRequirements {
		return nil, fmt.Errorf("selector has %d parts, at most %d are allowed", len(parts), MaxRequirements)
	}
	requirements := make([]requirement, 0, len(parts))
	for _, part := range parts {
		r, err := parseRequirement(strings.TrimSpace(part), checkKey)
		if err != nil {
			return nil, err
		}
		requirements = append(requirements, r)
	}
	return requirements, nil
}

func parseRequirement(s string, checkKey func(string) error) (requirement, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return requirement{}, fmt.Errorf("selector part %.80q is neither key=value nor key!=value", s)
	}
	key, not := strings.CutSuffix(key, "!")
	r := requirement{key: strings.TrimSpace(key), value: strings.TrimSpace(value), not: not}
	if err := checkKey(r.key); err != nil {
		return requirement{}, fmt.Errorf("selector: %w", err)
	}
	if err := ident.LabelValue(r.value); err != nil {
		return requirement{}, fmt.Errorf("selector: %w", err)
	}
	return r, nil
}

// Matches reports whether labels fulfil every requirement. Labels with a host/ key are as
// good as absent: no requirement can name one.
func (s Selector) Matches(labels map[string]string) bool { return matches(s.requirements, labels) }

func matches(requirements []requirement, labels map[string]string) bool {
	for _, r := range requirements {
		value, has := labels[r.key]
		if (has && value == r.value) == r.not {
			return false
		}
	}
	return true
}

// Select parses selector and matches it; a selector that does not parse selects nothing.
func Select(selector string, labels map[string]string) bool {
	s, err := ParseSelector(selector)
	return err == nil && s.Matches(labels)
}

// String is the canonical form, sorted and without blanks; ParseSelector reads it back.
func (s Selector) String() string {
	parts := make([]string, len(s.requirements))
	for i, r := range s.requirements {
		op := "="
		if r.not {
			op = "!="
		}
		parts[i] = r.key + op + r.value
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
