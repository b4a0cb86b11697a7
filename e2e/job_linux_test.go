package e2e

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// job is a command that runs while the script goes on.
type job struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   buffer
	errs  buffer
	done  chan struct{}
	end   context.CancelFunc
}

// buffer may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// begin starts cmd, which ends with cancel.
func begin(cmd *exec.Cmd, cancel context.CancelFunc) (*job, error) {
	j := &job{cmd: cmd, done: make(chan struct{}), end: cancel}
	var err error
	if j.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = &j.out, &j.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(j.done)
	}()
	return j, nil
}

// heard waits until the command has said what the pattern describes.
func (j *job) heard(pattern *regexp.Regexp, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if pattern.MatchString(j.out.String()) || pattern.MatchString(j.errs.String()) {
			return nil
		}
		select {
		case <-j.done:
			if pattern.MatchString(j.out.String()) || pattern.MatchString(j.errs.String()) {
				return nil
			}
			return fmt.Errorf("it ended with code %d without having said %q: %s%s", j.code(), pattern, j.out.String(), j.errs.String())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("in %v it has not said %q: %s%s", patience, pattern, j.out.String(), j.errs.String())
		}
	}
}

// finish ends its stdin and waits for its end.
func (j *job) finish(patience time.Duration) error {
	j.stdin.Close()
	return j.wait(patience)
}

func (j *job) wait(patience time.Duration) error {
	select {
	case <-j.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("it still runs after %v: %s%s", patience, j.out.String(), j.errs.String())
	}
}

func (j *job) running() bool {
	select {
	case <-j.done:
		return false
	default:
		return true
	}
}

func (j *job) kill() {
	j.end()
	<-j.done
}

// code is how it ended: that of a shell if a signal did it.
func (j *job) code() int { return code(j.cmd) }

func code(cmd *exec.Cmd) int {
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return cmd.ProcessState.ExitCode()
}
