package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/hello"
)

// Parts of the control group's limit, in percent.
const (
	// beginPercent is what may be in use, without garbage, for a session to begin: the rest is
	// for what all the sessions do at once, and for garbage.
	beginPercent = 65
	// promisePercent is what all sessions that live may come to need.
	promisePercent = 70
	// collectPercent is what may be in use with garbage: from there on the runtime collects
	// rather than grow.
	collectPercent = 85
	// shortPercent is from where on the kernel may soon have to choose which of all to kill.
	shortPercent = 92
	// leastPercent is the runtime's whatever the kernel's buffers take: with less it would
	// collect all the time and still be killed.
	leastPercent = 25
)

// What a session comes to need when it moves much both ways, in bytes, with the kernel's part. One
// that rests needs a third of it or less, but no buffer that golang.org/x/crypto/ssh has
// made larger gets smaller again.
const (
	relayedNeeds  = 64 << 10
	insideNeeds   = 128 << 10 // in TLS
	recordedNeeds = 512 << 10
)

const (
	// memoryEvery is how long one look holds: what begins in that time takes some
	// megabytes.
	memoryEvery = 250 * time.Millisecond
	// collectEvery is how long the outcome of a collection holds that was asked for to tell
	// garbage from use, and collectCost how many times as long as it took at least: it may
	// take a twentieth of the processor.
	collectEvery = time.Second
	collectCost  = 20
)

// errNoMemory is why no session begins.
var errNoMemory = errors.New("the memory that this gateway may use is nearly used up")

// memoryGroup is the control group (cgroups(7)) whose limit binds this process first.
// The zero value has none.
type memoryGroup struct {
	limit int64 // bytes; 0 is none
	used  func() (int64, error)
	// collect sweeps the heap and returns how much of it then is of no use; nil means this
	// process's own.
	collect func() int64
	// others is what has been promised in other processes of this gateway; nil is nothing.
	others func() int64

	mu      sync.Mutex
	seen    time.Time // of the last look; guarded by mu, as all below
	last    error
	knows   time.Time // until then the outcome of the last collection holds
	garbage int64     // which it was
	promise int64     // what the sessions that live may come to need
}

// memoryOf is what a session may come to need.
func memoryOf(mode hello.Mode, inside bool) int64 {
	switch {
	case mode == hello.Record:
		return recordedNeeds
	case inside:
		return insideNeeds
	}
	return relayedNeeds
}

// LimitMemory tells the runtime of the control group's limit, so that it collects
// rather than be killed. Whoever sets GOMEMLIMIT has decided himself.
func LimitMemory() (limit int64) {
	m := newMemoryGroup("/")
	m.steer()
	return m.limit
}

// KeepMemory keeps the runtime's limit in step with what the kernel needs for the process, until
// ctx ends: sockets, pipes and tables count as much as the heap, and grow with the sessions.
func KeepMemory(ctx context.Context) error {
	for m := newMemoryGroup("/"); m.steer() && ctx.Err() == nil; {
		sleep(ctx, memoryEvery)
	}
	return nil
}

// steer reports whether there is anything to keep in step.
func (m *memoryGroup) steer() bool {
	if m.limit == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return false
	}
	if used, err := m.used(); err == nil {
		debug.SetMemoryLimit(allowance(m.limit, used, runtimeMemory("/memory/classes/total:bytes")-runtimeMemory("/memory/classes/heap/released:bytes")))
	}
	return true
}

// allowance is what the runtime may have in a group with this limit where so much is in use, and
// so much of it the runtime's.
func allowance(limit, used, held int64) int64 {
	return max(part(limit, collectPercent)-max(used-held, 0), part(limit, leastPercent))
}

// runtimeMemory is one of the figures of runtime/metrics.
func runtimeMemory(name string) int64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}

// sweep collects, and returns what the heap then has that nothing is in.
func sweep() int64 {
	runtime.GC()
	return runtimeMemory("/memory/classes/heap/free:bytes") + runtimeMemory("/memory/classes/heap/unused:bytes")
}

