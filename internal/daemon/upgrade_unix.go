//go:build unix

package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Upgrades tells of each SIGUSR2 until ctx ends: the program's file was replaced,
// and its next process shall take over. Only main calls it.
func Upgrades(ctx context.Context) <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	context.AfterFunc(ctx, func() { signal.Stop(signals) })
	return signals
}
