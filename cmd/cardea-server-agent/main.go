// Command cardea-server-agent runs on every server, as root, and makes its
// accounts, its sudo rules and its sshd what the control plane says.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/daemon"
)

func main() {
	// What the agent's programs write must not depend on who started it.
	syscall.Umask(0o077)
	// A terminal that goes away, or an administrator who thinks that SIGHUP
	// reloads, must not end the agent in the middle of a change.
	signal.Ignore(syscall.SIGHUP)
	spareMemory(os.LookupEnv)
	ctx, stop := daemon.Context(context.Background())
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	return commandline.Run(ctx, command(env, stderr), args, stdout, stderr)
}
