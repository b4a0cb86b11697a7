// Command cardea-gateway is a member of a pool of SSH gateways: it passes the
// sessions that the control plane allows, and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

func main() {
	ctx, stop := daemon.Context(context.Background())
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes: 0 ended as asked, 1 failed, 2 called wrongly.
const (
	exitFailed = 1
	exitUsage  = 2
)

func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	root := command(env, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var u usageError
	if errors.As(err, &u) {
		fmt.Fprintf(stderr, "cardea-gateway: %v; type `cardea-gateway %s--help`\n", u.error, u.verb)
		return exitUsage
	}
	fmt.Fprintf(stderr, "cardea-gateway: %v\n", err)
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	verb string
}

func (e usageError) Unwrap() error { return e.error }

func command(env func(string) (string, bool), stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "cardea-gateway",
		Short:         "Pass SSH sessions that the control plane allows",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:          noArgs,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		verb := ""
		if cmd.HasParent() {
			verb = cmd.Name() + " "
		}
		return usageError{err, verb}
	})
	root.AddCommand(serveCommand(env, stderr), versionCommand())
	return root
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q means nothing here", args[0]), ""}
	}
	return nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which build this is", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "cardea-gateway", version.Get())
			return err
		},
	}
}
