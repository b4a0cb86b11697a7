// Package tpmtest starts a software TPM 2.0 (swtpm) for tests.
package tpmtest

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startTime is how long a loaded machine may take to start it.
const startTime = 30 * time.Second

// Chip is a TPM that ends with its test.
type Chip struct {
	Path string // of its socket

	t    testing.TB
	dir  string
	quit func()
}

// Start starts a TPM that has never been used. The test is skipped where swtpm is missing.
func Start(t testing.TB) *Chip {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("SKIPPED: there is no swtpm on this machine (package swtpm)")
	}
	c := &Chip{t: t, dir: t.TempDir()}
	c.Path = filepath.Join(c.dir, "tpm")
	c.start()
	t.Cleanup(func() { c.quit() })
	return c
}

// Restart is a reboot: loaded keys are gone, the TPM's seed is not.
func (c *Chip) Restart() {
	c.t.Helper()
	c.quit()
	c.start()
}

func (c *Chip) start() {
	c.t.Helper()
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--flags", "not-need-init,startup-clear",
		"--server", "type=unixio,path="+c.Path)
	var said logs
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	c.quit = func() {
		cmd.Process.Kill()
		<-ended
	}
	for end := time.Now().Add(startTime); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", c.Path)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			c.t.Fatalf("swtpm ended: %s", said)
		default:
		}
		if time.Now().After(end) {
			c.quit()
			c.t.Fatalf("swtpm does not answer: %v\n%s", err, said)
		}
	}
}

// logs are read once their writer is gone, or does not matter.
type logs []byte

func (l *logs) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	return len(p), nil
}
