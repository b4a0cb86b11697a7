package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// completePatience is how long a shell's Tab may take.
const completePatience = 2 * time.Second

// completeServers offers the names of servers as the first argument. It never
// fails: a Tab must not print errors into the command line.
func (a *app) completeServers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeManyServers(cmd, args, typed)
}

// completeManyServers offers the names of servers that were not typed yet.
func (a *app) completeManyServers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names := namesFor(a.completable(cmd))
	return slices.DeleteFunc(names, func(n string) bool {
		return !strings.HasPrefix(n, typed) || slices.Contains(args, n) // shells take long to read thousands that are of no use
	}), cobra.ShellCompDirectiveNoFileComp
}

// completable are the servers that a Tab may offer; none where nothing is known.
func (a *app) completable(cmd *cobra.Command) []api.CatalogEntry {
	if a.configure() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	c, _, err := a.catalog(ctx)
	if err != nil {
		return nil
	}
	return c.Servers
}

// maxOffered bounds how many values of a label a Tab offers: more are no help.
const maxOffered = 200

// completeSelector offers the keys of labels, and once one is typed its values. What stands
// before the last comma is kept.
func (a *app) completeSelector(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before, last, several := cutLast(typed, ",")
	if !several {
		before, last = "", typed
	} else {
		before += ","
	}
	key, _, values := strings.Cut(last, "=")
	offered := map[string]bool{}
	for _, s := range a.completable(cmd) {
		for k, v := range s.Labels {
			switch {
			case !values:
				offered[before+k+"="] = true
			case k == strings.TrimSuffix(key, "!"):
				offered[before+key+"="+v] = true
			}
		}
	}
	list := slices.Sorted(maps.Keys(offered))
	return list[:min(len(list), maxOffered)], cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
