package cli

import (
	"context"
	"os"
	"os/exec"
)

// become runs the program in our place: Windows cannot replace a process. The
// error carries its exit code.
func become(_ context.Context, program string, args []string) error {
	// Not bound to the context: Ctrl-C is for ssh, which has the console.
	cmd := exec.Command(program, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
