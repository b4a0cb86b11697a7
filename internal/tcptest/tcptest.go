// Package tcptest listens on the loopback for tests.
package tcptest

import (
	"net"
	"testing"
)

// Listen listens on any free port until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Each serves each connection of l, beside the others, and closes it when serve returns. It
// returns when l is closed, and waits for no connection.
func Each(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer conn.Close(); serve(conn) }()
	}
}

// Serve is Listen with Each, and tells the address.
func Serve(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	l := Listen(t)
	go Each(l, serve)
	return l.Addr().String()
}
