package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
)

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var readyLine = regexp.MustCompile(`msg="the next process is ready" pid=(\d+)`)

// next waits for the n-th process of a row and returns its id.
func (p *process) next(n int) int {
	p.t.Helper()
	var pid int
	p.wait("the next process", func() bool {
		m := readyLine.FindAllStringSubmatch(p.log.String(), -1)
		if len(m) < n {
			return false
		}
		pid, _ = strconv.Atoi(m[n-1][1])
		return strings.Count(p.log.String(), "msg=serving") > n
	})
	p.t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGTERM)
		p.wait("the end of the last process", func() bool { return syscall.Kill(pid, 0) != nil })
	})
	return pid
}

// mustCall opens a session as soon as the gateway takes any, and uses it.
func (p *process) mustCall(c *control, server string) (conn net.Conn) {
	p.t.Helper()
	p.wait("a session", func() bool {
		var a hello.Answer
		var err error
		conn, a, err = p.call(c, server)
		return err == nil && a.Accepted
	})
	ping(p.t, conn)
	return conn
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// TestAnUpgradeLosesNobody: the program is replaced while people come all the time. No
// connection is refused, the session of before runs on to its end, and the control plane
// sees one gateway.
func TestAnUpgradeLosesNobody(t *testing.T) {
	c, server := newControl(t), echo(t)
	p := start(t, c, "-")
	stays := p.mustCall(c, server)
	first := c.last()

	stop, callers := make(chan struct{}), sync.WaitGroup{}
	var mu sync.Mutex
	calls := 0
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, a, err := p.call(c, server)
				mu.Lock()
				calls++
				mu.Unlock()
				if err != nil || !a.Accepted {
					t.Errorf("somebody came during the upgrade: %+v, %v", a, err)
					return
				}
				if conn != nil {
					conn.Close()
				}
			}
		})
	}
	p.cmd.Process.Signal(syscall.SIGUSR2)
	second := p.next(1)
	mu.Lock()
	before := calls
	mu.Unlock()
	p.wait("callers of the next process", func() bool { mu.Lock(); defer mu.Unlock(); return calls > before+20 })
	close(stop)
	callers.Wait()

	ping(t, stays)
	p.wait("one gateway with the same key, and the session of both", func() bool {
		r := c.last()
		return !r.Draining && bytes.Equal(r.SealingKeys[len(r.SealingKeys)-1].ID, first.SealingKeys[0].ID) && r.Uptime >= first.Uptime
	})
	if res, err := http.Get("http://" + p.health + "/readyz"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("readiness after the upgrade: %v, %v", res, err)
	}
	stays.Close()
	select {
	case err := <-p.gone:
		if err != nil {
			t.Errorf("the process of before ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the process of before does not end after its last session")
	}
	p.wait("the end of the first session", func() bool { return len(c.Calls("POST", "/v1/gateway/sessions/gse_1/end")) > 0 })
	var end api.SessionEnd
	ends := c.Calls("POST", "/v1/gateway/sessions/gse_1/end")
	if ends[0].Into(t, &end); len(ends) != 1 || end.Cause != "client" || end.Up != 8 {
		t.Errorf("told %d times, %+v", len(ends), end)
	}
	// And once more, by the process that came.
	if !alive(second) {
		t.Fatal("the next process has ended with the one before")
	}
	syscall.Kill(second, syscall.SIGUSR2)
	p.next(2)
	p.wait("the second one's end", func() bool { return !alive(second) })
	if conn, a, err := p.call(c, server); err != nil || !a.Accepted {
		t.Errorf("after the second upgrade: %+v, %v", a, err)
	} else {
		ping(t, conn)
	}
}

// A program that cannot do the work leaves the process of before as it was.
func TestAProgramThatFailsLeavesTheOldOneServing(t *testing.T) {
	for name, script := range map[string]string{
		"it is none":               "this is no program",
		"it ends at once":          "#!/bin/sh\nexit 1\n",
		"it says something else":   "#!/bin/sh\necho '{\"steady\":true}' >&3\nsleep 1\n",
		"it ends before it begins": "#!/bin/sh\nread x <&3\nexit 0\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, server := newControl(t), echo(t)
			p := start(t, c, "-")
			stays := p.mustCall(c, server)
			replace(t, p.program, script)
			p.cmd.Process.Signal(syscall.SIGUSR2)
			p.wait("the complaint", func() bool { return strings.Contains(p.log.String(), "does not take over: this one goes on") })
			ping(t, stays)
			conn, a, err := p.call(c, server)
			if err != nil || !a.Accepted {
				t.Fatalf("a new session: %+v, %v", a, err)
			}
			ping(t, conn)
			// The right one at last.
			os.Remove(p.program)
			copyFile(t, p.program, os.Args[0])
			p.cmd.Process.Signal(syscall.SIGUSR2)
			p.next(1)
			ping(t, stays)
			stays.Close()
			conn.Close()
		})
	}
}

// replace puts another file in place of a program that runs.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// The control plane does not answer: who takes over could serve nobody, so nobody does.
func TestNoUpgradeWithoutTheControlPlane(t *testing.T) {
	c, server := newControl(t), echo(t)
	p := start(t, c, "-")
	p.mustCall(c, server)
	c.On("POST", "/v1/gateway/report", nobodyThere)
	p.cmd.Process.Signal(syscall.SIGUSR2)
	p.wait("the complaint", func() bool { return strings.Contains(p.log.String(), "does not take over: this one goes on") })
	if _, a, err := p.call(c, server); err != nil || !a.Accepted {
		t.Errorf("%+v, %v", a, err)
	}
}

// The process of before is killed while it still has a session: the next one tells its end.
func TestWhatAKilledProcessOfBeforeCarriedIsToldByTheNextOne(t *testing.T) {
	c, server := newControl(t), echo(t)
	p := start(t, c, "-")
	p.mustCall(c, server)
	p.cmd.Process.Signal(syscall.SIGUSR2)
	p.next(1)
	conn, _, err := p.call(c, server) // by the next one
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Kill()
	<-p.gone
	var end api.SessionEnd
	p.wait("the end of the lost session", func() bool {
		calls := c.Calls("POST", "/v1/gateway/sessions/gse_1/end")
		if len(calls) > 0 {
			calls[0].Into(t, &end)
		}
		return len(calls) > 0
	})
	if end.Cause != "error" {
		t.Errorf("told %+v", end)
	}
	ping(t, conn) // of the other nothing was lost
	if calls := c.Calls("POST", "/v1/gateway/sessions/gse_2/end"); len(calls) > 0 {
		t.Error("a session that lives was said to have ended")
	}
}

func TestAnAddressThatTheConfigurationChangedIsOpenedAnew(t *testing.T) {
	l, err := healthListener(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i := &inheritance{listeners: map[string]*net.TCPListener{"listen=:7234": l}}
	if got := i.take("listen", "127.0.0.1:7234"); got != nil {
		t.Error("the old address was taken for the new one")
	}
	if got := i.take("listen-tls", ":7234"); got != nil {
		t.Error("one option's listener was taken for another's")
	}
	if got := i.take("listen", ":7234"); got != l {
		t.Error("it was not taken")
	}
	if (*inheritance)(nil).take("listen", ":7234") != nil {
		t.Error("the first process inherits something")
	}
}
