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

// Ciphers and key exchanges that are measured beside the defaults.
const (
	aes      = "aes128-gcm@openssh.com"
	exchange = "curve25519-sha256"
)

// option is one of ssh that all hops of a way get.
type option struct{ key, value string }

// way is one way to run a command on the server.
type way struct {
	name string
	// job makes the command line; options hold for each hop.
	job func(options []option, command ...string) job
	// script is a shell's pipeline with SSH in it, which becomes the way's ssh.
	script func(options []option, pipeline string) job
	// middle is the CPU time so far of what stands between client and server.
	middle func() (time.Duration, error)
}

// ways are all of them, with the jump host that one needs. The first is what
// the others are compared with.
type ways struct {
	all    []*way
	g      *ground
	jump   *jump
	shared []string // of plain ssh's configuration
	env    []string
}

func newWays(ctx context.Context, g *ground) (*ways, error) {
	lines, key, err := g.plainAccess(ctx)
	if err != nil {
		return nil, fmt.Errorf("an account for plain ssh: %w", err)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return nil, err
	}
	w := &ways{g: g, env: g.environment()}
	if w.jump, err = startJump(ctx, g.dir, string(public)); err != nil {
		return nil, err
	}
	jump, err := w.jump.lines(g.dir, key)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	common := []string{
		"Host *", "IdentitiesOnly yes", "IdentityAgent none", "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes",
		"PreferredAuthentications publickey", "BatchMode yes", "ControlMaster no", "ControlPath none",
	}
	w.shared = append(append(lines, jump...), common...)
	nodelay := filepath.Join(g.bin, "nodelay")
	w.all = []*way{
		w.plain(wayDirect, server, nothing),
		w.plain(wayOwn, ownAccount, nothing),
		w.plain(wayCopy, server, nothing, "-o", "ProxyCommand="+nodelay+" %h %p"),
		w.plain(wayBarePass, server, nothing, "-o", "ProxyCommand="+nodelay+" -pass %h %p", "-o", "ProxyUseFdpass=yes"),
		w.plain(wayJump, server, func() (time.Duration, error) { return cpuWithEnded(w.jump.cmd.Process.Pid) }, "-J", "jump"),
		w.cardea(wayPipe, []string{"ssh", "-F", g.alice.SSHConfig()}),
		w.cardea(wayPass, []string{filepath.Join(g.bin, "cardea"), "ssh"}),
	}
	g.cardeas = w.only(wayPipe, wayPass)
	return w, nil
}

// Close ends the jump host.
func (w *ways) Close() error { return w.jump.Close() }

// only are the ways of these names, in this order.
func (w *ways) only(names ...string) (some []*way) {
	for _, name := range names {
		for _, way := range w.all {
			if way.name == name {
				some = append(some, way)
			}
		}
	}
	return some
}

func nothing() (time.Duration, error) { return 0, nil }

// plain is OpenSSH with a configuration of its own, so that an option reaches
// the first hop of -J, too.
func (w *ways) plain(name, host string, middle func() (time.Duration, error), args ...string) *way {
	argv := func(options []option) []string {
		return append(append([]string{"ssh", "-F", w.config(options)}, args...), host)
	}
	return w.way(name, middle, argv)
}

// cardea takes its options behind the server's name, as ssh does.
func (w *ways) cardea(name string, command []string) *way {
	argv := func(options []option) []string {
		args := append(append([]string{}, command...), server, "-o", "BatchMode=yes")
		for _, o := range options {
			args = append(args, "-o", o.key+"="+o.value)
		}
		return args
	}
	return w.way(name, func() (time.Duration, error) { return cpuOf(w.g.Gateways[0].PID()) }, argv)
}

func (w *ways) way(name string, middle func() (time.Duration, error), argv func([]option) []string) *way {
	return &way{
		name: name, middle: middle,
		job: func(options []option, command ...string) job {
			return job{Argv: append(argv(options), command...), Env: w.env, Dir: w.g.alice.Home}
		},
		script: func(options []option, pipeline string) job {
			line := strings.ReplaceAll(pipeline, "SSH", "'"+strings.Join(argv(options), "' '")+"'")
			return job{Argv: []string{"/bin/bash", "-o", "pipefail", "-c", line}, Env: w.env, Dir: w.g.alice.Home}
		},
	}
}

// config writes a configuration for these options, once.
func (w *ways) config(options []option) string {
	name := "plain"
	lines := []string{}
	for _, o := range options {
		name += "-" + o.key
		lines = append(lines, o.key+" "+o.value)
	}
	path := filepath.Join(w.g.dir, name+".conf")
	if _, err := os.Stat(path); err != nil {
		text := strings.Join(append(lines, w.shared...), "\n") + "\n"
		// If it cannot be written, ssh will say that it is missing.
		os.WriteFile(path, []byte(text), 0o600)
	}
	return path
}
