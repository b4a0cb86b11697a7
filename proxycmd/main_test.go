package proxycmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/cardea-ssh/cardea/agent"
)

// pathsVariable tells the test binary, run as ProxyCommand, where the agent is.
const pathsVariable = "CARDEA_TEST_PATHS"

// traceTestVariable has the helper of a test tell its steps.
const traceTestVariable = "CARDEA_TEST_TRACE"

// TestMain is cardea's main for the ssh of a test: "BINARY proxycommand [--fdpass] HOST PORT [LOGIN]".
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "proxycommand" && os.Args[2] == "Carry" {
		if Carry(context.Background(), os.Args[3], len(os.Args) > 4, os.Stdin, os.Stdout, nil) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "proxycommand" {
		if err := helper(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "cardea:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "bare" { // what a ProxyCommand has to do at the least
		if conn, err := net.Dial("tcp", os.Args[2]); err == nil {
			go func() { io.Copy(conn, os.Stdin); conn.Close() }()
			io.Copy(os.Stdout, conn)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func helper(args []string) error {
	var paths agent.Paths
	if err := json.Unmarshal([]byte(os.Getenv(pathsVariable)), &paths); err != nil {
		return err
	}
	o := Options{Agent: &agent.Control{Paths: paths}, Stderr: os.Stderr, Carrier: []string{os.Args[0], "proxycommand", "Carry"}}
	if args[0] == "--fdpass" {
		o.Fdpass, args = true, args[1:]
	}
	if os.Getenv(traceTestVariable) != "" {
		o.Trace = func(s agent.Step) { fmt.Fprintln(os.Stderr, s.What) }
	}
	o.Host = args[0]
	if len(args) > 2 {
		o.Login = args[2]
	}
	return Run(context.Background(), o)
}
