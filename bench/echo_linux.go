package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"time"
)

// typist is somebody at a terminal of the server, who sees what he types.
type typist struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

// echoes measures how long a key takes to appear: the server's terminal echoes it.
func (b *bench) echoes(ctx context.Context, some []*way) error {
	t := &table{
		Name: "record-echo", Title: "recorded, a key until its echo",
		Columns: []column{{"p50_ms", "p50 ms", 2}, {"p99_ms", "p99 ms", 2}},
		Note:    fmt.Sprintf("%d keys each, in turns", b.opt.keys),
	}
	typists := make([]*typist, 0, len(some))
	defer func() {
		for _, p := range typists {
			p.leave()
		}
	}()
	found := make([][]float64, len(some))
	for _, way := range some {
		p, err := sit(ctx, way)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		typists = append(typists, p)
	}
	for range b.opt.keys {
		for _, i := range rand.Perm(len(some)) {
			took, err := typists[i].key()
			if err != nil {
				return fmt.Errorf("%s: %w", some[i].name, err)
			}
			found[i] = append(found[i], milliseconds(took))
		}
	}
	for i, way := range some {
		t.add(way.name, map[string]float64{"p50_ms": median(found[i]), "p99_ms": quantile(found[i], 0.99)})
	}
	b.report(t)
	return nil
}

// sit opens a terminal. Newer ssh hides when keys were typed by waiting.
func sit(ctx context.Context, way *way) (*typist, error) {
	j := way.job([]option{{"RequestTTY", "force"}, {"IgnoreUnknown", "ObscureKeystrokeTiming"}, {"ObscureKeystrokeTiming", "no"}}, "echo ready; exec cat >/dev/null")
	cmd := exec.CommandContext(ctx, j.Argv[0], j.Argv[1:]...)
	cmd.Env, cmd.Dir = j.Env, j.Dir
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &typist{cmd, in, out}
	ready := make([]byte, len("ready\r\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		p.leave()
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	return p, nil
}

func (p *typist) key() (time.Duration, error) {
	began := time.Now()
	if _, err := p.in.Write([]byte("x")); err != nil {
		return 0, err
	}
	var echo [1]byte
	if _, err := io.ReadFull(p.out, echo[:]); err != nil {
		return 0, err
	}
	if echo[0] != 'x' {
		return 0, errors.New("something else came than what was typed")
	}
	return time.Since(began), nil
}

// leave hangs up.
func (p *typist) leave() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait() // says that it was killed
}
