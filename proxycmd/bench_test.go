package proxycmd

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// What ssh waits for, from the start of its ProxyCommand to the server's first byte: with a
// helper that only dials and copies, and with the agent and the control plane's answer.
// The difference is what Cardea adds to a connection.
func BenchmarkHelper(b *testing.B) {
	w, _ := home(b)
	l := tcptest.Listen(b)
	go tcptest.Each(l, func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); io.Copy(io.Discard, c) })
	g := newGateway(b, relayTo(l.Addr().String()))
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		routes []api.Route
		args   []string
	}{
		{"bare", nil, []string{"bare", l.Addr().String()}},
		{"direct", []api.Route{{Address: l.Addr().String()}}, []string{"proxycommand", "web-1", "22"}},
		{"gateway", []api.Route{g.route()}, []string{"proxycommand", "web-1", "22"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			through(w, "127.0.0.1:22", c.routes...)
			for b.Loop() {
				firstByte(b, exec.Command(binary, c.args...))
			}
		})
	}
}

func firstByte(b *testing.B, cmd *exec.Cmd) {
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	in.Close()
	out.Close()
	cmd.Wait() // it was cut off: how it ended says nothing
}
