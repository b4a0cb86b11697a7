package faulttest

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif (linux/seccomp.h).
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// Offsets in struct seccomp_data, which the filter reads.
const (
	offsetNr, offsetArch, offsetArgs = 0, 4, 16
)

// filter asks the supervisor of every call in allCalls, and of open only if it
// may write. The rest runs at full speed.
func filter() []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ret := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	low := uint32(0) // of the two halves of an argument
	if native.Uint16([]byte{0, 1}) == 1 {
		low = 4
	}
	f := []unix.SockFilter{load(offsetArch), jump(unix.BPF_JEQ, auditArch, 1, 0), ret(unix.SECCOMP_RET_ALLOW), load(offsetNr)}
	all := allCalls()
	for _, nr := range slices.Sorted(maps.Keys(all)) {
		if s := all[nr]; s.flags < 0 {
			f = append(f, jump(unix.BPF_JEQ, uint32(nr), 0, 1), ret(unix.SECCOMP_RET_USER_NOTIF))
			continue
		}
		f = append(f, jump(unix.BPF_JEQ, uint32(nr), 0, 4), load(offsetArgs+8*uint32(all[nr].flags)+low),
			jump(unix.BPF_JSET, writing, 0, 1), ret(unix.SECCOMP_RET_USER_NOTIF), ret(unix.SECCOMP_RET_ALLOW))
	}
	return append(f, ret(unix.SECCOMP_RET_ALLOW))
}

// install puts the filter on this thread and returns the listener. It needs
// CAP_SYS_ADMIN, and so leaves set-id programs their ids.
func install() (listener int, err error) {
	f := filter()
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

// become takes the filter, hands its listener to the supervisor, and becomes
// the program.
func become(argv []string) error {
	const socket = 3
	runtime.LockOSThread() // the filter is the thread's, and execve keeps this one
	unix.CloseOnExec(socket)
	listener, err := install()
	if err != nil {
		return err
	}
	unix.CloseOnExec(listener)
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envPrefix) })
	return syscall.Exec(argv[0], argv, env)
}
