//go:build unix

package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// become replaces this process: ssh then has its terminal, its signals and its
// exit code to itself, and nothing of ours is in memory meanwhile.
func become(_ context.Context, program string, args []string) error {
	return fmt.Errorf("start %s: %w", program, syscall.Exec(program, args, os.Environ()))
}
