//go:build unix

package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
)

// managed is a service manager with the agent's sockets, as systemd.
type managed struct {
	*testing.T
	control *agent.Control
	files   []*os.File
}

func newManaged(t *testing.T) managed {
	t.Setenv("XDG_RUNTIME_DIR", agenttest.ShortDir(t))
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	paths, err := agent.DefaultPaths()
	if err == nil {
		err = os.Mkdir(paths.Run, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := managed{T: t, control: &agent.Control{Paths: paths}}
	for _, path := range []string{paths.SSHSocket(), paths.ControlSocket()} {
		m.files = append(m.files, m.listen(path))
	}
	return m
}

func (m managed) listen(path string) *os.File {
	m.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		m.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		m.Fatal(err)
	}
	l.Close()
	m.Cleanup(func() { f.Close() })
	return f
}

// start starts an agent as systemd does, and returns how it ended.
func (m managed) start(files []*os.File) (ended chan error, stderr *strings.Builder) {
	m.Helper()
	cmd := exec.Command("sh", "-c", "LISTEN_FDS=2 LISTEN_PID=$$ exec cardea agent run")
	stderr = &strings.Builder{}
	cmd.ExtraFiles, cmd.Stderr = files, stderr
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	m.Cleanup(func() { cmd.Process.Kill() })
	return ended, stderr
}

// The sockets stay with systemd, which starts the next agent: a stop that asked there whether
// the agent is gone would start one.
func TestAnAgentTakesTheSocketsOfAServiceManagerAndLeavesThemThere(t *testing.T) {
	m := newManaged(t)
	last := 0
	for range 2 {
		ended, _ := m.start(m.files)
		s, err := m.control.Status(t.Context()) // it waits in the socket until the agent is there
		if err != nil || s.PID == last {
			t.Fatalf("process %d after %d, %v", s.PID, last, err)
		}
		last = s.PID
		if out, err := exec.Command("cardea", "agent", "stop").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("it ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("it runs although it was stopped")
		}
	}
	if out, err := exec.Command("cardea", "agent", "stop").CombinedOutput(); err != nil || !strings.Contains(string(out), "does not run") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSocketsOfOtherPathsAreRefused(t *testing.T) {
	m := newManaged(t)
	other := m.listen(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "x"))
	ended, stderr := m.start([]*os.File{m.files[0], other})
	if err := <-ended; err == nil || !strings.Contains(stderr.String(), "cardea agent install") {
		t.Errorf("%v: %s", err, stderr)
	}
}
