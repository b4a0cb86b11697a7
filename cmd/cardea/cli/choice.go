package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// choice is the value of a flag that takes one of a few words. What is none of
// them is refused before anybody is asked, with the words.
type choice struct {
	value *string
	words []string
}

// oneOf adds to flags, which are of cmd, one that takes one of words, the first of which is the
// default, and completes them.
func oneOf(cmd *cobra.Command, flags *pflag.FlagSet, value *string, flag, short string, words []string, help string) {
	*value = words[0]
	flags.VarP(&choice{value, words}, flag, short, help)
	cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c *choice) Type() string { return "word" }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		last := len(c.words) - 1
		return fmt.Errorf("give %s or %s", strings.Join(c.words[:last], ", "), c.words[last])
	}
	*c.value = s
	return nil
}

// pairs is a flag for labels: pflag's own, that says in the help what to give.
type pairs struct {
	pflag.Value
	of *map[string]string
}

func pairsVar(flags *pflag.FlagSet, value *map[string]string, flag, help string) {
	var inner pflag.FlagSet
	inner.StringToStringVar(value, flag, nil, help)
	flags.Var(&pairs{inner.Lookup(flag).Value, value}, flag, help)
}

func (p *pairs) Type() string { return "key=value" }

// GetSlice is what was given, as it is typed: once for each.
func (p *pairs) GetSlice() (all []string) {
	for _, key := range slices.Sorted(maps.Keys(*p.of)) {
		all = append(all, key+"="+(*p.of)[key])
	}
	return all
}

// String is empty for no labels, so that the help shows no default.
func (p *pairs) String() string {
	if p.Value == nil || p.Value.String() == "[]" {
		return ""
	}
	return p.Value.String()
}
