//go:build unix

package sshtest

import (
	"os/exec"
	"syscall"
)

// lead has a program lead a process group of its own, with all that it starts.
func lead(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// kill ends a process, or the group of -pid.
func kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
