package sshd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reloadWait is how long sshd may take to start itself anew; it reads its
// configuration and loads its keys, which takes a tenth of a second.
const reloadWait = 10 * time.Second

// errNotRunning: there is no sshd to tell anything.
var errNotRunning = errors.New("sshd does not run")

// reload makes sshd read its configuration, in the way of whatever started it.
// sshd then starts itself anew, and writes its pid file again when it listens;
// until then a login would prove the old configuration.
func (m *Manager) reload(ctx context.Context, pidFile string) error {
	before := stamp(pidFile)
	sure, err := m.tellSSHD(ctx, "/", pidFile)
	if err != nil || !sure {
		return err
	}
	for deadline := time.Now().Add(reloadWait); time.Now().Before(deadline); {
		if now := stamp(pidFile); now != "" && now != before {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	if before == "" {
		return nil // a service may run sshd without a pid file; the proof will tell
	}
	return errors.New("sshd did not come back after it was told to reload")
}

// tellSSHD tells the one who runs sshd to reload it: systemd, OpenRC, or nobody
// but itself. root is where the host's files are. sure is false if no running
// sshd was there that could write its pid file anew.
func (m *Manager) tellSSHD(ctx context.Context, root, pidFile string) (sure bool, err error) {
	var service error
	switch {
	case isDir(filepath.Join(root, "run/systemd/system")):
		unit, active, err := m.systemdUnit(ctx)
		if active {
			_, err := m.run(ctx, systemctl, "try-reload-or-restart", unit)
			return err == nil, err
		}
		if unit == "" {
			service = cmp.Or(err, errors.New("systemd knows no unit ssh.service or sshd.service"))
		}
		// Whoever has started sshd by hand has it beside a unit that is off. And
		// where a socket unit starts it for the first connection nothing has to be
		// reloaded.
		if err := m.hangUp(root, pidFile); !errors.Is(err, errNotRunning) {
			return err == nil, err
		}
		return false, service
	case exists(filepath.Join(root, "run/openrc/started", openRCService)):
		if _, err := m.run(ctx, rcService, openRCService, "reload"); err != nil {
			return false, err
		}
		return true, nil
	}
	err = m.hangUp(root, pidFile)
	return err == nil, err
}

// systemdUnit returns the unit of sshd, "" if there is none, and whether it runs.
// It knows both names: Debian's and everybody else's.
func (m *Manager) systemdUnit(ctx context.Context) (unit string, active bool, err error) {
	for _, name := range []string{"ssh.service", "sshd.service"} {
		out, err := m.run(ctx, systemctl, "show", "--property=LoadState", "--property=ActiveState", name)
		if err != nil {
			return unit, false, err
		}
		lines := strings.Fields(string(out))
		if !slices.Contains(lines, "LoadState=loaded") {
			continue
		}
		if slices.Contains(lines, "ActiveState=active") || slices.Contains(lines, "ActiveState=reloading") {
			return name, true, nil
		}
		unit = cmp.Or(unit, name)
	}
	return unit, false, nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// hangUp sends SIGHUP, after making sure that the pid is that of an sshd.
func (m *Manager) hangUp(root, pidFile string) error {
	if pidFile == "" || pidFile == "none" {
		return errors.New("sshd has no PidFile, and nothing that runs it is known; remove PidFile none from its configuration")
	}
	raw, err := os.ReadFile(filepath.Join(root, pidFile))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRunning, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid < 2 {
		return fmt.Errorf("%s does not hold a process id", pidFile)
	}
	exe, err := os.Readlink(filepath.Join(root, "proc", strconv.Itoa(pid), "exe"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is left from an earlier one", errNotRunning, pidFile)
	}
	if name := strings.TrimSuffix(filepath.Base(exe), " (deleted)"); err != nil || name != "sshd" {
		return fmt.Errorf("the process %d in %s is not sshd", pid, pidFile)
	}
	if m.Run != nil {
		_, err := m.Run(context.Background(), "kill", "-HUP", strconv.Itoa(pid)) // a test's
		return err
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}

// stamp changes whenever the file is written anew; empty if there is none.
func stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return ""
	}
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprint(info.ModTime().UnixNano(), inode)
}
