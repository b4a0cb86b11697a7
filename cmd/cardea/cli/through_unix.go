//go:build !windows

package cli

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"github.com/cardea-ssh/cardea/internal/socketpair"
)

// throughSSH starts ssh with one end of a socket as its wire and gives the other. It may
// outlive this process, which ssh above waits for, and ends with the connection.
func throughSSH(program string, args []string, stderr io.Writer, env string) (net.Conn, error) {
	ends, err := socketpair.New()
	if err != nil {
		return nil, fmt.Errorf("make a socket for ssh: %w", err)
	}
	ours, its := os.NewFile(uintptr(ends[0]), "ours"), os.NewFile(uintptr(ends[1]), "its")
	defer ours.Close()
	defer its.Close()
	cmd := exec.Command(program, args[1:]...)
	cmd.Stdin, cmd.Stdout = its, its
	if f, ok := stderr.(*os.File); ok {
		cmd.Stderr = f // anything else would need this process to copy
	}
	cmd.Env = append(os.Environ(), env)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start ssh to the bastion: %w", err)
	}
	go cmd.Wait()
	return net.FileConn(ours)
}
