package faulttest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// shape says where a call has what it changes.
type shape struct {
	call string
	// fd is the argument with a descriptor, path that with a path, dir that with
	// the folder it is relative to; -1 where there is none. flags is that of open's.
	fd, path, dir, flags int
}

func byFD(call string, fd int) shape { return shape{call: call, fd: fd, path: -1, dir: -1, flags: -1} }

func byPath(call string, dir, path int) shape {
	return shape{call: call, fd: -1, path: path, dir: dir, flags: -1}
}

// calls are the system calls that change a file system, by number; of two paths
// the one that appears.
var calls = map[int]shape{
	unix.SYS_OPENAT:          {call: "open", fd: -1, path: 1, dir: 0, flags: 2},
	unix.SYS_WRITE:           byFD("write", 0),
	unix.SYS_PWRITE64:        byFD("write", 0),
	unix.SYS_WRITEV:          byFD("write", 0),
	unix.SYS_PWRITEV:         byFD("write", 0),
	unix.SYS_SENDFILE:        byFD("write", 0),
	unix.SYS_COPY_FILE_RANGE: byFD("write", 2),
	unix.SYS_SPLICE:          byFD("write", 2),
	unix.SYS_FSYNC:           byFD("fsync", 0),
	unix.SYS_FDATASYNC:       byFD("fsync", 0),
	unix.SYS_FTRUNCATE:       byFD("truncate", 0),
	unix.SYS_FALLOCATE:       byFD("truncate", 0),
	unix.SYS_TRUNCATE:        byPath("truncate", -1, 0),
	unix.SYS_FCHMOD:          byFD("chmod", 0),
	unix.SYS_FCHMODAT:        byPath("chmod", 0, 1),
	unix.SYS_FCHMODAT2:       byPath("chmod", 0, 1),
	unix.SYS_FCHOWN:          byFD("chown", 0),
	unix.SYS_FCHOWNAT:        byPath("chown", 0, 1),
	unix.SYS_UTIMENSAT:       byPath("utime", 0, 1),
	unix.SYS_RENAMEAT2:       byPath("rename", 2, 3),
	unix.SYS_RENAMEAT:        byPath("rename", 2, 3),
	unix.SYS_MKDIRAT:         byPath("mkdir", 0, 1),
	unix.SYS_LINKAT:          byPath("link", 2, 3),
	unix.SYS_SYMLINKAT:       byPath("symlink", 1, 2),
	unix.SYS_UNLINKAT:        byPath("unlink", 0, 1),
	unix.SYS_SETXATTR:        byPath("setxattr", -1, 0),
	unix.SYS_LSETXATTR:       byPath("setxattr", -1, 0),
	unix.SYS_FSETXATTR:       byFD("setxattr", 0),
}

// writing are the flags that open a file for writing.
const writing = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

// describe says what a stopped call would change; ok is false for what lies in
// no file system: pipes, sockets, devices, the kernel's own.
func describe(n *notification) (call, path string, ok bool) {
	s, known := allCalls()[int(n.nr)]
	if !known {
		return "", "", false
	}
	call = s.call
	if s.flags >= 0 && n.args[s.flags]&unix.O_CREAT != 0 {
		call = "create"
	}
	proc := fmt.Sprintf("/proc/%d", n.pid)
	if s.fd >= 0 || s.path >= 0 && n.args[s.path] == 0 { // futimens has no path
		path, _ = os.Readlink(fmt.Sprintf("%s/fd/%d", proc, int32(n.args[max(s.fd, 0)])))
	} else {
		path = readString(proc+"/mem", n.args[s.path])
		if !filepath.IsAbs(path) {
			dir := proc + "/cwd"
			if s.dir >= 0 && int32(n.args[s.dir]) != unix.AT_FDCWD {
				dir = fmt.Sprintf("%s/fd/%d", proc, int32(n.args[s.dir]))
			}
			base, _ := os.Readlink(dir)
			path = filepath.Join(base, path)
		}
	}
	path = strings.TrimSuffix(path, " (deleted)")
	if !filepath.IsAbs(path) {
		return "", "", false // pipe:[1234]
	}
	return call, path, stays(path)
}

// stays reports whether a path is one of a file system that keeps what is written there.
func stays(path string) bool {
	if strings.HasPrefix(path, "/dev/shm/") {
		return true // where tests may have their files
	}
	return !slices.ContainsFunc([]string{"/proc/", "/sys/", "/dev/", "/memfd:"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

// readString reads a string of the stopped process's.
func readString(mem string, at uint64) string {
	f, err := os.Open(mem)
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, unix.PathMax)
	n, _ := f.ReadAt(buf, int64(at)) // may end with the last page
	text, _, _ := strings.Cut(string(buf[:n]), "\x00")
	return text
}

// program is the name of a process's program.
func program(pid uint32) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return filepath.Base(exe)
}

// native is how the kernel calls the byte order of arguments.
var native = binary.NativeEndian
