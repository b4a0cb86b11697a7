package sshd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reloadScene is a host's files and what its programs say.
type reloadScene struct {
	name    string
	folders []string          // below the root
	pid     string            // what the pid file holds, "" for none
	exe     string            // the program of process 77, "" for no such process
	says    map[string]string // output of systemctl by unit
	fails   string            // a program whose call fails
	pidFile string            // another than the usual

	want string // what was called last, "" for nothing
	sure bool
	err  string
}

func TestWhoeverRunsSSHDIsToldToReloadIt(t *testing.T) {
	const (
		on      = "LoadState=loaded\nActiveState=active\n"
		off     = "LoadState=loaded\nActiveState=inactive\n"
		none    = "LoadState=not-found\nActiveState=inactive\n"
		systemd = "run/systemd/system"
		openrc  = "run/openrc/started/sshd"
		reload  = "/usr/bin/systemctl try-reload-or-restart "
		hup     = "kill -HUP 77"
	)
	for _, tc := range []reloadScene{
		{name: "systemd on Debian", folders: []string{systemd}, says: map[string]string{"ssh.service": on, "sshd.service": none}, want: reload + "ssh.service", sure: true},
		{name: "systemd elsewhere", folders: []string{systemd}, says: map[string]string{"ssh.service": none, "sshd.service": on}, want: reload + "sshd.service", sure: true},
		{name: "systemd with both, of which one runs", folders: []string{systemd}, says: map[string]string{"ssh.service": off, "sshd.service": on}, want: reload + "sshd.service", sure: true},
		{name: "systemd that reloads it already", folders: []string{systemd}, says: map[string]string{"ssh.service": "ActiveState=reloading\nLoadState=loaded\n", "sshd.service": none}, want: reload + "ssh.service", sure: true},
		{name: "systemd whose socket starts it for the first connection", folders: []string{systemd}, says: map[string]string{"ssh.service": off, "sshd.service": none}},
		{name: "systemd, and sshd started by hand beside a unit that is off", folders: []string{systemd}, pid: "77\n", exe: "/usr/sbin/sshd", says: map[string]string{"ssh.service": off, "sshd.service": none}, want: hup, sure: true},
		{name: "systemd, and sshd started by hand without a unit", folders: []string{systemd}, pid: "77\n", exe: "/usr/sbin/sshd", says: map[string]string{"ssh.service": none, "sshd.service": none}, want: hup, sure: true},
		{name: "systemd without any sshd", folders: []string{systemd}, says: map[string]string{"ssh.service": none, "sshd.service": none}, err: "knows no unit"},
		{name: "systemd that refuses", folders: []string{systemd}, says: map[string]string{"ssh.service": on}, fails: "try-reload-or-restart", err: "refused", want: reload + "ssh.service"},
		{name: "systemd that does not answer, and no pid file", folders: []string{systemd}, fails: "show", err: "refused"},
		{name: "OpenRC", folders: []string{openrc}, pid: "77\n", exe: "/usr/sbin/sshd", want: "/sbin/rc-service sshd reload", sure: true},
		{name: "OpenRC that refuses", folders: []string{openrc}, fails: "sshd", want: "/sbin/rc-service sshd reload", err: "refused"},
		{name: "OpenRC that did not start it", folders: []string{"run/openrc/started"}, pid: "77\n", exe: "/usr/sbin/sshd", want: hup, sure: true},
		{name: "nobody", pid: "77\n", exe: "/usr/sbin/sshd", want: hup, sure: true},
		{name: "nobody, and sshd was upgraded meanwhile", pid: "77", exe: "/usr/sbin/sshd (deleted)", want: hup, sure: true},
		{name: "a pid file left by one that is gone", pid: "77\n", err: "left from an earlier one"},
		{name: "a pid that another program has by now", pid: "77\n", exe: "/usr/bin/postgres", err: "is not sshd"},
		{name: "no pid file", err: "sshd does not run"},
		{name: "a pid file that holds something else", pid: "1\n", exe: "/usr/sbin/sshd", err: "does not hold a process id"},
		{name: "no pid file wanted", pidFile: "none", err: "PidFile none"},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t) })
	}
}

func (tc reloadScene) run(t *testing.T) {
	root := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range tc.folders {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if tc.pid != "" {
		put("run/sshd.pid", tc.pid)
	}
	if tc.exe != "" {
		put("proc/77/x", "")
		if err := os.Symlink(tc.exe, filepath.Join(root, "proc/77/exe")); err != nil {
			t.Fatal(err)
		}
	}
	var last string
	m := Manager{Run: func(_ context.Context, argv ...string) ([]byte, error) {
		if argv[1] != "show" {
			last = strings.Join(argv, " ")
		}
		if tc.fails != "" && argv[1] == tc.fails {
			return nil, errors.New("refused")
		}
		return []byte(tc.says[argv[len(argv)-1]]), nil
	}}
	pidFile := "/run/sshd.pid"
	if tc.pidFile != "" {
		pidFile = tc.pidFile
	}
	sure, err := m.tellSSHD(t.Context(), root, pidFile)
	if last != tc.want || sure != tc.sure {
		t.Errorf("called %q, sure %v; want %q, %v", last, sure, tc.want, tc.sure)
	}
	if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
		t.Errorf("err = %v, want %q", err, tc.err)
	}
}
