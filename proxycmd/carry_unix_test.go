//go:build linux || darwin

package proxycmd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

func TestACarrierPassesEachEndOnAndEndsWithItsConnection(t *testing.T) {
	far := tcptest.Listen(t)
	for name, c := range map[string]func(t *testing.T, ssh, server net.Conn){
		"ssh ends its half first": func(t *testing.T, ssh, server net.Conn) {
			io.WriteString(ssh, "ping")
			ssh.(halfCloser).CloseWrite()
			if got, err := io.ReadAll(server); string(got) != "ping" || err != nil {
				t.Errorf("the server heard %q, %v", got, err)
			}
			io.WriteString(server, "pong")
			server.(halfCloser).CloseWrite()
			if got, err := io.ReadAll(ssh); string(got) != "pong" || err != nil {
				t.Errorf("ssh heard %q, %v", got, err)
			}
		},
		"the server ends its half first": func(t *testing.T, ssh, server net.Conn) {
			server.(halfCloser).CloseWrite()
			if got, err := io.ReadAll(ssh); len(got) > 0 || err != nil {
				t.Errorf("ssh heard %q, %v", got, err)
			}
			io.WriteString(ssh, "still")
			ssh.Close()
			if got, err := io.ReadAll(server); string(got) != "still" || err != nil {
				t.Errorf("the server heard %q, %v", got, err)
			}
		},
		"ssh is killed": func(t *testing.T, ssh, server net.Conn) {
			ssh.Close()
			io.Copy(io.Discard, server) // returns: it is closed
		},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := socketPair()
			if err != nil {
				t.Fatal(err)
			}
			said, says, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- Carry(t.Context(), far.Addr().String(), true, pair[1], says, nil) }()
			raw, err := far.Accept()
			if err != nil {
				t.Fatal(err)
			}
			server := tls.Server(raw, hello.ServerTLS())
			defer server.Close()
			server.SetDeadline(time.Now().Add(30 * time.Second))
			if err := server.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := heard(said); err != nil {
				t.Fatal(err)
			}
			ssh, err := net.FileConn(pair[0])
			if err != nil {
				t.Fatal(err)
			}
			pair[0].Close()
			ssh.SetDeadline(time.Now().Add(30 * time.Second))
			c(t, ssh, server)
			ssh.Close()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the carrier stays behind")
			}
			pair[1].Close()
		})
	}
}

func TestACarrierSaysWhyThereIsNoWay(t *testing.T) {
	pair, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer pair[0].Close()
	said, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		Carry(t.Context(), "gw:443", true, pair[1], says, func(context.Context, string) (net.Conn, error) { return nil, errors.New("a \x1b[2J reason") })
		says.Close()
	}()
	if err := heard(said); err == nil || !strings.Contains(err.Error(), "reason") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("heard %v", err)
	}
}
