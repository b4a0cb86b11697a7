package bridge

import (
	"fmt"
	"strings"

	"github.com/cardea-ssh/cardea/recording"
)

// The functions here take payloads apart for the policy (see rule.read).

func readAny([]byte) (any, error) { return nil, nil }

func readEmpty(p []byte) (any, error) {
	if len(p) != 0 {
		return nil, errMalformed
	}
	return nil, nil
}

func readFlag(p []byte) (any, error) { return nil, unmarshal(p, &flag{}) }

func readSession(p []byte) (any, error) {
	_, err := readEmpty(p)
	return recording.Opened{Type: "session"}, err
}

func readDirectTCP(p []byte) (any, error)    { return readPair(p, "direct-tcpip") }
func readForwardedTCP(p []byte) (any, error) { return readPair(p, "forwarded-tcpip") }

func readPair(p []byte, name string) (any, error) {
	var a addressPair
	err := unmarshal(p, &a)
	return recording.Opened{Type: name, To: hostPort(a.Host, a.Port), From: hostPort(a.Origin, a.OriginPort)}, err
}

func readDirectUnix(p []byte) (any, error) {
	var u directUnix
	err := unmarshal(p, &u)
	return recording.Opened{Type: "direct-streamlocal@openssh.com", To: legible(u.Path)}, err
}

func readForwardedUnix(p []byte) (any, error) {
	var u forwardedUnix
	err := unmarshal(p, &u)
	if err == nil && u.Reserved != "" {
		err = errMalformed // nobody would see it
	}
	return recording.Opened{Type: "forwarded-streamlocal@openssh.com", To: legible(u.Path)}, err
}

func readAgentChannel(p []byte) (any, error) {
	_, err := readEmpty(p)
	return recording.Opened{Type: "auth-agent@openssh.com"}, err
}

func readX11Channel(p []byte) (any, error) {
	var o origin
	err := unmarshal(p, &o)
	return recording.Opened{Type: "x11", From: hostPort(o.Host, o.Port)}, err
}

func readPTY(p []byte) (any, error) {
	var r ptyRequest
	err := unmarshal(p, &r)
	return recording.Requested{Type: "pty-req", Term: legible(r.Term), Size: size(r.Columns, r.Rows)}, err
}

// size is what a terminal can have: the kernel keeps 16 bits, and sshd cuts to them.
func size(columns, rows uint32) *recording.Size {
	return &recording.Size{Columns: columns & 0xffff, Rows: rows & 0xffff}
}

func readResize(p []byte) (any, error) {
	var r resize
	err := unmarshal(p, &r)
	return *size(r.Columns, r.Rows), err
}

func readEnv(p []byte) (any, error) {
	var v variable
	err := unmarshal(p, &v)
	return recording.Requested{Type: "env", Command: legible(v.Name + "=" + v.Value)}, err
}

func readShell(p []byte) (any, error) {
	_, err := readEmpty(p)
	return recording.Requested{Type: "shell"}, err
}

func readExec(p []byte) (any, error) {
	var c text
	err := unmarshal(p, &c)
	return recording.Requested{Type: "exec", Command: legible(c.Text)}, err
}

func readSubsystem(p []byte) (any, error) {
	var s text
	if err := unmarshal(p, &s); err != nil {
		return nil, err
	}
	if s.Text != subsystemSFTP {
		return nil, fmt.Errorf("this gateway passes on no subsystem but sftp, and not %s", printable(s.Text, maxName))
	}
	return recording.Requested{Type: "subsystem", Command: s.Text}, nil
}

func readSignal(p []byte) (any, error) {
	var s text
	err := unmarshal(p, &s)
	return recording.Requested{Type: "signal", Command: printable(s.Text, maxName)}, err
}

func readBreak(p []byte) (any, error) {
	return recording.Requested{Type: "break"}, unmarshal(p, &number{})
}

func readAgentRequest(p []byte) (any, error) {
	_, err := readEmpty(p)
	return recording.Requested{Type: "auth-agent-req@openssh.com"}, err
}

// readX11Request leaves the cookie out of the recording: it opens the user's display.
func readX11Request(p []byte) (any, error) {
	return recording.Requested{Type: "x11-req"}, unmarshal(p, &x11Request{})
}

func readExitStatus(p []byte) (any, error) {
	var n number
	err := unmarshal(p, &n)
	return recording.Exited{Code: n.Number}, err
}

func readExitSignal(p []byte) (any, error) {
	var s exitSignal
	err := unmarshal(p, &s)
	if err == nil && printable(s.Signal, maxName) != s.Signal {
		err = errMalformed // the recording would show less than the user gets
	}
	return recording.Exited{Signal: strings.TrimPrefix(printable(s.Signal, maxName), "SIG"), Core: s.Core}, err
}

func readListenTCP(p []byte) (any, error)   { return readTCPListener(p, "tcpip-forward") }
func readUnlistenTCP(p []byte) (any, error) { return readTCPListener(p, "cancel-tcpip-forward") }

func readTCPListener(p []byte, name string) (any, error) {
	var l listenTCP
	err := unmarshal(p, &l)
	return recording.Requested{Type: name, Command: l.String()}, err
}

func readListenUnix(p []byte) (any, error) {
	return readUnixListener(p, "streamlocal-forward@openssh.com")
}
func readUnlistenUnix(p []byte) (any, error) {
	return readUnixListener(p, "cancel-streamlocal-forward@openssh.com")
}

func readUnixListener(p []byte, name string) (any, error) {
	var l listenUnix
	err := unmarshal(p, &l)
	return recording.Requested{Type: name, Command: legible(l.Path)}, err
}
