//go:build linux

package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is one of our programs; what it says lies in a log file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a program of ours that ends when this process does.
func (s *Stage) start(name string, env []string, argv ...string) (*process, error) {
	dir, err := s.dir("log")
	if err != nil {
		return nil, err
	}
	p := &process{log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(s.environment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// environment is what every program of the stage gets; nothing of the person
// who runs it, so that the same happens everywhere.
func (s *Stage) environment() []string {
	return []string{
		"PATH=" + s.opt.Bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "CARDEA_STAGE=" + s.opt.Dir,
		"GORACE=" + os.Getenv("GORACE"), // of programs with the race detector
	}
}

// alive reports an error with the end of the log once the program has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %s", filepath.Base(p.cmd.Path), p.tail())
	default:
		return nil
	}
}

// tail is the end of what the program said.
func (p *process) tail() string {
	const most = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// stopTime is how long a program may take to end when asked: the control plane lets
// calls in flight finish, which have 20 s.
const stopTime = 30 * time.Second

// stop asks it to end, then makes it; nil and ended processes are fine.
func (p *process) stop() error {
	if p == nil || p.alive() != nil {
		return nil
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTime):
		return errors.Join(p.kill(), fmt.Errorf("%s did not end when asked", filepath.Base(p.cmd.Path)))
	}
}

// kill ends it without a word.
func (p *process) kill() error {
	if p == nil || p.alive() != nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}
