package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// nfpmModule is the program that writes packages. goreleaser has the same as a
// library; versions from 2.46 on need a module that cannot be had everywhere.
const nfpmModule = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// buildNFPM builds nfpm, which takes a quarter of a minute the first time; with race as
// the tests are built, so that the standard library is not compiled for it alone, but for
// what packs: that takes eight times as long under the race detector.
func buildNFPM(ctx context.Context, dir string, race bool) (string, error) {
	flag, env := "-trimpath", []string{"GOFLAGS=-mod=mod", "CGO_ENABLED=0"}
	if race {
		flag, env = "-race", []string{"GOFLAGS=" + os.Getenv("GOFLAGS") + " -mod=mod -gcflags=github.com/klauspost/...=-race=false"}
	}
	cmd := exec.CommandContext(ctx, "go", "install", flag, nfpmModule)
	cmd.Env = append(append(os.Environ(), "GOBIN="+dir, "GOOS=", "GOARCH="), env...)
	cmd.Dir = dir
	return filepath.Join(dir, "nfpm"), output(cmd)
}

// one makes one package in each of its formats.
func (m *maker) one(ctx context.Context, work string, rel release, p pack) (files []string, err error) {
	programs := map[string]string{}
	for _, id := range p.ids() {
		b, err := rel.build(id)
		if err != nil {
			return nil, err
		}
		if m.program != nil {
			programs[b.Binary], err = m.program(b)
		} else {
			programs[b.Binary], err = m.compile(ctx, work, b)
		}
		if err != nil {
			return nil, err
		}
	}
	text, err := p.nfpm(m, programs)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(work, p.name()+".yaml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	for _, format := range p.formats() {
		if len(m.formats) > 0 && !slices.Contains(m.formats, format) {
			continue
		}
		// A folder of its own tells what name nfpm gave the file.
		dir, err := os.MkdirTemp(work, format)
		if err != nil {
			return files, err
		}
		cmd := exec.CommandContext(ctx, m.nfpm, "package", "--config", config, "--packager", format, "--target", dir+"/")
		cmd.Dir = m.root
		if err := output(cmd); err != nil {
			return files, err
		}
		made, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(made) != 1 {
			return files, fmt.Errorf("nfpm made %q of %s: %v", made, format, err)
		}
		to := filepath.Join(m.out, filepath.Base(made[0]))
		data, err := os.ReadFile(made[0])
		if err != nil {
			return files, err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return files, err
		}
		files = append(files, to)
	}
	return files, nil
}

// compile builds one program as a release has it, but for m.race.
func (m *maker) compile(ctx context.Context, work string, b build) (string, error) {
	to := filepath.Join(work, b.Binary)
	flags, env := b.Flags, b.Env
	if m.race {
		flags, env = []string{"-race"}, nil
	}
	args := append(append([]string{"build"}, flags...), "-ldflags", strings.Join(b.LDFlags, " "), "-o", to, b.Main)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = m.root
	cmd.Env = append(append(os.Environ(), env...), "GOOS=linux", "GOARCH="+m.arch)
	return to, output(cmd)
}

// output runs a command and puts what it said into its error.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
