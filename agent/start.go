package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cardea-ssh/cardea/agent/socket"
	"github.com/cardea-ssh/cardea/internal/filelock"
)

const (
	// startTime is how long a started agent has until it must answer.
	startTime = 5 * time.Second
	// startPoll is how often that is looked at. A start takes about 20 ms.
	startPoll = 5 * time.Millisecond
)

// dial connects to the control socket. If nobody answers and Start is set, it starts an
// agent; of many callers at once one does, and the others wait for it.
func (c *Control) dial(ctx context.Context) (net.Conn, error) {
	began := time.Now()
	if conn, err := c.connect(); err == nil {
		c.note(began, "the agent was found")
		return conn, nil
	}
	if c.Start == nil {
		return nil, fmt.Errorf("%w; type: cardea agent start", ErrNotRunning)
	}
	if err := c.Paths.prepare(); err != nil {
		return nil, err
	}
	lock, _, err := filelock.Take(filepath.Join(c.Paths.Run, startLock), true)
	if err != nil {
		return nil, fmt.Errorf("start the local agent: %w", err)
	}
	defer lock.Close()
	if conn, err := c.connect(); err == nil {
		return conn, nil // somebody else started it while we waited
	}
	ended, err := c.Start()
	if err != nil {
		return nil, fmt.Errorf("start the local agent: %w", err)
	}
	for end, over := time.Now().Add(startTime), false; time.Now().Before(end) && !over; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ended:
			over = true // another one may answer, because of which it has
		case <-time.After(startPoll):
		}
		if conn, err := c.connect(); err == nil {
			c.note(began, "the agent was started")
			return conn, nil
		}
	}
	return nil, fmt.Errorf("the local agent did not start; its log may say why: %s", c.Paths.Log())
}

// connect connects, and makes sure that the socket is served by the user himself.
func (c *Control) connect() (net.Conn, error) {
	conn, err := socket.Dial(c.Paths.ControlSocket())
	if err != nil {
		return nil, err
	}
	if _, err := socket.Check(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Background starts program with args as a process that outlives this one: no terminal, no
// standard streams but the log file. It does not wait until the agent answers; ended is closed
// when it has ended before this process.
func Background(p Paths, program string, args ...string) (ended <-chan struct{}, err error) {
	if err := p.prepare(); err != nil {
		return nil, err
	}
	log, err := openLog(p.Log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.VolumeName(p.State) + string(filepath.Separator) // not to hold a file system that the user wants to unmount
	cmd.Stderr = log
	cmd.SysProcAttr = detached()
	defer keepDescriptors()()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	over := make(chan struct{})
	go func() { // it ends with this process, which waits for nobody
		defer close(over)
		cmd.Wait()
	}()
	return over, nil
}

// maxLog is where the log begins anew: it tells about today, not about the year.
const maxLog = 1 << 20

func openLog(path string) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}
