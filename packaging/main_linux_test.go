package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// asBrowser makes this program the browser of the people in the tests.
const asBrowser = "browser"

// filesVariable names a folder with what was built before, for machines without
// Go: packages in old/ and new/, the programs in bin/.
const filesVariable = "CARDEA_TEST_FILES"

// prepareVariable names an empty folder to build all that into, and do no more.
const prepareVariable = "CARDEA_TEST_PREPARE"

// The two versions that are installed one over the other, as long as each other.
const oldVersion, newVersion = "1.2.10", "1.10.0"

// files is the folder of what is installed, "" until TestMain has run. It is set
// before the first test and never after.
var files string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asBrowser {
		os.Exit(browse.Main(os.Args[2:]))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if dir := os.Getenv(prepareVariable); dir != "" {
		if err := prepare(dir); err != nil {
			fmt.Fprintln(os.Stderr, "make the packages:", err)
			return 1
		}
		return 0
	}
	if files = os.Getenv(filesVariable); files != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "cardea-packages")
	if err == nil {
		defer os.RemoveAll(dir)
		files, err = dir, prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make the packages:", err)
		return 1
	}
	return m.Run()
}

// services are what the packages are made of here.
var services = []string{"cardea-server-agent", "cardea-gateway", "cardea-control"}

// prepare makes the packages of the three services in two versions, and of the other side
// the programs and the beginning of a control plane. What costs seconds is not done again:
// a program is linked once, and a package which is only looked into, as each apk and the
// client's, has a short text in its place.
func prepare(dir string) error {
	ctx := context.Background()
	nfpm, err := buildNFPM(ctx, dir, buildtest.Raced())
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "cardea-programs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	short := func(*maker, build) (string, error) {
		to := filepath.Join(work, "program")
		return to, os.WriteFile(to, []byte("#!/bin/sh\n"), 0o755)
	}
	for _, made := range []struct {
		folder, version string
		packages        []string
		formats         []string
		program         func(m *maker, b build) (string, error)
	}{
		{"new", newVersion, services, []string{"deb", "rpm"}, func(m *maker, b build) (string, error) { return m.compile(ctx, bin, b) }},
		{"old", oldVersion, services, []string{"deb", "rpm"}, func(_ *maker, b build) (string, error) {
			to := filepath.Join(work, b.Binary)
			return to, another(filepath.Join(bin, b.Binary), to)
		}},
		{"new", newVersion, services, []string{"apk"}, short},
		{"client", newVersion, []string{"cardea"}, []string{"deb", "rpm", "apk"}, short}, // "new" would have four that begin so
	} {
		m := maker{root: "..", version: made.version, arch: runtime.GOARCH, out: filepath.Join(dir, made.folder), nfpm: nfpm,
			formats: made.formats, quick: true, race: buildtest.Raced()}
		m.program = func(b build) (string, error) { return made.program(&m, b) }
		if _, err := m.make(ctx, made.packages...); err != nil {
			return err
		}
	}
	return errors.Join(buildtest.Build(bin, "../cmd/cardea"), begin(ctx, dir))
}

// another writes a program of the new version as one of the old.
func another(from, to string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	changed := bytes.ReplaceAll(program, []byte("v"+newVersion), []byte("v"+oldVersion))
	if len(changed) != len(program) || bytes.Equal(changed, program) {
		return fmt.Errorf("%s has no version %s, or one that is not as long as %s", from, newVersion, oldVersion)
	}
	return os.WriteFile(to, changed, 0o755)
}
