// Package daemon is what every long-running Cardea program does around its
// work: end on a signal, run parts together until the first one fails, log,
// say whether it is healthy, and serve HTTP with the same limits.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// ErrSignal is the cause of a context that a signal ended.
var ErrSignal = errors.New("asked to stop")

// Context ends at the first SIGINT or SIGTERM, with a cause that wraps
// ErrSignal and names the signal. A second signal ends the process at once,
// for whoever does not want to wait for the end of a graceful stop. Only main
// calls it; nothing else in Cardea touches signals.
func Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals) // from here on the default holds: it kills
			cancel(fmt.Errorf("%w by %s", ErrSignal, s))
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Group runs the parts of one process together: the first that fails ends the
// others through their context, and Wait returns after the last has ended.
type Group struct {
	group  *errgroup.Group
	ctx    context.Context
	parent context.Context
}

// NewGroup makes a group whose parts end when ctx does.
func NewGroup(ctx context.Context) *Group {
	g, inner := errgroup.WithContext(ctx)
	return &Group{group: g, ctx: inner, parent: ctx}
}

// Go runs one part. A part that returns nil has finished and lets the others
// go on. A panic in it becomes an error with its stack, so that the other
// parts still get to stop in order.
func (g *Group) Go(name string, run func(ctx context.Context) error) {
	g.group.Go(func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%s: panic: %v\n%s", name, p, debug.Stack())
			}
		}()
		if err := run(g.ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// Wait returns the error of the first part that failed. Being asked to stop is
// not a failure.
func (g *Group) Wait() error {
	err := g.group.Wait()
	if g.parent.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ErrSignal)) {
		return nil
	}
	return err
}
