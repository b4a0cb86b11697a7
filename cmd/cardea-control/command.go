package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

// Exit codes.
const (
	exitOK, exitFailed, exitUsage = 0, 1, 2
)

// run is the whole program, for main and for tests.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := daemon.Context(context.Background())
	defer stop()
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	// One line: what is wrong, and what to type next.
	fmt.Fprintf(stderr, "cardea-control: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "cardea-control", Short: "The control plane of Cardea",
		Example:       "  cardea-control init --team example\n  cardea-control serve",
		SilenceErrors: true, SilenceUsage: true, Args: noArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; type: %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newInit(), newServe(), newVersion())
	return root
}

// withOptions gives cmd the options of every verb, and loads them before it runs.
func withOptions(cmd *cobra.Command, o *options, do func(ctx context.Context) error) *cobra.Command {
	*o = defaults()
	loader := config.Bind(cmd.Flags(), o, configFile)
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := loader.Load(os.LookupEnv); err != nil {
			return usageError{fmt.Errorf("%w; type: %s --help", err, cmd.CommandPath())}
		}
		if err := o.complete(); err != nil {
			return usageError{err}
		}
		return do(cmd.Context())
	}
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q is one word too many; type: %s --help", args[0], cmd.CommandPath())}
	}
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which build this is", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "cardea-control", version.Get())
			return err
		},
	}
}
