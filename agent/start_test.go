package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
)

// TestMain is "cardea agent" for the tests that start one as a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		var o agent.Options
		if err := json.Unmarshal([]byte(os.Args[2]), &o.Paths); err != nil {
			panic(err)
		}
		o.Account, o.Binary = &agenttest.Account{}, "/usr/bin/cardea"
		fmt.Fprintln(os.Stderr, "started", os.Getpid())
		if err := agent.Run(context.Background(), o); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func starter(t *testing.T, w *agenttest.World) *agent.Control {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := json.Marshal(w.Paths)
	if err != nil {
		t.Fatal(err)
	}
	c := &agent.Control{Paths: w.Paths, Start: func() (<-chan struct{}, error) { return agent.Background(w.Paths, binary, "agent", string(paths)) }}
	t.Cleanup(func() {
		c.Stop(context.Background())
		w.Until("the agent has gone", func() bool { _, ok := w.Ask.Running(context.Background()); return !ok })
		if t.Failed() {
			log, _ := os.ReadFile(w.Paths.Log())
			t.Logf("agent's log:\n%s", log)
		}
	})
	return c
}

// Fifty connections at once on a machine where no agent runs yet.
func TestManyCallersStartOneAgent(t *testing.T) {
	w := agenttest.New(t)
	c := starter(t, w)
	var wg sync.WaitGroup
	pids := make([]int, 50)
	for i := range pids {
		wg.Go(func() {
			s, err := c.Status(t.Context())
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			pids[i] = s.PID
		})
	}
	wg.Wait()
	for _, pid := range pids {
		if pid == 0 || pid != pids[0] {
			t.Fatalf("different agents answered: %v", pids)
		}
	}
	log, err := os.ReadFile(w.Paths.Log())
	if err != nil || strings.Count(string(log), "started") != 1 {
		t.Errorf("%v, log:\n%s", err, log)
	}
}

func TestAKilledAgentIsReplaced(t *testing.T) {
	w := agenttest.New(t)
	c := starter(t, w)
	first, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(first.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil { // it leaves both sockets behind
		t.Fatal(err)
	}
	second, err := c.Status(t.Context())
	for end := time.Now().Add(5 * time.Second); err == nil && second.PID == first.PID && time.Now().Before(end); {
		second, err = c.Status(t.Context()) // the kernel is still taking the old one down
	}
	if err != nil || second.PID == first.PID {
		t.Errorf("%v, process %d again", err, second.PID)
	}
}

func TestAnAgentThatDoesNotStartIsReportedWithItsLog(t *testing.T) {
	w := agenttest.New(t)
	c := &agent.Control{Paths: w.Paths, Start: func() (<-chan struct{}, error) { return agent.Background(w.Paths, "/nonexistent/cardea") }}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "start the local agent") {
		t.Errorf("got %v", err)
	}
	if _, err := w.Ask.Status(t.Context()); !errors.Is(err, agent.ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

// Whoever made the socket before us, in a folder that he may not write to: he cannot.
func TestASocketThatIsAFileIsNotRemoved(t *testing.T) {
	w := agenttest.New(t)
	if err := os.MkdirAll(w.Paths.Run, 0o700); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(w.Paths.Run, "agent.sock")
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := agent.Run(t.Context(), agent.Options{Account: &agenttest.Account{}, Paths: w.Paths, Binary: "/usr/bin/cardea"})
	if text, readErr := os.ReadFile(precious); err == nil || readErr != nil || string(text) != "mine" {
		t.Errorf("got %v, %q", err, text)
	}
}

func TestAControlRequestThatIsNoneDoesNoHarm(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	for name, c := range map[string]struct {
		send   string
		answer string // a part of it; "" for none
	}{
		"no JSON":               {"hello\n", "cannot read"},
		"no line end":           {`{"verb":"status"}`, "cannot read"},
		"an unknown verb":       {`{"verb":"sign"}` + "\n", "does not know the verb"},
		"one byte too much":     {`{"verb":"` + strings.Repeat("x", 64<<10-11) + "\"}\n", "cannot read"},
		"as much as is allowed": {`{"verb":"` + strings.Repeat("x", 64<<10-12) + "\"}\n", "does not know the verb"},
		"nothing":               {"", ""},
	} {
		conn, err := net.Dial("unix", w.Paths.ControlSocket())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte(c.send))
		conn.(*net.UnixConn).CloseWrite()
		var got strings.Builder
		buf := make([]byte, 1<<20)
		for {
			n, err := conn.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		conn.Close()
		if !strings.Contains(got.String(), c.answer) || c.answer == "" && got.Len() > 0 {
			t.Errorf("%s: answer %.200q", name, got.String())
		}
	}
	if _, ok := w.Ask.Running(t.Context()); !ok {
		t.Error("the agent has gone")
	}
}
