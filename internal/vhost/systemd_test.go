//go:build linux

package vhost

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAHostRunBySystemd(t *testing.T) {
	if err := CheckSystemd(); errors.Is(err, ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	before := machine(t)
	tmp, err := os.MkdirTemp("", "cardea-vhost")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	n := network(t, NetworkOptions{Private: true})
	h := newHost(t, n, Options{Name: "systemd-1", Systemd: true, Install: true})
	if err := h.StartSSHD(t.Context()); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat /proc/1/comm":               "systemd",
		"systemctl is-active ssh":        "active",
		"systemctl is-active user.slice": "active",
		"systemctl --failed --no-legend": "",
		"touch /usr/bin/new && echo ok":  "ok",
	} {
		if got := strings.TrimSpace(run(t, h, "/bin/sh", "-c", command)); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	// A service that dies is started again: it is systemd that runs it.
	if err := h.WriteFile("/etc/systemd/system/nap.service", []byte("[Service]\nExecStart=/usr/bin/sleep infinity\nRestart=always\nRestartSec=0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := func() string { return strings.TrimSpace(run(t, h, "systemctl", "show", "-P", "MainPID", "nap")) }
	run(t, h, "systemctl", "start", "nap")
	first := pid()
	run(t, h, "kill", first)
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	for now := first; now == first || now == "0"; now = pid() {
		if ctx.Err() != nil {
			t.Fatal("the service was not started again")
		}
		time.Sleep(pollEvery)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(tmp); err != nil {
		t.Error("the machine's /tmp was tidied up")
	}
	wantSame(t, before)
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if left, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"systemd-1-*")); len(left) > 0 {
			t.Errorf("control groups are left: %q", left)
		}
	}
}
