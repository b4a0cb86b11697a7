package proxycmd

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

func TestNothingButTheVersionOfSSHGoesAhead(t *testing.T) {
	long := "SSH-2.0-" + strings.Repeat("x", maxVersion-len("SSH-2.0-")-1) + "\n"
	for name, c := range map[string]struct{ says, ahead string }{
		"the line":                    {"SSH-2.0-OpenSSH_10.2\r\n", "SSH-2.0-OpenSSH_10.2\r\n"},
		"the line and a key exchange": {"SSH-2.0-PuTTY\r\n\x00\x00\x05\x2c\x06", "SSH-2.0-PuTTY\r\n"},
		"two lines":                   {"SSH-2.0-a\nSSH-2.0-b\n", "SSH-2.0-a\n"},
		"as long as it may be":        {long, long},
		"one byte longer":             {"SSH-2.0-x" + long[len("SSH-2.0-"):], ""},
		"half of it":                  {"SSH-2.0-OpenSSH", ""},
		"another protocol":            {"GET / HTTP/1.1\r\n", ""},
		"version 1":                   {"SSH-1.5-x\r\n", ""},
		"nothing":                     {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := hear(strings.NewReader(c.says))
			<-o.read
			ahead := string(o.version())
			if ahead != c.ahead {
				t.Errorf("%q goes ahead, want %q", ahead, c.ahead)
			}
			rest, err := io.ReadAll(o.after(len(ahead)))
			if err != nil || ahead+string(rest) != c.says {
				t.Errorf("then comes %q, %v; in all it was %q", rest, err, c.says)
			}
		})
	}
	var silent *opening
	if slow := hear(blocked{t.Context().Done()}); slow.version() != nil || silent.version() != nil {
		t.Error("an ssh that says nothing is waited for")
	}
}

// blocked is an ssh that says nothing.
type blocked struct{ until <-chan struct{} }

func (b blocked) Read([]byte) (int, error) { <-b.until; return 0, io.EOF }

// The server answers ssh's version with its key exchange while the gateway's own answer is
// still under way: it is there before the gateway has said anything.
func TestTheVersionOfSSHIsAtTheGatewayBeforeItAnswers(t *testing.T) {
	w, s := home(t)
	heard := make(chan string, 2)
	g := newGateway(t, func(conn net.Conn, o *hello.Opened) {
		up, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return
		}
		defer up.Close()
		line := make([]byte, maxVersion)
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _ := conn.Read(line)
		conn.SetReadDeadline(time.Time{})
		heard <- string(line[:n])
		up.Write(line[:n])
		conn.Write(o.Accept())
		go func() { io.Copy(up, conn); up.(*net.TCPConn).CloseWrite() }()
		io.Copy(conn, up)
	})
	busy := newGateway(t, refuse("busy", "not now"))
	through(w, s.Addr, busy.route(), g.route()) // it goes with each hello
	greeted(t, "ssh", realSSH(w))
	if line := <-heard; !strings.HasPrefix(line, "SSH-2.0-OpenSSH") || !strings.HasSuffix(line, "\n") || busy.Hits.Load() != 1 {
		t.Errorf("before the answer the gateway heard %q; the other one was asked %d times", line, busy.Hits.Load())
	}
}

// Mallory listens at a gateway's address and answers as well as he can.
func TestAnImpostorHearsNothingButASealedHelloAndTheVersionOfSSH(t *testing.T) {
	w, s := home(t)
	l := tcptest.Listen(t)
	heard := make(chan []byte, 1)
	go tcptest.Each(l, func(c net.Conn) {
		if _, err := hello.ReadMessage(c); err != nil {
			return
		}
		c.Write(bytes.Repeat([]byte("SSH-2.0-OpenSSH_9.2p1\r\n"), 100))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		rest, _ := io.ReadAll(c)
		heard <- rest
	})
	route, good := newGateway(t, nil).route(), newGateway(t, relayTo(s.Addr))
	route.Address = l.Addr().String()
	through(w, s.Addr, route, good.route())
	greeted(t, "ssh", realSSH(w))
	rest := <-heard
	if line, more, _ := bytes.Cut(rest, []byte("\n")); len(more) > 0 || len(line) > 0 && !bytes.HasPrefix(line, []byte("SSH-2.0-OpenSSH")) {
		t.Errorf("the impostor heard %q", rest)
	}
}
