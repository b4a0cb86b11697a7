// Command cardea-gateway is a member of a pool of SSH gateways: it passes the
// sessions that the control plane allows, and nothing else.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

func main() {
	if code, done := stepAside(); done {
		os.Exit(code)
	}
	// Else the process would be killed when whoever reads its log has gone.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := daemon.Context(context.Background())
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	spendMemory(env)
	root := &cobra.Command{
		Use:     "cardea-gateway",
		Short:   "Pass SSH sessions that the control plane allows",
		Example: "  cardea-gateway serve --control-url https://access.example.com",
	}
	root.AddCommand(serveCommand(env, stderr), importCommand(env, stdout, stderr))
	return commandline.Run(ctx, commandline.Prepare(root, version.Get()), args, stdout, stderr)
}
