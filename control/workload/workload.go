// Package workload says which jobs of a platform are meant by the rules of an
// administrator: claims of a verified token in, the rule that fits out. It is pure.
//
// A rule has a pattern for each claim that it looks at, and all must fit. In a pattern
//
//   - is any run of characters, also none, without / and :
//     **   is any run of characters, also none
//
// and all else is itself, small and capital letters apart. Platforms build their subjects
// of parts with / and : between them ("repo:acme/web:ref:refs/heads/main"), so a single
// star never reaches from one part into the next, where strangers may choose the text.
package workload

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Bounds of a rule. Each pattern is held against claims of strangers, so their product is
// what a sign-in may cost.
//
// The audit has each name and pattern whole, which is why they are not longer.
const (
	MaxClaims  = 16
	MaxName    = 56
	MaxPattern = 512
	MaxStars   = 8
	// MaxValues are looked at of a claim that is a list, and MaxValue is the longest, in
	// bytes. What is beyond fits nothing.
	MaxValues, MaxValue = 64, 1024
)

// Subject is the claim that every rule must look at: without it everybody who has an
// account at the platform could be meant.
const Subject = "sub"

// shared are issuers that make tokens for everybody in the world. The first part of a
// subject there says what kind it is, the second whose.
var shared = []string{
	"https://token.actions.githubusercontent.com", "https://gitlab.com", "https://oidc.circleci.com", "https://app.terraform.io",
	"https://agent.buildkite.com", "https://api.bitbucket.org", "https://vstoken.dev.azure.com", "https://accounts.google.com",
}

// Check refuses a rule of an issuer that is malformed, or means more than anybody can want.
func Check(issuer string, claims map[string]string) error {
	if claims[Subject] == "" {
		return errors.New("a rule needs a pattern for the claim sub, which says whose job it is")
	}
	if len(claims) > MaxClaims {
		return fmt.Errorf("a rule looks at %d claims at the most", MaxClaims)
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		pattern := claims[name]
		switch {
		case !plain(name, MaxName):
			return fmt.Errorf("the name of a claim is 1 to %d bytes without control characters", MaxName)
		case strings.Count(name, `"`)%2 != 0:
			return fmt.Errorf("the name of the claim %s has a quote that is not closed", name)
		case !plain(pattern, MaxPattern):
			return fmt.Errorf("the pattern of %s is not 1 to %d bytes without control characters", name, MaxPattern)
		case strings.Contains(pattern, "***"):
			return fmt.Errorf("the pattern of %s has three stars in a row; write * or **", name)
		case strings.Count(pattern, "*") > MaxStars:
			return fmt.Errorf("the pattern of %s has more than %d stars", name, MaxStars)
		}
	}
	return checkSubject(issuer, claims[Subject])
}

// checkSubject wants a subject that begins with something: with what, is the platform's. At
// an issuer for everybody it must say whose job it is before the first star.
func checkSubject(issuer, pattern string) error {
	fixed, _, open := strings.Cut(pattern, "*")
	if !open {
		return nil
	}
	if fixed == "" {
		return errors.New("the pattern of sub begins with a star, so it fits everybody's jobs; begin with whose they are, as repo:acme/web: does")
	}
	if slices.Contains(shared, strings.TrimSuffix(issuer, "/")) && !owned(fixed) {
		return fmt.Errorf("%s makes tokens for everybody in the world, and this pattern of sub does not say whose jobs it means; begin as in repo:acme/", ident.Text(issuer))
	}
	return nil
}

// owned tells whether what stands before the first star has a whole second part, with what
// ends it: "repo:acme/" and not "repo:acme", which acme-evil begins with as well.
func owned(fixed string) bool {
	_, rest, ok := strings.Cut(fixed, ":")
	if !ok {
		return false
	}
	i := strings.IndexAny(rest, "/:")
	return i > 0
}

func plain(s string, most int) bool { return s != "" && len(s) <= most && ident.Text(s) == s }

// Claims returns the values of a claim: one, or those of a list.
type Claims func(name string) []string

// Fits tells whether all patterns fit. A claim that is a list fits if one of its values
// does; one that is not there fits nothing, not even a star.
func Fits(patterns map[string]string, claims Claims) bool {
	if len(patterns) == 0 || patterns[Subject] == "" {
		return false
	}
	for name, pattern := range patterns {
		values := claims(name)
		if len(values) > MaxValues || !slices.ContainsFunc(values, func(v string) bool { return Match(pattern, v) }) {
			return false
		}
	}
	return true
}

// Held is one pattern of a rule, held against a token.
type Held struct {
	Claim, Pattern string
	// Why it does not fit; empty if it does.
	Why string
}

// Explain says of each pattern whether it fits, in the order of the claims' names. All fit
// if Fits says so.
func Explain(patterns map[string]string, claims Claims) []Held {
	out := make([]Held, 0, len(patterns))
	for _, name := range slices.Sorted(maps.Keys(patterns)) {
		out = append(out, Held{name, patterns[name], misfit(patterns[name], claims(name))})
	}
	return out
}

func misfit(pattern string, values []string) string {
	wide := strings.ReplaceAll(strings.ReplaceAll(pattern, "**", "*"), "*", "**")
	some := func(is func(string) bool) bool { return slices.ContainsFunc(values, is) }
	switch {
	case len(values) == 0:
		return "the token has no such claim, or none that is text"
	case len(values) > MaxValues:
		return fmt.Sprintf("it has more than %d values, of which none is looked at", MaxValues)
	case some(func(v string) bool { return Match(pattern, v) }):
		return ""
	case some(func(v string) bool { return len(v) > MaxValue }):
		return fmt.Sprintf("a value is longer than %d bytes, and is not looked at", MaxValue)
	case some(func(v string) bool { return Match(wide, v) }):
		return "a single star takes neither / nor :"
	case some(func(v string) bool { return strings.EqualFold(pattern, v) }):
		return "small and capital letters differ"
	}
	return "the value is another one"
}

// Match holds one value against one pattern, in time of the product of their lengths at the
// most, whatever stars there are.
func Match(pattern, value string) bool {
	if len(value) > MaxValue {
		return false
	}
	// reach[i] says that what was read of the pattern can end before value[i].
	reach := make([]bool, len(value)+1)
	reach[0] = true
	for pattern != "" {
		switch {
		case strings.HasPrefix(pattern, "**"):
			pattern = pattern[2:]
			spread(reach, value, func(byte) bool { return true })
		case pattern[0] == '*':
			pattern = pattern[1:]
			spread(reach, value, func(c byte) bool { return c != '/' && c != ':' })
		default:
			for i := len(value); i > 0; i-- {
				reach[i] = reach[i-1] && value[i-1] == pattern[0]
			}
			reach[0] = false
			pattern = pattern[1:]
		}
	}
	return reach[len(value)]
}

// spread lets a star go on over every character that it takes.
func spread(reach []bool, value string, takes func(byte) bool) {
	for i := range len(value) {
		reach[i+1] = reach[i+1] || reach[i] && takes(value[i])
	}
}
