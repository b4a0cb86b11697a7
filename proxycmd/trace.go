package proxycmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/agent"
)

// firstTime bounds the wait for the first byte of a server: sshd sends its name at once.
const firstTime = 5 * time.Second

// firstRead notes when the first byte of ssh has come.
type firstRead struct {
	io.Reader
	began time.Time
	note  noteFunc
}

func (f *firstRead) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.note != nil {
		if n > 0 {
			f.note(f.began, "first byte of ssh")
		} else {
			f.note(f.began, "no byte of ssh: %v", err)
		}
		f.note = nil
	}
	return n, err
}

// awaitFirst does the same for a connection that is about to be handed over: it looks at the
// byte and leaves it where it is, for ssh to read.
func (o Options) awaitFirst(ctx context.Context, conn net.Conn) {
	began := time.Now()
	if err := conn.SetReadDeadline(began.Add(firstTime)); err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	if err := peek(conn); err != nil {
		o.note(began, "no byte of ssh: %v", err)
	} else {
		o.note(began, "first byte of ssh")
	}
	conn.SetReadDeadline(time.Time{})
}

// maxBanner bounds what is read until a server says what it is, bytes: RFC 4253 section 4.2
// has 255 for that line, and lets others stand before it.
const maxBanner = 8 << 10

// Reached is how far a probe came.
type Reached struct {
	Server  string // id
	Name    string
	Address string // that led somewhere
	Gateway bool   // it is a gateway's
	Bastion string // id of the server from which it was dialled
	// Banner is what sshd, or a gateway that records, says it is: "SSH-2.0-OpenSSH_9.2".
	Banner string
}

// Probe does what Run does until the server has said that it speaks SSH, and hangs up. The
// control plane keeps a record of it as of any connection. Of Options it needs neither
// Stdin nor Stdout.
func Probe(ctx context.Context, o Options) (Reached, error) {
	o.Fdpass = false
	o = o.filled()
	var name string
	o.Agent = named{o.Agent, &name}
	conn, server, err := connect(ctx, o)
	if err != nil {
		return Reached{Name: name}, err
	}
	defer conn.Close()
	way := conn.route
	r := Reached{Server: server, Name: name, Address: way.Address, Gateway: !way.Direct(), Bastion: way.Bastion}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetReadDeadline(time.Now().Add(firstTime)); err != nil {
		return r, err
	}
	began := time.Now()
	if r.Banner, err = banner(conn); err == nil {
		o.note(began, "the server says that it is %s", r.Banner)
	}
	return r, err
}

// named remembers what the server is called.
type named struct {
	Agent
	name *string
}

func (n named) Connect(ctx context.Context, host, login string, parent int) (agent.Connected, error) {
	c, err := n.Agent.Connect(ctx, host, login, parent)
	*n.name = c.ServerName
	return c, err
}

// errNoSSH: something took the connection, and does not speak SSH.
var errNoSSH = errors.New("what answers there does not speak SSH")

func banner(conn io.Reader) (string, error) {
	lines := bufio.NewScanner(io.LimitReader(conn, maxBanner))
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "SSH-") {
			return strings.TrimRight(line, "\r"), nil
		}
	}
	switch err := lines.Err(); {
	case isTimeout(err):
		return "", fmt.Errorf("%w: it says nothing", errNoSSH)
	case err != nil && !ordinary(err):
		return "", fmt.Errorf("%w: %w", errNoSSH, err)
	}
	return "", fmt.Errorf("%w: it closed the connection", errNoSSH)
}
