// Package buildtest builds this repository's programs for tests that run them as real
// processes, in the way the tests themselves were built: one cache serves both, and where
// the tests have the race detector the programs have it too.
package buildtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// RaceOptions, in the environment of a program, have one with the race detector end when it
// ends, where it would wait for a second, in which other goroutines may still be caught; and
// have what that knows of the memory in large pages, of which many fewer have to be made. More
// options may be added behind a blank.
const RaceOptions = "GORACE=atexit_sleep_ms=0 no_huge_pages_for_shadow=0"

// Raced reports whether this process runs with the race detector.
func Raced() bool {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// BuiltVariable names a folder of programs that Build takes in place of building them. `make
// test` builds all before the first test: tests that did so while others are still compiled
// would compile the same at the same time, and each links for seconds.
const BuiltVariable = "CARDEA_TEST_BUILT"

// Build builds the packages, which are named as on a go command line in the current
// directory, into dir.
func Build(dir string, packages ...string) error {
	if built := os.Getenv(BuiltVariable); built != "" {
		return take(dir, built, packages)
	}
	flags, env := released(), append(os.Environ(), "CGO_ENABLED=0")
	if Raced() {
		flags, env = []string{"-race"}, os.Environ()
	}
	return run(env, dir, append(flags, packages...))
}

// take has the programs of the packages in dir as links to those in built. It looks at none
// of them: the go tool keeps a pass of the test that calls it while what that has looked at
// stays the same, and each build gives the programs another time.
func take(dir, built string, packages []string) error {
	for _, p := range packages {
		path, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if err := os.Symlink(filepath.Join(built, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// released are the flags of `make build`, which is how people get the programs. With them
// and CGO_ENABLED=0 a test shares its cache.
func released() []string { return []string{"-trimpath", "-ldflags", "-s -w"} }

// BuildReleased is Build for what is looked at as people get it: never with the race
// detector.
func BuildReleased(dir string, packages ...string) error {
	return run(append(os.Environ(), "CGO_ENABLED=0"), dir, append(released(), packages...))
}

func run(env []string, dir string, args []string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, args...)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
