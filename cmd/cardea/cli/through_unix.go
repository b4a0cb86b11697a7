//go:build !windows

package cli

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// throughSSH starts ssh with one end of a socket as its wire and gives the other. It may
// outlive this process, which ssh above waits for, and ends with the connection.
func throughSSH(program string, args []string, stderr io.Writer, env string) (net.Conn, error) {
	ends, err := socketPair()
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

// socketPair is not inherited by whatever else starts meanwhile.
func socketPair() (ends [2]int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ends, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(ends[0])
		syscall.CloseOnExec(ends[1])
	}
	return ends, err
}
