package faulttest

import (
	"maps"

	"golang.org/x/sys/unix"
)

const auditArch = unix.AUDIT_ARCH_X86_64

// allCalls has also those that newer machines never had.
func allCalls() map[int]shape {
	all := maps.Clone(calls)
	maps.Copy(all, map[int]shape{
		unix.SYS_OPEN:      {call: "open", fd: -1, path: 0, dir: -1, flags: 1},
		unix.SYS_CREAT:     byPath("create", -1, 0),
		unix.SYS_RENAME:    byPath("rename", -1, 1),
		unix.SYS_MKDIR:     byPath("mkdir", -1, 0),
		unix.SYS_LINK:      byPath("link", -1, 1),
		unix.SYS_SYMLINK:   byPath("symlink", -1, 1),
		unix.SYS_UNLINK:    byPath("unlink", -1, 0),
		unix.SYS_RMDIR:     byPath("unlink", -1, 0),
		unix.SYS_CHMOD:     byPath("chmod", -1, 0),
		unix.SYS_CHOWN:     byPath("chown", -1, 0),
		unix.SYS_LCHOWN:    byPath("chown", -1, 0),
		unix.SYS_UTIME:     byPath("utime", -1, 0),
		unix.SYS_UTIMES:    byPath("utime", -1, 0),
		unix.SYS_FUTIMESAT: byPath("utime", 0, 1),
	})
	return all
}
