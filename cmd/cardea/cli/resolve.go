package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/ident"
)

func newResolve(a *app) *cobra.Command {
	quiet := false
	cmd := &cobra.Command{
		Use: "resolve SERVER", GroupID: groupAccess,
		Short:             "Tell which server a name means",
		Example:           "  cardea resolve web-1\n  cardea resolve -q web/web-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.resolve(cmd.Context(), args[0], quiet) },
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the id alone")
	return cmd
}

func (a *app) resolve(ctx context.Context, name string, quiet bool) error {
	s, err := a.server(ctx, name)
	if err != nil {
		return err
	}
	if quiet {
		_, err = fmt.Fprintln(a.out, ident.Text(s.ID))
		return err
	}
	return showOne(a, &s, serverColumns(a, &s))
}
