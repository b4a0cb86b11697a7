package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/internal/daemon"
)

const (
	// healthEvery is how soon a change of health is seen, and so reported.
	healthEvery = 5 * time.Second
	// minDisk is what the state folder must have free, for credential and log.
	minDisk = 64 << 20
	// minMemory is what the machine must have available: below it the kernel
	// is about to kill somebody.
	minMemory = 64 << 20
	// acceptGrace is how long a failed accept counts, if none succeeds since.
	acceptGrace = 30 * time.Second
)

// health is what this gateway says of itself.
type health struct {
	checks   daemon.Health
	stateDir string
	files    int // limit on open files; 0 unknown

	mu        sync.Mutex
	acceptErr error
	acceptAt  time.Time
	last      string // what look found last
}

func newHealth(stateDir string, group *memoryGroup) *health {
	h := &health{stateDir: stateDir, files: fileLimit()}
	h.checks.Ready("listening", h.listening)
	h.checks.Ready("disk", h.disk)
	h.checks.Ready("memory", group.fits)
	h.checks.Ready("descriptors", h.descriptors)
	h.checks.Figures(h.figures(nil))
	return h
}

// figures are what the machine says of itself, and what else there is to tell.
func (h *health) figures(more func() map[string]int64) func() map[string]int64 {
	return func() map[string]int64 {
		all := map[string]int64{}
		if more != nil {
			all = more()
		}
		if percent, ok := load("/", runtime.NumCPU()); ok {
			all["load_percent"] = percent
		}
		return all
	}
}

// look runs the checks and says whether the outcome has changed.
func (h *health) look(ctx context.Context) (changed bool) {
	failing := h.checks.Failing(ctx, true)
	delete(failing, "draining") // told by itself
	delete(failing, "refusing") // told by itself, or known there
	delete(failing, "control")  // whoever hears it knows
	var parts []string
	for name, why := range failing {
		parts = append(parts, name+": "+why)
	}
	slices.Sort(parts)
	text := strings.Join(parts, "; ")
	h.mu.Lock()
	defer h.mu.Unlock()
	changed, h.last = h.last != text, text
	return changed
}

// why is empty for a healthy gateway.
func (h *health) why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acceptErr != nil {
		return "listening: " + h.acceptErr.Error()
	}
	return h.last
}

// acceptFailed notes a failed accept and says whether it is the first of a row.
func (h *health) acceptFailed(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.acceptErr == nil
	h.acceptErr, h.acceptAt = err, time.Now()
	return first
}

// accepted notes a good accept and says whether it ends a row of failed ones.
func (h *health) accepted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	ends := h.acceptErr != nil
	h.acceptErr = nil
	return ends
}

func (h *health) listening(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acceptErr != nil && time.Since(h.acceptAt) > acceptGrace {
		h.acceptErr = nil // nobody came since; the next one will show
	}
	return h.acceptErr
}

func (h *health) disk(context.Context) error {
	if h.stateDir == "" {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(h.stateDir, &st); err != nil {
		return err
	}
	if free := uint64(st.Bavail) * uint64(st.Bsize); free < minDisk {
		return fmt.Errorf("%d MiB free below %s, want %d", free>>20, h.stateDir, minDisk>>20)
	}
	return nil
}

// descriptors sounds before the last tenth of them is used.
func (h *health) descriptors(context.Context) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil || h.files == 0 {
		return nil // not Linux: accept will tell
	}
	if len(open) > h.files-h.files/10 {
		return fmt.Errorf("%d of %d files are open", len(open), h.files)
	}
	return nil
}

// memory reads what the kernel thinks can still be had.
func memory(context.Context) error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil // not Linux
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return errors.New("/proc/meminfo is malformed")
		}
		if kib<<10 < minMemory {
			return fmt.Errorf("%d MiB of memory are left, want %d", kib>>10, minMemory>>20)
		}
	}
	return nil
}

// load is the load of the last minute in hundredths of a processor, by how many there
// are: 100 is a busy machine. It is told and judged by nobody: a busy gateway is better than
// none, and one that passes bytes hardly makes any itself. ok is false where it is not known.
func load(root string, count int) (percent int64, ok bool) {
	text, err := os.ReadFile(filepath.Join(root, "proc/loadavg"))
	if err != nil {
		return 0, false // not Linux
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	return int64(math.Round(100 * load / float64(count))), err == nil && load >= 0
}

// fileLimit is the limit on open files of this process, which the Go runtime
// has raised to the hard one.
func fileLimit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int(min(l.Cur, 1<<20))
}
