package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshconfig"
)

// start measures how soon the client's program does something, and the memory
// of all programs while nothing happens.
func (b *bench) start(ctx context.Context) error {
	if err := b.stand(ctx); err != nil {
		return err
	}
	if err := b.memory(ctx); err != nil {
		return err
	}
	one, many, err := configurations(b.opt.dir)
	if err != nil {
		return err
	}
	cardea := filepath.Join(b.ground.bin, "cardea")
	commands := []struct {
		name string
		argv []string
		fail bool
	}{
		{"true", []string{"/bin/true"}, false},
		{startVersion, []string{cardea, "version"}, false},
		// A name that is refused: all of the start and nothing behind it.
		{startHelper, []string{cardea, "proxycommand", "-", "22"}, true},
		{startList, []string{cardea, "ls"}, false},
		{readOne, []string{"ssh", "-F", one, "-G", readName}, false},
		{readMany, []string{"ssh", "-F", many, "-G", readName}, false},
	}
	wall, cpu := map[string][]float64{}, map[string][]float64{}
	for range b.opt.rounds {
		for _, i := range rand.Perm(len(commands)) {
			c := commands[i]
			got, err := job{Argv: c.argv, Env: b.ground.environment(), Dir: b.ground.alice.Home}.do(ctx)
			if err != nil {
				return err
			}
			if (got.Failed > 0) != c.fail {
				return fmt.Errorf("%s: %s", c.name, got.Stderr)
			}
			wall[c.name], cpu[c.name] = append(wall[c.name], milliseconds(got.Wall)), append(cpu[c.name], milliseconds(got.CPU))
		}
	}
	t := &table{Name: "start", Title: "start of the client", Columns: []column{{"wall_ms", "wall ms", 1}, {"cpu_ms", "CPU ms", 1}},
		Note: fmt.Sprintf("medians of %d; proxycommand refuses the name it is given, ls lists one server, ssh -G reads a generated configuration", b.opt.rounds)}
	for _, c := range commands {
		t.add(c.name, map[string]float64{"wall_ms": median(wall[c.name]), "cpu_ms": median(cpu[c.name])})
	}
	b.report(t)
	return nil
}

// readName is a server in both configurations, and readCrowd how many are in the larger one.
const (
	readName  = "web-1"
	readCrowd = 5000
)

// configurations writes those of somebody with one server and of somebody with many.
func configurations(dir string) (one, many string, err error) {
	v := sshconfig.Values{Binary: "/usr/bin/cardea", AgentSocket: "/run/user/1000/cardea/agent.sock", KnownHosts: "/home/alice/.ssh/cardea/known_hosts"}
	write := func(servers int) (string, error) {
		for i := len(v.Hosts) + 1; i <= servers; i++ {
			name := fmt.Sprintf("web-%d", i)
			v.Hosts = append(v.Hosts, sshconfig.Host{Names: []string{name, name + ".web"}, HostKeyAlias: ident.New(ident.Server) + ".cardea", Login: "alice"})
		}
		text, err := sshconfig.Config(v)
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, fmt.Sprintf("ssh_config-%d", servers))
		return path, os.WriteFile(path, text, 0o600)
	}
	if one, err = write(1); err != nil {
		return "", "", err
	}
	many, err = write(readCrowd)
	return one, many, err
}

// memory comes before any load. The control plane is started anew: people have
// just signed in, each password took 19 MiB, and Go gives that back over some
// minutes.
func (b *bench) memory(ctx context.Context) error {
	if err := b.ground.StopControl(); err != nil {
		return err
	}
	if err := b.ground.StartControl(ctx); err != nil {
		return err
	}
	agent, err := b.ground.agentPID(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.opt.idle); err != nil {
		return err
	}
	t := &table{Name: "memory", Title: "memory, idle", Columns: []column{{"rss_mib", "MiB", 1}}, Note: "one server, one gateway, SQLite; the control plane after a start"}
	for _, p := range []struct {
		name string
		pid  int
	}{
		{"cardea-server-agent", b.ground.hosts.AgentProcess(server).PID()},
		{"cardea-gateway", b.ground.Gateways[0].PID()},
		{"cardea-control", b.ground.ControlPID()},
		{"cardea agent", agent},
	} {
		mib, err := resident(p.pid)
		if err != nil {
			return err
		}
		t.add(p.name, map[string]float64{"rss_mib": mib})
	}
	b.report(t)
	return nil
}
