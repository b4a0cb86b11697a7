package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// memoryShare is the part of the control group's limit that must stay free, one
	// in so many: below it no session begins, so that the kernel never has to choose
	// which of the live ones to kill. In 256 MiB that is 32.
	memoryShare = 8
	// memoryEvery is how long one look holds: what begins in that time takes some
	// megabytes.
	memoryEvery = 250 * time.Millisecond
	// goShare of the limit is what the runtime may use before it collects all the
	// time, in tenths; the rest is for the kernel's buffers.
	goShare = 9
)

// errNoMemory is why no session begins.
var errNoMemory = errors.New("the memory that this gateway may use is nearly used up")

// memoryGroup is the control group (cgroups(7)) whose limit binds this process first.
// The zero value has none.
type memoryGroup struct {
	limit int64 // bytes; 0 is none
	used  func() (int64, error)

	mu   sync.Mutex
	seen time.Time // guarded by mu
	last error
}

// LimitMemory tells the runtime of the control group's limit, so that it collects
// rather than be killed. Whoever sets GOMEMLIMIT has decided himself.
func LimitMemory() (limit int64) {
	m := newMemoryGroup("/")
	if m.limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(m.limit / 10 * goShare)
	}
	return m.limit
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
		mount, limit, used, file := "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
		if fields[1] == "memory" {
			mount, limit, used, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		} else if fields[1] != "" {
			continue
		}
		// A container may show the path as its host has it; then only the root is there.
		for dir := filepath.Clean("/" + fields[2]); ; dir = filepath.Dir(dir) {
			at := filepath.Join(root, mount, dir)
			if n, ok := readNumber(filepath.Join(at, limit)); ok && n > 0 && n < 1<<60 && (m.limit == 0 || n < m.limit) {
				m.limit = n
				m.used = func() (int64, error) { return usedIn(at, used, file) }
			}
			if dir == "/" {
				break
			}
		}
	}
	return m
}

// usedIn is what a group uses, without the pages of files that the kernel gives back
// when it needs room.
func usedIn(dir, current, inactive string) (int64, error) {
	n, ok := readNumber(filepath.Join(dir, current))
	if !ok {
		return 0, fmt.Errorf("%s cannot be read", filepath.Join(dir, current))
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return n, nil
	}
	for s := bufio.NewScanner(bytes.NewReader(stat)); s.Scan(); {
		if name, value, _ := strings.Cut(s.Text(), " "); name == inactive {
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

// room fails while less than the share of the limit is free.
func (m *memoryGroup) room() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit == 0 {
		return nil
	}
	if now := time.Now(); now.Sub(m.seen) >= memoryEvery {
		m.seen, m.last = now, nil
		// What cannot be read any more is no reason to turn everybody away.
		if used, err := m.used(); err == nil && used > m.limit-m.limit/memoryShare {
			m.last = fmt.Errorf("%w: %d of %d MiB", errNoMemory, used>>20, m.limit>>20)
		}
	}
	return m.last
}
