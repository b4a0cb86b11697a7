package vhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxLog is how much of a program's output is kept, from its beginning.
const maxLog = 8 << 20

// Process is a program that runs for a while; its output is kept.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done

	mu  sync.Mutex
	log strings.Builder
}

// Start starts a command, of a host or of a network, and keeps what it writes
// to stdout and stderr.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Write is for the program's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(b[:max(0, min(len(b), maxLog-p.log.Len()))])
	return len(b), nil
}

// Log is what the program has written so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// WaitLog waits until the program has written text.
func (p *Process) WaitLog(ctx context.Context, text string) error {
	for !strings.Contains(p.Log(), text) {
		select {
		case <-p.done:
			if strings.Contains(p.Log(), text) {
				return nil
			}
			return fmt.Errorf("it ended without having said %q: %v", text, p.err)
		case <-ctx.Done():
			return fmt.Errorf("it has not said %q: %w", text, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
	return nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns the error of exec.Cmd's Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// PID is the program's process id as the machine sees it: not that of nsenter,
// which stands between us and a program in a host.
func (p *Process) PID() int {
	pid := p.cmd.Process.Pid
	for range 200 {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || filepath.Base(exe) != filepath.Base(nsenterProgram) {
			return pid
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return pid
		}
		var child int
		if _, err := fmt.Sscan(string(text), &child); err == nil {
			pid = child // which is a second nsenter until it has become the program
			continue
		}
		time.Sleep(pollEvery) // nsenter is just about to fork or to exec
	}
	return pid
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return syscall.Kill(p.PID(), s)
	}
}

// Stop asks the program to end, kills it after grace, and waits.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Signal(syscall.SIGKILL)
		p.cmd.Cancel()
	}
	return p.Wait()
}
