package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// measured are the samples of one way.
type measured struct{ wall, client, agent, middle, control []float64 }

// wall measures one command after the other over warm ways.
func (b *bench) wall(ctx context.Context) error {
	w, err := b.ways(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name, title string
		options     []option
	}{
		{"wall", "ssh host true: default key exchange", nil},
		{"wall-curve25519", "ssh host true: KexAlgorithms " + exchange, []option{{"KexAlgorithms", exchange}}},
	} {
		t, err := b.oneByOne(ctx, w.all, kind.options)
		if err != nil {
			return err
		}
		t.Name, t.Title = kind.name, kind.title
		b.report(t)
	}
	return nil
}

func (b *bench) oneByOne(ctx context.Context, some []*way, options []option) (*table, error) {
	found := map[string]*measured{}
	for _, way := range some {
		found[way.name] = &measured{}
	}
	for range b.opt.rounds {
		if err := b.ground.certify(ctx); err != nil {
			return nil, err
		}
		for _, i := range rand.Perm(len(some)) {
			if err := b.one(ctx, some[i], options, found[some[i].name]); err != nil {
				return nil, err
			}
		}
	}
	t := &table{
		Columns: []column{{"wall_ms", "wall ms", 1}, {"best_ms", "best", 1}, {"p90_ms", "p90", 1}, {"ratio", "ratio", 2}, {"cpu_ms", "client CPU ms", 1}, {"agent_ms", "of it agent", 1}, {"middle_ms", "middle CPU ms", 1}, {"control_ms", "control CPU ms", 1}},
		Note:    fmt.Sprintf("medians of %d, interleaved; client CPU is that of ssh, helper and local agent; middle that of gateway or jump host", b.opt.rounds),
	}
	base := median(found[wayDirect].wall)
	for _, way := range some {
		m := found[way.name]
		t.add(way.name, map[string]float64{
			"wall_ms": median(m.wall), "best_ms": quantile(m.wall, 0), "p90_ms": quantile(m.wall, 0.9), "ratio": median(m.wall) / base,
			"cpu_ms": median(m.client), "agent_ms": mean(m.agent), "middle_ms": mean(m.middle), "control_ms": mean(m.control),
		})
	}
	return t, nil
}

// one measures one command. Gateway and control plane are still busy with the
// end of a connection when ssh has gone: they get a moment for it.
func (b *bench) one(ctx context.Context, way *way, options []option, m *measured) error {
	agent, err := b.ground.agentPID(ctx)
	if err != nil {
		return err
	}
	clocks := []func() (time.Duration, error){
		func() (time.Duration, error) { return cpuOf(agent) }, way.middle,
		func() (time.Duration, error) { return cpuOf(b.ground.ControlPID()) },
	}
	before, err := readAll(clocks)
	if err != nil {
		return err
	}
	got, err := way.job(options, "true").must(ctx)
	if err != nil {
		return err
	}
	if got.Orphans > 0 {
		return fmt.Errorf("%s left %d processes behind", way.name, got.Orphans)
	}
	time.Sleep(settle)
	after, err := readAll(clocks)
	if err != nil {
		return err
	}
	m.wall = append(m.wall, milliseconds(got.Wall))
	m.client = append(m.client, milliseconds(got.CPU+after[0]-before[0]))
	m.agent = append(m.agent, milliseconds(after[0]-before[0]))
	m.middle = append(m.middle, milliseconds(after[1]-before[1]))
	m.control = append(m.control, milliseconds(after[2]-before[2]))
	return nil
}

// settle is how long others are left to end what a connection began.
const settle = 20 * time.Millisecond

func readAll(clocks []func() (time.Duration, error)) ([]time.Duration, error) {
	var out []time.Duration
	for _, read := range clocks {
		d, err := read()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}