// newMemoryGroup finds the tightest limit of the process's group and those above it, in
// either version of control groups. root is "/" outside tests.
func newMemoryGroup(root string) *memoryGroup {
	m := &memoryGroup{}
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, limit, used, total := "sys/fs/cgroup", "memory.max", "memory.current", ""
		if fields[1] == "memory" {
			mount, limit, used, total = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
		} else if fields[1] != "" {
			continue
		}
		// A container may show the path as its host has it; then only the root is there.
		for dir := filepath.Clean("/" + fields[2]); ; dir = filepath.Dir(dir) {
			at := filepath.Join(root, mount, dir)
			if n, ok := readNumber(filepath.Join(at, limit)); ok && n > 0 && n < 1<<60 && (m.limit == 0 || n < m.limit) {
				m.limit = n
				m.used = func() (int64, error) { return usedIn(at, used, total) }
			}
			if dir == "/" {
				break
			}
		}
	}
	return m
}

// usedIn is what a group uses, without the pages of files, which the kernel gives back
// when it needs room. total is before the names of what counts groups below, too.
func usedIn(dir, current, total string) (int64, error) {
	n, ok := readNumber(filepath.Join(dir, current))
	if !ok {
		return 0, fmt.Errorf("%s cannot be read", filepath.Join(dir, current))
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return n, nil
	}
	for s := bufio.NewScanner(bytes.NewReader(stat)); s.Scan(); {
		if name, value, _ := strings.Cut(s.Text(), " "); name == total+"inactive_file" || name == total+"active_file" {
			if pages, err := strconv.ParseInt(value, 10, 64); err == nil {
				n -= min(n, pages)
			}
		}
	}
	return n, nil
}

// readNumber reads a file with one number; "max" is none.
func readNumber(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// part is so many percent of a limit.
func part(limit int64, percent int64) int64 { return limit / 100 * percent }

// room fails while the kernel may soon have to kill somebody.
func (m *memoryGroup) room() error {
	if m.limit == 0 {
		return nil
	}
	used, err := m.used()
	// What cannot be read any more is no reason to turn everybody away.
	if err == nil && used > part(m.limit, shortPercent) {
		return m.short(used)
	}
	return nil
}

func (m *memoryGroup) short(used int64) error {
	return fmt.Errorf("%w: %d of %d MiB", errNoMemory, used>>20, m.limit>>20)
}

// fits fails while a session had better not begin, whatever it is.
func (m *memoryGroup) fits(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admits(ctx, recordedNeeds)
}

// begin promises a session what it may come to need, or says why it had better not begin.
func (m *memoryGroup) begin(ctx context.Context, needs int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.admits(ctx, needs); err != nil {
		return err
	}
	m.promise += needs
	return nil
}

// promised is what all sessions of this gateway may come to need.
func (m *memoryGroup) promised() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all()
}

// all is promised; mu is held.
func (m *memoryGroup) all() int64 {
	if m.others == nil {
		return m.promise
	}
	return m.promise + m.others()
}

// end takes a promise back.
func (m *memoryGroup) end(needs int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.promise -= needs
}

// admits fails where too much is in use, or promised; mu is held.
func (m *memoryGroup) admits(ctx context.Context, needs int64) error {
	if now := time.Now(); now.Sub(m.seen) >= memoryEvery {
		m.seen, m.last = now, memory(ctx)
		if m.last == nil {
			m.last = m.room()
		}
		if m.last == nil {
			m.last = m.needed(now)
		}
	}
	if m.last == nil && m.limit > 0 && m.all()+needs > part(m.limit, promisePercent) {
		return fmt.Errorf("%w: the sessions that live may come to need %d of %d MiB", errNoMemory, m.all()>>20, m.limit>>20)
	}
	return m.last
}

// needed fails while more is in use than beginPercent. Garbage does not count: on a gateway
// that does much most of the heap is that. mu is held.
func (m *memoryGroup) needed(now time.Time) error {
	if m.limit == 0 {
		return nil
	}
	most := part(m.limit, beginPercent)
	used, err := m.used()
	if err != nil || used <= most {
		return nil
	}
	if now.After(m.knows) {
		collect := m.collect
		if collect == nil {
			collect = sweep
		}
		m.garbage = collect()
		m.knows = time.Now().Add(max(collectEvery, collectCost*time.Since(now)))
		if used, err = m.used(); err != nil {
			return nil
		}
	}
	if used-m.garbage > most {
		return m.short(used - m.garbage)
	}
	return nil
}
