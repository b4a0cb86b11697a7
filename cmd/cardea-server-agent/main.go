// Command cardea-server-agent runs on every server, as root, and makes its
// accounts, its sudo rules and its sshd what the control plane says.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

func main() {
	// What the agent's programs write must not depend on who started it.
	syscall.Umask(0o077)
	// A terminal that goes away, or an administrator who thinks that SIGHUP
	// reloads, must not end the agent in the middle of a change.
	signal.Ignore(syscall.SIGHUP)
	ctx, stop := daemon.Context(context.Background())
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes: 0 done, 1 failed, 2 called wrongly.
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
		fmt.Fprintf(stderr, "cardea-server-agent: %v; type `cardea-server-agent %s--help`\n", u.error, u.verb)
		return exitUsage
	}
	fmt.Fprintf(stderr, "cardea-server-agent: %v\n", err)
	return exitFailed
}

// usageError is a command line or configuration that cannot be understood.
type usageError struct {
	error
	verb string
}

func (e usageError) Unwrap() error { return e.error }

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
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "cardea-server-agent", version.Get())
			return err
		},
	}
}
