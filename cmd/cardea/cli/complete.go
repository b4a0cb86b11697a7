package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completePatience is how long a shell's Tab may take.
const completePatience = 2 * time.Second

// completeServers offers the names of servers as the first argument. It never
// fails: a Tab must not print errors into the command line.
func (a *app) completeServers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.configure() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	c, _, err := a.catalog(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return namesFor(c.Servers), cobra.ShellCompDirectiveNoFileComp
}
