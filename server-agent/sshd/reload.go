package sshd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// reload makes sshd read its configuration: by systemd where that runs the
// host, else by SIGHUP to the process in sshd's pid file. sshd then starts
// itself anew, and writes the pid file again when it listens; until then a
// login would prove the old configuration.
func (m *Manager) reload(ctx context.Context, pidFile string) error {
	before := stamp(pidFile)
	systemd := false
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		systemd = true
		if err := m.reloadBySystemd(ctx); err != nil {
			return err
		}
	} else if err := hangUp(pidFile); err != nil {
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
	if systemd {
		return nil // a unit may run sshd without a pid file; the proof will tell
	}
	return errors.New("sshd did not come back after SIGHUP")
}

// reloadBySystemd knows both names of the unit: Debian's and everybody else's.
func (m *Manager) reloadBySystemd(ctx context.Context) error {
	for _, unit := range []string{"ssh.service", "sshd.service"} {
		out, err := m.run(ctx, systemctl, "show", "--property=LoadState", "--value", unit)
		if err == nil && strings.TrimSpace(string(out)) == "loaded" {
			_, err := m.run(ctx, systemctl, "try-reload-or-restart", unit)
			return err
		}
	}
	return errors.New("systemd knows no unit ssh.service or sshd.service")
}

// hangUp sends SIGHUP, after making sure that the pid is that of an sshd.
func hangUp(pidFile string) error {
	raw, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRunning, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid < 2 {
		return fmt.Errorf("%s does not hold a process id", pidFile)
	}
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is left from an earlier one", errNotRunning, pidFile)
	}
	if name := strings.TrimSuffix(filepath.Base(exe), " (deleted)"); err != nil || name != "sshd" {
		return fmt.Errorf("the process %d in %s is not sshd", pid, pidFile)
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
