package e2e

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestTogether runs the scripts that do not disturb each other on one stage:
// people with laptops of their own, servers web-1, web-2 and db-1 of project
// web, behind gateways gw-1 and gw-2.
func TestTogether(t *testing.T) {
	needs(t)
	t.Parallel()
	shared := newWorld(t)
	shared.raise(t.Context(), "gateways=2", "web-1", "web-2", "db-1")
	testscript.Run(t, params("testdata/together", func(env *testscript.Env) (*world, error) { return shared.visit() }))
}

// TestAlone runs the scripts that kill or change what others would need: each
// raises a stage of its own.
func TestAlone(t *testing.T) {
	needs(t)
	t.Parallel()
	testscript.Run(t, params("testdata/alone", func(env *testscript.Env) (*world, error) { return newWorld(env.T().(testing.TB)), nil }))
}

// needs skips where nothing can run. The go tool keeps a pass until something
// changes that the test has looked at, and sees no program that it runs: so here
// it looks at every file that the programs are made of.
func needs(t *testing.T) {
	t.Helper()
	os.Getenv(binVariable)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test's, gone meanwhile
			return nil
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == ".state"):
			return fs.SkipDir
		case d.Type().IsRegular():
			os.Stat(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if skip != "" {
		t.Skip(skip)
	}
}

// params make the words of words_linux_test.go and mallory's known to the
// scripts.
func params(dir string, enter func(*testscript.Env) (*world, error)) testscript.Params {
	words := map[string]func(*testscript.TestScript, bool, []string){}
	for name := range maps.Keys(verbs()) {
		words[name] = func(ts *testscript.TestScript, neg bool, args []string) { say(ts, neg, name, args) }
	}
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			w, err := enter(env)
			if err != nil {
				return err
			}
			env.Defer(w.leave)
			env.Values[worldKey{}] = w
			w.setenv(env.Setenv)
			packaging, err := filepath.Abs("../packaging")
			if err != nil {
				return err
			}
			env.Setenv("BIN", bin)
			env.Setenv("PACKAGING", packaging)
			env.Setenv("CROWD", strconv.Itoa(crowd()))
			env.Setenv("HALF", strconv.Itoa(crowd()/2))
			return os.Chmod(env.WorkDir, 0o755)
		},
		Cmds:               words,
		RequireUniqueNames: true,
	}
}

// crowd is how many come at once: fifty in the whole matrix.
func crowd() int {
	if os.Getenv(matrixVariable) != "" {
		return 50
	}
	return 16
}

type worldKey struct{}

// worldOf is the world of a script.
func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }
