package main

import (
	"context"
	"fmt"
	"time"
)

// idleSessions measures the memory of sessions that are relayed and do nothing.
func (b *bench) idleSessions(ctx context.Context) error {
	if _, err := b.ways(ctx); err != nil {
		return err
	}
	return b.held(ctx, "idle", "relayed sessions that do nothing")
}

// sessionRow is the row of both tables.
const sessionRow = "gateway"

// held opens sessions, looks how much the gateway has grown, and ends them.
func (b *bench) held(ctx context.Context, name, title string) error {
	gateway := b.ground.Gateways[0].PID()
	before, err := resident(gateway)
	if err != nil {
		return err
	}
	way := b.roads.only(wayPipe)[0]
	open := []*typist{}
	defer func() {
		for _, p := range open {
			p.leave()
		}
	}()
	for range b.opt.held {
		p, err := sit(ctx, way)
		if err != nil {
			return err
		}
		open = append(open, p)
	}
	if err := pause(ctx, b.opt.idle); err != nil {
		return err
	}
	after, err := resident(gateway)
	if err != nil {
		return err
	}
	t := &table{
		Name: name, Title: "memory of " + title, Columns: []column{{"kib", "KiB each", 0}, {"rss_mib", "MiB in all", 1}},
		Note: fmt.Sprintf("%d sessions with a terminal", b.opt.held),
	}
	t.add(sessionRow, map[string]float64{"kib": (after - before) * 1024 / float64(b.opt.held), "rss_mib": after})
	b.report(t)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
