package entitlement

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// MaxPerGrant bounds the entitlements of one grant, so that no grant alone can hold more than
// one person may have. Several grants together can; what does not fit is Merge's to tell.
const MaxPerGrant = MaxRules / MaxCommands

// Merge returns the commands of all lists, sorted and each once, and how many of them are left
// out because there are more than MaxRules. Two that mean the same to sudo are one, however they
// are written.
func Merge(lists ...[]Command) (all []Command, leftOut int) {
	type entry struct {
		key     string
		command Command
	}
	var entries []entry
	for _, list := range lists {
		for _, c := range list {
			entries = append(entries, entry{c.key(), c})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.key == b.key })
	leftOut = max(0, len(entries)-MaxRules)
	for _, e := range entries[:len(entries)-leftOut] {
		all = append(all, e.command)
	}
	return all, leftOut
}

// key is what the command means. One that breaks a rule means nothing to sudo: it stands behind
// all others, so that it can push out none of them, and whoever installs it reports it.
func (c Command) key() string {
	p, err := c.parse()
	if err == nil {
		return "+" + p.spec().command + "\x00" + p.spec().line("")
	}
	raw, _ := json.Marshal(c) // strings and flags always encode
	return "~" + string(raw)
}

// Parse reads a command as a person types it: a path alone takes any arguments, one with
// arguments takes exactly these, and one with "" takes none, as sudoers(5) has it. A path that
// ends with a slash is a directory. Whether it is a good one says Check.
func Parse(line string) Command {
	var words []string
	for w := range strings.SplitSeq(line, " ") { // not at a newline: Check must see it
		if w != "" {
			words = append(words, w)
		}
	}
	switch {
	case len(words) == 0:
		return Command{Kind: Executable, Arguments: AnyArguments}
	case len(words) == 1 && strings.HasSuffix(words[0], "/"):
		return Command{Kind: Directory, Path: words[0]}
	case len(words) == 1:
		return Command{Kind: Executable, Path: words[0], Arguments: AnyArguments}
	case len(words) == 2 && words[1] == `""`:
		return Command{Kind: Executable, Path: words[0], Arguments: NoArguments}
	}
	return Command{Kind: Executable, Path: words[0], Arguments: ExactArguments, Exact: words[1:]}
}
