package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuOf is the CPU time of a living process, to the nanosecond: /proc counts
// in hundredths of a second. The clock's number is that of the C library's
// clock_getcpuclockid(3).
func cpuOf(pid int) (time.Duration, error) {
	const wholeProcess = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|wholeProcess), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// cpuWithEnded adds the children that have ended and were waited for; sshd
// forks for each connection.
func cpuWithEnded(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Behind the name, which may hold anything: fields 14 to 17 of proc(5) are
	// user and system time of the process and of its children.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const first, last, tick = 11, 15, time.Second / 100
	if len(fields) < last {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[first:last] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// resident is the memory of a process, in MiB.
func resident(pid int) (float64, error) { return statusOf(pid, "VmRSS") }

// statusOf is one of the sizes of proc_pid_status(5), in MiB; VmHWM is the most that VmRSS was.
func statusOf(pid int, key string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib float64
		if n, _ := fmt.Sscanf(s.Text(), key+": %f kB", &kib); n == 1 {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, key)
}

// files is how many descriptors a process has open that a connection could have
// left. Not its connections to port, kept for the next call, nor pipes: Go keeps
// those through which it spliced until the garbage collector comes by.
func files(pid int, port string) (n int, err error) {
	kept, err := connectionsTo(pid, port)
	if err != nil {
		return 0, err
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	for _, fd := range open {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && !kept[to] && !strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n, err
}

// connectionsTo are sockets in the namespace of a process that are connected to
// a port of IPv4, as /proc/PID/fd names them.
func connectionsTo(pid int, port string) (map[string]bool, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		const remote, inode = 2, 9
		fields := strings.Fields(line)
		if len(fields) > inode && strings.HasSuffix(fields[remote], fmt.Sprintf(":%04X", number)) {
			found["socket:["+fields[inode]+"]"] = true
		}
	}
	return found, nil
}

// ownCPU is what this process has used.
func ownCPU() (time.Duration, error) {
	var used unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), err
}
