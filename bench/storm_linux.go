package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// storm measures many connections that begin at the same instant.
func (b *bench) storm(ctx context.Context) error {
	w, err := b.ways(ctx)
	if err != nil {
		return err
	}
	return b.storms(ctx, w.only(wayDirect, wayJump, wayPipe, wayPass), "storm", "")
}

// storms measures some ways; where says what is behind them.
func (b *bench) storms(ctx context.Context, some []*way, name, where string) error {
	for _, n := range b.opt.storms {
		rounds := max(1, b.opt.rounds/10)
		t := &table{
			Name: fmt.Sprintf("%s-%d", name, n), Title: fmt.Sprintf("%d times ssh host true at once%s", n, where),
			Columns: []column{{"wall_s", "wall s", 2}, {"ratio", "ratio", 2}, {"per_second", "sessions/s", 1}, {"failures", "failures", 0}, {"orphans", "orphans", 0}, {"sessions", "sessions left", 0}, {"files", "files left", 0}},
			Note:    fmt.Sprintf("medians of %d, failures and what is left are sums; files of gateway and local agent", rounds),
		}
		found := map[string]map[string][]float64{}
		for range rounds {
			for _, i := range rand.Perm(len(some)) {
				way := some[i]
				if err := b.ground.certify(ctx); err != nil {
					return err
				}
				one, err := b.atOnce(ctx, way, n)
				if err != nil {
					return err
				}
				if found[way.name] == nil {
					found[way.name] = map[string][]float64{}
				}
				for key, v := range one {
					found[way.name][key] = append(found[way.name][key], v)
				}
			}
		}
		base := median(found[wayDirect]["wall_s"])
		for _, way := range some {
			m := found[way.name]
			values := map[string]float64{"wall_s": median(m["wall_s"]), "ratio": median(m["wall_s"]) / base, "per_second": float64(n) / median(m["wall_s"])}
			for _, key := range []string{"failures", "orphans", "sessions", "files"} {
				values[key] = mean(m[key]) * float64(len(m[key]))
			}
			t.add(way.name, values)
		}
		b.report(t)
	}
	return nil
}

func (b *bench) atOnce(ctx context.Context, way *way, n int) (map[string]float64, error) {
	before, err := b.openFiles(ctx)
	if err != nil {
		return nil, err
	}
	j := way.job(nil, "true")
	j.Times = n
	got, err := j.do(ctx)
	if err != nil {
		return nil, err
	}
	if got.Failed > 0 {
		fmt.Fprintf(b.talk, "  %s: %d of %d failed: %s\n", way.name, got.Failed, n, strings.TrimSpace(got.Stderr))
	}
	helpers, err := helpersOf(b.ground.dir)
	if err != nil {
		return nil, err
	}
	sessions, err := b.ground.openSessions(ctx)
	if err != nil {
		return nil, err
	}
	after := 0
	for range 30 {
		if after, err = b.openFiles(ctx); err != nil || after <= before {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return map[string]float64{
		"wall_s": got.Wall.Seconds(), "failures": float64(got.Failed), "orphans": float64(got.Orphans + helpers),
		"sessions": float64(sessions), "files": float64(max(0, after-before)),
	}, err
}

// openFiles are those of the gateway and of alice's agent.
func (b *bench) openFiles(ctx context.Context) (int, error) {
	agent, err := b.ground.agentPID(ctx)
	if err != nil {
		return 0, err
	}
	control, err := url.Parse(b.ground.URL)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, pid := range []int{agent, b.ground.Gateways[0].PID()} {
		n, err := files(pid, control.Port())
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// helpersOf counts the ProxyCommands of a stage that still run, wherever they
// hang in the tree of processes.
func helpersOf(dir string) (n int, err error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), "\x00proxycommand\x00") {
			continue
		}
		env, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if err == nil && strings.Contains(string(env), "CARDEA_STAGE="+dir+"\x00") {
			n++
		}
	}
	return n, nil
}
