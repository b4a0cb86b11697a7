//go:build !unix

package atomicfile

import (
	"io/fs"
	"os"
)

// Windows keeps access in lists that a new file inherits from its folder:
// there is no owner to carry over, and no folder to sync.

func worldWritable(fs.FileInfo) bool         { return false }
func ownerOf(fs.FileInfo) *Owner             { return nil }
func sameOwner(_ fs.FileInfo, _ *Owner) bool { return true }
func chown(*os.File, *Owner) error           { return nil }
func syncDir(string) error                   { return nil }
