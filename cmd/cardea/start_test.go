//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/buildtest"
)

// maxInit is how long the initialisation of one package may take, in
// milliseconds: every ssh starts this program, and waits for it. What takes
// longer is a dependency that compiles tables or expressions at start.
const maxInit = 1.0

// tries is how often a busy machine may be the reason.
const tries = 10

func TestNoPackageSlowsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := buildtest.BuildReleased(dir, "."); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "cardea")
	for _, args := range [][]string{{"version"}, {"proxycommand", "-", "22"}} {
		best := map[string]float64{}
		for range tries {
			for name, ms := range inits(t, program, args) {
				if old, ok := best[name]; !ok || ms < old {
					best[name] = ms
				}
			}
			if len(slow(best)) == 0 {
				break
			}
		}
		if len(best) < 10 {
			t.Fatalf("only %d packages were seen to initialise; has the trace changed?", len(best))
		}
		if late := slow(best); len(late) > 0 {
			t.Errorf("cardea %s waits at each start for: %s", args[0], strings.Join(late, ", "))
		}
	}
}

func slow(best map[string]float64) (late []string) {
	for name, ms := range best {
		if ms > maxInit {
			late = append(late, fmt.Sprintf("%s (%.1f ms)", name, ms))
		}
	}
	return late
}

// inits runs the program and reads "init PACKAGE @0.1 ms, 0.2 ms clock, …".
func inits(t *testing.T, program string, args []string) map[string]float64 {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	cmd.Run() // proxycommand refuses its arguments, by which time it has started
	found := map[string]float64{}
	for lines := bufio.NewScanner(&trace); lines.Scan(); {
		var name string
		var at, ms float64
		if n, _ := fmt.Sscanf(lines.Text(), "init %s @%f ms, %f ms clock", &name, &at, &ms); n == 3 {
			found[name] = ms
		}
	}
	return found
}
