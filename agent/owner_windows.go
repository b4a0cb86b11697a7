package agent

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/windows"
)

// Windows guards the folders of a profile by lists that modes say nothing of: they are their
// owner's alone unless he says otherwise.

func ownedByUs(fs.FileInfo) bool              { return true }
func othersMay(fs.FileInfo, fs.FileMode) bool { return false }

// detached has a child outlive us and our console.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{HideWindow: true, CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}
