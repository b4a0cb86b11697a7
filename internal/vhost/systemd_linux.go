package vhost

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// groupPrefix begins the names of the control groups of hosts with systemd.
const groupPrefix = "cardea-vhost-"

// CheckSystemd reports why no host with systemd can be made here, wrapping
// ErrUnable, or nil.
func CheckSystemd() error {
	if err := Check(); err != nil {
		return err
	}
	for _, program := range []string{"/lib/systemd/systemd", "/usr/bin/systemctl", "/usr/bin/dbus-daemon"} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w: install systemd and dbus: there is no %s", ErrUnable, program)
		}
	}
	// Whoever makes a host at the same time removes groups that nobody uses, this one too.
	probe := exec.Command(shellProgram, "-c", "mount --make-rprivate / && mount -t cgroup2 groups /mnt && mkdir $0 && { rmdir $0 || ! test -e $0; }", "/mnt/"+groupPrefix+"probe-"+rand.Text())
	probe.SysProcAttr = namespaces()
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: the kernel refuses control groups: %v: %s", ErrUnable, err, firstLine(out))
	}
	return nil
}

// awaitSystemd waits until systemd has started all that belongs to the host.
func (h *Host) awaitSystemd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*readyTimeout) // many services
	defer cancel()
	for {
		out, err := h.Run(ctx, "/usr/bin/systemctl", "is-system-running")
		state := strings.TrimSpace(out)
		if err == nil || state == "degraded" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("systemd is not ready (%s): %w", state, ctx.Err())
		case <-time.After(10 * pollEvery):
		}
	}
}

// removeGroups removes the control groups of hosts that are gone, also those
// whose maker was killed: the kernel does not.
func removeGroups() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			groups, _ := filepath.Glob(filepath.Join(f[1], groupPrefix+"*"))
			for _, g := range groups {
				removeGroup(g)
			}
		}
	}
}

func removeGroup(dir string) {
	events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil || !strings.Contains(string(events), "populated 0") {
		return
	}
	var below []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for _, path := range slices.Backward(below) {
		os.Remove(path)
	}
}
