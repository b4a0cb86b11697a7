//go:build linux || darwin

package proxycmd

import (
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/cardea-ssh/cardea/internal/socketpair"
)

// carry starts a carrier and returns our end of its connection once the way is open.
func carry(ctx context.Context, command []string, address string, inside bool) (net.Conn, error) {
	pair, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer pair[0].Close()
	defer pair[1].Close()
	said, says, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	defer says.Close()
	args := append(append([]string{}, command[1:]...), address)
	if inside {
		args = append(args, "tls")
	}
	cmd := exec.Command(command[0], args...) // not bound to ctx: it outlives us
	cmd.Stdin, cmd.Stdout = pair[1], says
	// A session of its own: it ends with its connection, and not with a terminal that an ssh
	// in the background (ControlPersist) has left behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go cmd.Wait()
	pair[1].Close()
	says.Close()
	defer context.AfterFunc(ctx, func() { said.Close() })()
	if err := heard(said); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return net.FileConn(pair[0])
}

func socketPair() (pair [2]*os.File, err error) {
	ends, err := socketpair.New()
	if err != nil {
		return pair, err
	}
	return [2]*os.File{os.NewFile(uintptr(ends[0]), "ssh's end"), os.NewFile(uintptr(ends[1]), "the carrier's end")}, nil
}
