package vhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// sshdPID is where sshd writes its process id when it is ready: it listens,
// and handles SIGHUP.
const sshdPID = "/run/sshd.pid"

// StartSSHD starts the real sshd on port 22, with the configuration in
// /etc/ssh. Its log is /var/log/auth.log, by syslog.
func (h *Host) StartSSHD(ctx context.Context) error {
	if h.systemd {
		_, err := h.Run(ctx, "/usr/bin/systemctl", "start", "ssh.service")
		return err
	}
	if h.sshd != nil {
		return errors.New("sshd was started already")
	}
	args := []string{"-D"}
	// From 9.8 on sshd shuts out addresses from which logins fail; in tests
	// all of them come from the same.
	const penalties = "-oPerSourcePenalties=no"
	if _, err := h.Run(ctx, "/usr/sbin/sshd", "-t", penalties); err == nil {
		args = append(args, penalties)
	}
	p, err := h.Start(context.Background(), "/usr/sbin/sshd", args...) // lives as long as the host
	if err != nil {
		return err
	}
	h.sshd = p
	return h.awaitSSHD(ctx, 0)
}

// ReloadSSHD makes sshd read its configuration again, as the server agent
// does, and waits until it has.
func (h *Host) ReloadSSHD(ctx context.Context) error {
	if h.systemd {
		_, err := h.Run(ctx, "/usr/bin/systemctl", "reload", "ssh.service")
		return err
	}
	before, err := h.sshdStarted()
	if err != nil {
		return fmt.Errorf("sshd is not running: %w", err)
	}
	if err := h.sshd.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return h.awaitSSHD(ctx, before)
}

// StopSSHD ends sshd but not the sessions in it, as a restart does.
func (h *Host) StopSSHD() error {
	if h.systemd {
		_, err := h.Run(context.Background(), "/usr/bin/systemctl", "stop", "ssh.service")
		return err
	}
	if h.sshd == nil {
		return nil
	}
	err := h.sshd.Stop(waitDelay)
	h.sshd = nil
	return err
}

// HostKey is sshd's public key, as a line of its .pub file.
func (h *Host) HostKey() (string, error) {
	text, err := h.ReadFile("/etc/ssh/ssh_host_ed25519_key.pub")
	return strings.TrimSpace(string(text)), err
}

// sshdStarted tells one start of sshd from the next: it is the number of the
// file with its process id, which sshd removes and writes anew.
func (h *Host) sshdStarted() (inode uint64, err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(h.inside(sshdPID), &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

func (h *Host) awaitSSHD(ctx context.Context, before uint64) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if at, err := h.sshdStarted(); err == nil && at != before {
			return nil
		}
		select {
		case <-h.sshd.Done():
			return fmt.Errorf("sshd ended: %v: %s%s", h.sshd.Wait(), h.sshd.Log(), h.authLog())
		case <-ctx.Done():
			return fmt.Errorf("sshd is not ready: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

func (h *Host) authLog() string {
	text, _ := os.ReadFile(h.inside("/var/log/auth.log"))
	return string(text)
}
