package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

// run is the whole program, for main and for tests.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := daemon.Context(context.Background())
	defer stop()
	root := &cobra.Command{
		Use: "cardea-control", Short: "The control plane of Cardea",
		Example: "  cardea-control init --team example\n  cardea-control serve",
	}
	root.AddCommand(newInit(), newSetupCode(), newApproveDevice(), newServe())
	return commandline.Run(ctx, commandline.Prepare(root, version.Get()), args, stdout, stderr)
}

// withOptions gives cmd the options of every verb, and loads them before it runs.
func withOptions(cmd *cobra.Command, o *options, do func(ctx context.Context) error) *cobra.Command {
	*o = defaults()
	own := ownFlags(cmd.Flags())
	loader := config.Bind(cmd.Flags(), o, configFile)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := loader.Load(os.LookupEnv); err != nil {
			return commandline.Wrong(err)
		}
		if err := o.complete(); err != nil {
			return commandline.Wrong(err)
		}
		o.given = givenFlags(cmd.Flags(), own)
		return do(cmd.Context())
	}
	return cmd
}
