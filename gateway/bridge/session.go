package bridge

import (
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/gateway/filewatch"
	"github.com/cardea-ssh/cardea/recording"
)

const subsystemSFTP = "sftp"

// session is what a channel of type session is doing. One goroutine handles the user's
// requests, another the server's; taps are read by the pumps after begun is closed.
type session struct {
	begun chan struct{} // closed when data may pass
	once  sync.Once
	taps  *tap

	mu     sync.Mutex
	asked  string // shell, exec or subsystem, once one was passed on; guarded by mu, as all below
	pty    bool
	env    int
	exited bool
}

func (s *session) init() { s.begun = make(chan struct{}) }

// judge refuses what the state of the session forbids; it returns why.
func (s *session) judge(from side, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	started := s.asked != ""
	switch name {
	case "shell", "exec", "subsystem":
		if started {
			return "one channel runs one program"
		}
	case "pty-req":
		if started || s.pty {
			return "a terminal is asked for once, before the program"
		}
	case "env":
		if s.env++; s.env > maxEnv {
			return "too many variables"
		}
	case "auth-agent-req@openssh.com", "x11-req":
		if started {
			return "forwarding is asked for before the program"
		}
	case "window-change":
		if !s.pty {
			return "there is no terminal to resize"
		}
	case "exit-status", "exit-signal":
		if s.exited || from != fromServer {
			return "a program ends once"
		}
		s.exited = true
	}
	return ""
}

// note keeps what the server has granted.
func (s *session) grant(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "shell", "exec", "subsystem":
		s.asked = name
	case "pty-req":
		s.pty = true
	}
}

// lineEnd is what ends a line on the user's terminal, or in his file.
func (s *session) lineEnd() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pty {
		return "\r\n"
	}
	return "\n"
}

// begin lets data pass through t; only the first call counts.
func (s *session) begin(t *tap) {
	s.once.Do(func() {
		s.taps = t
		close(s.begun)
	})
}

// tap may be called before the session begins too.
func (s *session) tap() *tap {
	select {
	case <-s.begun:
		return s.taps
	default:
		return &tap{}
	}
}

// requestUp passes on a request of the user. It is recorded before, so that no output can
// stand before what caused it.
func (c *channel) requestUp(req *ssh.Request, record any) {
	if c.note(c.id, record) != nil {
		req.Reply(false, nil)
		return
	}
	c.prepare(req)
	c.bridge.server.rekey.wait()
	ok, err := c.server.SendRequest(req.Type, req.WantReply, req.Payload)
	granted := err == nil && (ok || !req.WantReply)
	if granted {
		c.grant(req.Type)
	} else if record != nil {
		c.note(c.id, recording.Refused{Type: req.Type, Sentence: "the server refused it"})
	}
	req.Reply(ok, nil)
	if granted && c.started() {
		told, _ := record.(recording.Requested)
		c.begin(c.tapFor(told, req.Payload))
	}
}

func (s *session) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked != ""
}

// prepare notes what the server may open before its answer is here.
func (c *channel) prepare(req *ssh.Request) {
	switch req.Type {
	case "auth-agent-req@openssh.com":
		c.forwards.agent.Store(true)
	case "x11-req":
		var x x11Request
		ssh.Unmarshal(req.Payload, &x)
		c.forwards.allowX11(x.Single)
	}
}

// tapFor is what is recorded of the data of a program.
func (c *channel) tapFor(program recording.Requested, payload []byte) *tap {
	var name text
	ssh.Unmarshal(payload, &name) // the policy has read it
	switch program.Type {
	case "subsystem":
		return c.watching(func(e filewatch.Emit) *filewatch.Watcher { return filewatch.Subsystem(name.Text, e) })
	case "exec":
		return c.watching(func(e filewatch.Emit) *filewatch.Watcher { return filewatch.Exec(name.Text, e) })
	}
	return c.keeping()
}
