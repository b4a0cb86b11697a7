package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// crowdTime bounds one crowd: ten times what is promised.
	crowdTime = 10 * time.Minute
	// crowdCommands is how many sudo commands each person of the second crowd has: with 5,000
	// people that is 200,000 lines.
	crowdCommands = 40
	// lookEvery is how often the memory of the agent's children is looked at.
	lookEvery = 20 * time.Millisecond
)

// accounts measures how a host gets its people: very many at once, and one who was just granted
// access; and what the agent takes while nothing happens.
func (b *bench) accounts(ctx context.Context) error {
	t := &table{
		Name: "accounts", Title: fmt.Sprintf("%d people on a host that had none, until the state is in force", b.opt.people),
		Columns: []column{
			{"wall_s", "wall s", 1}, {"agent_s", "agent CPU s", 1}, {"programs_s", "its programs CPU s", 1},
			{"peak_mib", "agent, most MiB", 1}, {"programs_mib", "its programs, most MiB", 1},
			{"state_mib", "state, MiB", 1}, {"rest_mib", "at rest MiB", 1}, {"rest_ms", "CPU ms a minute", 1},
		},
		Note: fmt.Sprintf("a host in memory (no disk waits); %d sudo commands each, of which no two are alike; at rest for %s", crowdCommands, b.opt.rest),
	}
	for _, c := range []struct {
		name     string
		commands int
	}{{crowdPlain, 0}, {crowdSudo, crowdCommands}} {
		values, err := b.gather(ctx, c.commands)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		t.add(c.name, values)
	}
	b.report(t)
	return b.grant(ctx)
}

// gather fills one host.
func (b *bench) gather(ctx context.Context, commands int) (values map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, crowdTime+b.opt.rest)
	defer cancel()
	c, err := newCrowd(ctx, filepath.Join(b.opt.bin, "cardea-server-agent"), b.opt.people, commands)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	pid := c.agent.PID()
	watch, stop := context.WithCancel(ctx)
	most := make(chan float64)
	go func() { most <- watchChildren(watch, pid) }()
	took, err := c.confirmed(ctx)
	stop()
	children := <-most
	if err != nil {
		return nil, err
	}
	own, err := cpuOf(pid)
	if err != nil {
		return nil, err
	}
	all, err := cpuWithEnded(pid)
	if err != nil {
		return nil, err
	}
	peak, err := statusOf(pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	if out, err := c.host.Run(ctx, "/bin/sh", "-c", "getent passwd | grep -c '^person'; ls /home | wc -l; ls /etc/ssh/cardea/principals | wc -l"); err != nil {
		return nil, err
	} else if want := fmt.Sprintf("%d\n%d\n%d\n", b.opt.people, b.opt.people, b.opt.people+1); out != want {
		return nil, fmt.Errorf("accounts, homes and principals are %q, not %q", out, want)
	}
	values = map[string]float64{
		"wall_s": took.Seconds(), "agent_s": own.Seconds(), "programs_s": (all - own).Seconds(), "peak_mib": peak, "programs_mib": children,
		"state_mib": float64(len(c.state)) / (1 << 20),
	}
	return values, b.atRest(ctx, pid, values)
}

// atRest lets the agent alone.
func (b *bench) atRest(ctx context.Context, pid int, values map[string]float64) error {
	// The events of so many accounts are still on their way.
	select {
	case <-time.After(b.opt.rest / 4):
	case <-ctx.Done():
		return ctx.Err()
	}
	before, err := cpuWithEnded(pid)
	if err != nil {
		return err
	}
	select {
	case <-time.After(b.opt.rest):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpuWithEnded(pid)
	if err != nil {
		return err
	}
	values["rest_ms"] = milliseconds(after-before) / b.opt.rest.Minutes()
	values["rest_mib"], err = resident(pid)
	return err
}

// watchChildren is the most memory that the children of a process had together, in MiB.
func watchChildren(ctx context.Context, pid int) (most float64) {
	for {
		select {
		case <-ctx.Done():
			return most
		case <-time.After(lookEvery):
		}
		var sum float64
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, list := range lists {
			text, _ := os.ReadFile(list) // a thread may be gone
			for _, child := range strings.Fields(string(text)) {
				var id int
				fmt.Sscan(child, &id)
				if mib, err := resident(id); err == nil { // and so may the child
					sum += mib
				}
			}
		}
		most = max(most, sum)
	}
}
