package proxycmd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

// raw runs the helper with pipes, as ssh does, against a server of the test's own.
func raw(t *testing.T, w *agenttest.World, serve func(net.Conn)) *exec.Cmd {
	t.Helper()
	l := tcptest.Listen(t)
	go tcptest.Each(l, serve)
	through(w, "127.0.0.1:22", api.Route{Address: l.Addr().String()})
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return sshtest.Command(t, binary, "proxycommand", "web-1", "22")
}

func TestNotOneByteIsAddedOrLost(t *testing.T) {
	w, _ := home(t)
	payload := make([]byte, 8<<20)
	rand.Read(payload)
	cmd := raw(t, w, func(c net.Conn) {
		io.Copy(c, c) // until the client's end of stream
		c.(*net.TCPConn).CloseWrite()
	})
	cmd.Stdin = bytes.NewReader(payload)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%v: %s", err, &errs)
	}
	if !bytes.Equal(out.Bytes(), payload) {
		t.Errorf("%d bytes came back of %d, or others", out.Len(), len(payload))
	}
}

// Each side may end while the other one goes on.
func TestHalfClosePassesInBothDirections(t *testing.T) {
	w, _ := home(t)
	got := make(chan string, 1)
	cmd := raw(t, w, func(c net.Conn) {
		io.WriteString(c, "the server has nothing more to say\n")
		c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(stdout); err != nil || string(b) != "the server has nothing more to say\n" {
		t.Errorf("got %q, %v: the end of stream must arrive although we have not ended", b, err)
	}
	io.WriteString(stdin, "but the client has")
	stdin.Close()
	if s := <-got; s != "but the client has" {
		t.Errorf("the server got %q", s)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Nothing moves on the connection, and ssh is killed: the helper must not stay.
func TestNoHelperOutlivesSSH(t *testing.T) {
	w, _ := home(t)
	l := tcptest.Listen(t)
	connected, gone := make(chan bool, 1), make(chan bool, 1)
	go tcptest.Each(l, func(c net.Conn) {
		connected <- true
		io.Copy(io.Discard, c) // a server that says nothing, not even its version
		gone <- true
	})
	through(w, "127.0.0.1:22", api.Route{Address: l.Addr().String()})
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "interrupted": syscall.SIGINT} {
		// Not by sshtest, which would end the whole group: this is about ssh dying alone.
		cmd := exec.Command(sshtest.Path(t, "ssh"), "-F", w.Paths.SSHConfig(), "-o", "BatchMode=yes", "web-1", "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-connected
		cmd.Process.Signal(signal)
		cmd.Wait()
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			t.Errorf("ssh was %s and the helper is still connected", name)
		}
	}
}

func TestAReaderThatGoesEndsTheHelperAtOnce(t *testing.T) {
	w, _ := home(t)
	cmd := raw(t, w, func(c net.Conn) { io.Copy(io.Discard, c) })
	stdin, err := cmd.StdinPipe() // stays open: only stdout's reader goes
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	stdout.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the helper waits for nobody")
		cmd.Process.Kill()
	}
}

func TestTheProxyOfTheEnvironmentIsUsed(t *testing.T) {
	target := tcptest.Listen(t)
	go tcptest.Each(target, func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n") })
	asked := make(chan *http.Request, 10)
	proxy := tcptest.Listen(t)
	var answer atomic.Value
	answer.Store("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
	go tcptest.Each(proxy, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		asked <- r
		says := answer.Load().(string)
		io.WriteString(c, says)
		if up, err := net.Dial("tcp", target.Addr().String()); err == nil && strings.Contains(says, "200") {
			defer up.Close()
			io.Copy(c, up)
		}
	})
	// Loopback is never proxied, so the address is one that is nowhere else.
	t.Setenv("HTTPS_PROXY", "http://alice:secret@"+proxy.Addr().String())
	conn, err := dialTCP(t.Context(), "gw.example.net:7234")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err != nil || string(b) != "SSH-2.0-x\r\n" {
		t.Errorf("behind the proxy: %q, %v", b, err)
	}
	conn.Close()
	if r := <-asked; r.Method != "CONNECT" || r.Host != "gw.example.net:7234" || r.Header.Get("Proxy-Authorization") != "Basic YWxpY2U6c2VjcmV0" {
		t.Errorf("the proxy was asked %s %s %v", r.Method, r.Host, r.Header)
	}
	answer.Store("HTTP/1.1 403 Forbidden\r\n\r\n")
	if _, err := dialTCP(t.Context(), "gw.example.net:7234"); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("refused by the proxy: %v", err)
	}
	answer.Store(strings.Repeat("x", maxProxyHead+1))
	if _, err := dialTCP(t.Context(), "gw.example.net:7234"); err == nil {
		t.Error("a head without end was taken")
	}
	t.Setenv("NO_PROXY", "example.net")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	n := len(asked)
	if conn, err := dialTCP(ctx, "gw.example.net:7234"); err == nil {
		conn.Close()
	}
	if len(asked) != n {
		t.Error("NO_PROXY was not honoured")
	}
}
