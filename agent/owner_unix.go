//go:build !windows

package agent

import (
	"io/fs"
	"os"
	"syscall"
)

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// othersMay reports whether others have some of these rights.
func othersMay(info fs.FileInfo, rights fs.FileMode) bool { return info.Mode().Perm()&rights != 0 }

// detached has a child outlive us: a session of its own, no terminal to be hung up from.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
