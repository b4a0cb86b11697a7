//go:build unix

package cardea_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	program := released(t, "cardea")
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

// A server has what libraries it has, and its disk may be small.
func TestTheServerAgentIsStaticAndSmall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the server agent is for Linux")
	}
	for _, complaint := range buildtest.Unfit(released(t, "cardea-server-agent")) {
		t.Error(complaint)
	}
	if shell := "/bin/sh"; len(buildtest.Unfit(shell)) == 0 {
		t.Errorf("nothing is found wrong with %s, which needs libraries", shell)
	}
}

// What another module brings along counts too, which the floors do not see.
func TestOnlyACardeaForTheSecureEnclaveContainsWhatThatNeeds(t *testing.T) {
	if buildtest.Raced() {
		t.Skip("SKIPPED: once is enough; type: make check")
	}
	for _, tc := range []struct {
		goos, tags string
		want       bool
	}{
		{"darwin", "enclave", true},
		{"darwin", "", false},
		{"linux", "enclave", false},
		{"windows", "", false},
	} {
		cmd := exec.Command("go", "list", "-deps", "-tags", tc.tags, "./cmd/cardea")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+tc.goos, "GOARCH=arm64")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		packages := strings.Fields(string(out))
		for module := range behind {
			if got := slices.Contains(packages, module); got != tc.want {
				t.Errorf("cardea for %s with the tags %q: that %s is in it is %v", tc.goos, tc.tags, module, got)
			}
		}
	}
}

// released builds a program as it is released. `make check` does that in any case, for
// every platform; `make test` builds all with the race detector, and not twice.
func released(t *testing.T, program string) string {
	t.Helper()
	if buildtest.Raced() {
		t.Skip("SKIPPED: not with the race detector; type: make check")
	}
	dir := t.TempDir()
	if err := buildtest.BuildReleased(dir, "./cmd/"+program); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, program)
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
