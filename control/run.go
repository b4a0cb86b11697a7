package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/recordings"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// sweepEvery is how often what is over is ended: a membership that ends at
	// noon must not last until one.
	sweepEvery = time.Second
	// grace is how long calls in flight may take when the server stops. Long
	// polls end at once; a short call has no longer than callTime.
	grace = callTime
	// readyFor is how long one answer about readiness is good. Anybody may ask,
	// and finding out costs a write.
	readyFor = time.Second
)

// Run serves on listener until ctx ends, then lets calls in flight finish, and
// returns nil. For TLS and HTTP/2 it takes a TLS listener. It runs what an
// instance does in the background, too.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	// An instance that cannot write down that it started could write nothing else.
	if err := s.tell(ctx, audit.InstanceStart); err != nil {
		return fmt.Errorf("audit the start: %w", err)
	}
	server := daemon.NewServer(s.handler, s.options.Logger)
	server.RegisterOnShutdown(s.stop)
	defer context.AfterFunc(ctx, s.health.Drain)()
	g := daemon.NewGroup(ctx)
	g.Go("serve", func(ctx context.Context) error { return daemon.Serve(ctx, server, listener, grace) })
	g.Go("sweep", s.sweep)
	if s.recordings != nil {
		g.Go("late recordings", s.noteLate)
	}
	err := g.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if told := s.tell(last, audit.InstanceStop); told != nil {
		s.options.Logger.Warn("audit the stop", "error", told)
	}
	return err
}

func (s *Server) tell(ctx context.Context, action string) error {
	now := s.options.Now()
	e := audit.Event{Time: now, Action: action, Outcome: audit.Allowed, Detail: map[string]string{"version": s.options.Version}}
	return s.options.Store.AppendAudit(ctx, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
}

// noteLate looks for recordings that nobody stores, until ctx ends.
func (s *Server) noteLate(ctx context.Context) error {
	tick := time.NewTicker(recordings.LateEvery)
	defer tick.Stop()
	for {
		if err := s.recordings.NoteLate(ctx); err != nil && ctx.Err() == nil {
			s.options.Logger.Error("look for recordings that nobody stores", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep ends what is over, until ctx does. A store that fails is told of once,
// and once more when it works again.
func (s *Server) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		err := s.options.Store.Sweep(ctx, s.options.Now())
		if err == nil && s.unfounded != nil {
			err = s.unfounded(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !failing:
			s.options.Logger.Error("end what is over", "error", err)
		case err == nil && failing:
			s.options.Logger.Info("ending what is over works again")
		}
		failing = err != nil
	}
}

// ready asks the store, at most once in readyFor for all who ask.
func (s *Server) ready(ctx context.Context) error {
	s.readiness.Lock()
	defer s.readiness.Unlock()
	now := time.Now()
	if now.Sub(s.readiness.at) < readyFor {
		return s.readiness.err
	}
	err := s.options.Store.Ready(ctx)
	if err != nil && s.readiness.err == nil && !errors.Is(err, context.Canceled) {
		s.options.Logger.Error("not ready", "error", err)
	}
	s.readiness.at, s.readiness.err = now, err
	return err
}
