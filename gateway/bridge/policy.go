package bridge

import (
	"fmt"
	"strconv"
)

// Policy is what a project allows besides a shell, commands and file transfer.
type Policy struct{ PortForwarding, AgentForwarding, X11 bool }

// permission is what a rule asks of the Policy.
type permission uint8

const (
	always     permission = iota + 1 // no project can do without
	forwarding                       // Policy.PortForwarding
	agent                            // Policy.AgentForwarding
	x11                              // Policy.X11
	// nothing is passed on, but silently: programs send it on their own and live with a no.
	ignored
)

// place is where a name of SSH stands: names are registered for each place apart.
type place uint8

const (
	channelOpen    place = iota + 1
	sessionRequest       // in a channel of type session
	channelRequest       // in any other channel
	globalRequest
)

// side is one end of a bridge, as seen from us.
type side uint8

const (
	fromUser side = iota + 1
	fromServer
)

// rule is one line of the policy.
type rule struct {
	place place
	from  side
	name  string
	needs permission
	// read takes the payload apart; what does not parse to its last byte is refused. It
	// returns what is recorded: one of the structures of package recording, or nil.
	read func([]byte) (any, error)
}

// rules is the policy: all that may pass, in which direction, with which permission, and what
// is recorded of it. Whatever is not here is refused.
func rules() []rule {
	return []rule{
		{channelOpen, fromUser, "session", always, readSession},
		{channelOpen, fromUser, "direct-tcpip", forwarding, readDirectTCP},
		{channelOpen, fromUser, "direct-streamlocal@openssh.com", forwarding, readDirectUnix},
		{channelOpen, fromServer, "forwarded-tcpip", forwarding, readForwardedTCP},
		{channelOpen, fromServer, "forwarded-streamlocal@openssh.com", forwarding, readForwardedUnix},
		{channelOpen, fromServer, "auth-agent@openssh.com", agent, readAgentChannel},
		{channelOpen, fromServer, "x11", x11, readX11Channel},

		{sessionRequest, fromUser, "pty-req", always, readPTY},
		{sessionRequest, fromUser, "env", always, readEnv},
		{sessionRequest, fromUser, "shell", always, readShell},
		{sessionRequest, fromUser, "exec", always, readExec},
		{sessionRequest, fromUser, "subsystem", always, readSubsystem},
		{sessionRequest, fromUser, "window-change", always, readResize},
		{sessionRequest, fromUser, "signal", always, readSignal},
		{sessionRequest, fromUser, "break", always, readBreak},
		{sessionRequest, fromUser, "auth-agent-req@openssh.com", agent, readAgentRequest},
		{sessionRequest, fromUser, "x11-req", x11, readX11Request},
		{sessionRequest, fromUser, "eow@openssh.com", always, readEmpty},
		{sessionRequest, fromServer, "exit-status", always, readExitStatus},
		{sessionRequest, fromServer, "exit-signal", always, readExitSignal},
		{sessionRequest, fromServer, "eow@openssh.com", always, readEmpty},
		{sessionRequest, fromServer, "xon-xoff", always, readFlag},

		{sessionRequest, fromServer, "keepalive@openssh.com", always, readEmpty},
		{sessionRequest, fromUser, "keepalive@openssh.com", always, readEmpty},
		{channelRequest, fromServer, "keepalive@openssh.com", always, readEmpty},
		{channelRequest, fromUser, "keepalive@openssh.com", always, readEmpty},
		{globalRequest, fromServer, "keepalive@openssh.com", always, readEmpty},
		{globalRequest, fromUser, "keepalive@openssh.com", always, readEmpty},

		{globalRequest, fromUser, "tcpip-forward", forwarding, readListenTCP},
		{globalRequest, fromUser, "cancel-tcpip-forward", forwarding, readUnlistenTCP},
		{globalRequest, fromUser, "streamlocal-forward@openssh.com", forwarding, readListenUnix},
		{globalRequest, fromUser, "cancel-streamlocal-forward@openssh.com", forwarding, readUnlistenUnix},
		{globalRequest, fromUser, "no-more-sessions@openssh.com", always, readEmpty},

		// The server's keys are no keys of the gateway.
		{globalRequest, fromServer, "hostkeys-00@openssh.com", ignored, readAny},
		{globalRequest, fromUser, "hostkeys-prove-00@openssh.com", ignored, readAny},
		// Other programs' keep-alives and questions; any answer will do.
		{globalRequest, fromUser, "keepalive@libssh2.org", ignored, readAny},
		{globalRequest, fromUser, "keepalive@golang.org", ignored, readAny},
		{globalRequest, fromUser, "keepalive@jcraft.com", ignored, readAny},
		{sessionRequest, fromUser, "simple@putty.projects.tartarus.org", ignored, readAny},
		{sessionRequest, fromUser, "winadj@putty.projects.tartarus.org", ignored, readAny},
		{channelRequest, fromUser, "simple@putty.projects.tartarus.org", ignored, readAny},
		{channelRequest, fromUser, "winadj@putty.projects.tartarus.org", ignored, readAny},
	}
}

type ruleKey struct {
	place place
	from  side
	name  string
}

// policyTable is rules, for looking up; nobody writes to it.
var policyTable = func() map[ruleKey]rule {
	table := map[ruleKey]rule{}
	for _, r := range rules() {
		table[ruleKey{r.place, r.from, r.name}] = r
	}
	return table
}()

// verdict is what the policy says to one thing that a peer sent.
type verdict struct {
	pass   bool
	told   string // why not; empty if it passes or is ignored
	record any    // what is recorded if it passes; nil is nothing
}

// judge applies the table. It knows nothing of the session's state.
func (p Policy) judge(at place, from side, name string, payload []byte) verdict {
	r, ok := policyTable[ruleKey{at, from, name}]
	if !ok {
		return verdict{told: fmt.Sprintf("this gateway does not know %s, and passes on only what it knows", printable(name, maxName))}
	}
	if why := p.lacks(r.needs); why != "" {
		return verdict{told: why + " is not allowed in this project"}
	}
	if r.needs == ignored {
		return verdict{}
	}
	record, err := r.read(payload)
	if err != nil {
		return verdict{told: err.Error()}
	}
	return verdict{pass: true, record: record}
}

// lacks returns what the policy would have to allow, and does not.
func (p Policy) lacks(needs permission) string {
	switch needs {
	case always, ignored:
		return ""
	case forwarding:
		if p.PortForwarding {
			return ""
		}
		return "port forwarding"
	case agent:
		if p.AgentForwarding {
			return ""
		}
		return "agent forwarding"
	case x11:
		if p.X11 {
			return ""
		}
		return "X11 forwarding"
	}
	return "it"
}

// printable is a peer's text within a sentence or a name: at most n bytes of it, and nothing
// that a terminal obeys.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	q := strconv.QuoteToASCII(s)
	if q = q[1 : len(q)-1]; len(q) > n {
		q = q[:n]
	}
	return q
}
