// Nodelay is the least that a ProxyCommand can be: it dials one address and
// copies, or passes the descriptor to ssh. It is what Cardea's helper is
// measured against, because TCP_NODELAY alone, which Go sets and ssh does not,
// makes a connection start faster than plain ssh does.
//
//	nodelay [-pass] HOST PORT
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nodelay:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	passing := len(args) > 0 && args[0] == "-pass"
	if passing {
		args = args[1:]
	}
	if len(args) != 2 {
		return errors.New("usage: nodelay [-pass] HOST PORT")
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(args[0], args[1]))
	if err != nil {
		return err
	}
	tcp := conn.(*net.TCPConn)
	if passing {
		return pass(os.Stdout, tcp)
	}
	go func() {
		io.Copy(tcp, os.Stdin)
		tcp.CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, tcp)
	return err
}
