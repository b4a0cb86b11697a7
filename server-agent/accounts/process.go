package accounts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// endGrace is what processes get between SIGTERM and SIGKILL.
	endGrace = 2 * time.Second
	// endRounds bounds how often new processes are looked for: each round kills
	// all that it sees, so that only something that forks faster than root can
	// look survives, and that is reported.
	endRounds = 50
	endPause  = 20 * time.Millisecond
)

// process is what matters of one entry of /proc.
type process struct {
	pid, parent int
	uids        [4]int // real, effective, saved, file system
}

// owned reports whether any of its ids is uid.
func (p process) owned(uid int) bool {
	for _, u := range p.uids {
		if u == uid {
			return true
		}
	}
	return false
}

// readProcesses reads /proc below root. Processes that end meanwhile are left
// out; that is no error.
func readProcesses(root string) ([]process, error) {
	dir := filepath.Join(root, "proc")
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, n, "status"))
		if err != nil {
			continue
		}
		if p, ok := parseStatus(pid, raw); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// parseStatus reads /proc/PID/status (proc_pid_status(5)). A zombie has
// nothing left to end.
func parseStatus(pid int, raw []byte) (p process, ok bool) {
	p.pid = pid
	for line := range bytes.Lines(raw) {
		key, value, _ := strings.Cut(string(line), ":")
		fields := strings.Fields(value)
		switch {
		case key == "State" && len(fields) > 0 && (fields[0] == "Z" || fields[0] == "X"):
			return p, false
		case key == "PPid" && len(fields) == 1:
			p.parent, _ = strconv.Atoi(fields[0])
		case key == "Uid" && len(fields) == 4:
			for i, f := range fields {
				p.uids[i], _ = strconv.Atoi(f)
			}
			ok = true
		}
	}
	return p, ok
}

// busy are the uids that have processes.
func busy(root string, uids map[int]bool) (map[int]bool, error) {
	found := map[int]bool{}
	if len(uids) == 0 {
		return found, nil
	}
	all, err := readProcesses(root)
	for _, p := range all {
		for _, u := range p.uids {
			if uids[u] {
				found[u] = true
			}
		}
	}
	return found, err
}

// doomed are the processes of uid and everything that descends from them, so
// that a root shell which an administrator opened by sudo ends with his
// session. A daemon that he started has left his tree and goes on.
func doomed(all []process, uid int) []int {
	children := map[int][]int{}
	var queue, pids []int
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p.pid)
		if p.owned(uid) {
			queue = append(queue, p.pid)
		}
	}
	seen := map[int]bool{0: true, 1: true, os.Getpid(): true}
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		pids = append(pids, pid)
		queue = append(queue, children[pid]...)
	}
	return pids
}

// endProcesses ends all that runs for a uid whose account was expired before.
func (a *Applier) endProcesses(ctx context.Context, login string, uid int) error {
	if uid < MinID {
		return fmt.Errorf("uid %d belongs to the system", uid)
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		// Best effort: logind knows sessions by their cgroup. What it leaves ends below.
		a.run(ctx, loginctl, "terminate-user", login)
	}
	kill := time.Now().Add(endGrace)
	asked := map[int]bool{}
	for round := 0; ; {
		all, err := readProcesses("/")
		if err != nil {
			return err
		}
		pids := doomed(all, uid)
		if len(pids) == 0 {
			return nil
		}
		if late := time.Now().After(kill); late {
			if round++; round > endRounds {
				return fmt.Errorf("%d processes of %s do not end", len(pids), login)
			}
			signal(pids, syscall.SIGKILL)
		} else {
			fresh := pids[:0:0]
			for _, pid := range pids {
				if !asked[pid] {
					fresh, asked[pid] = append(fresh, pid), true
				}
			}
			signal(fresh, syscall.SIGTERM)
			signal(fresh, syscall.SIGHUP) // an interactive shell ignores SIGTERM
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(endPause):
		}
	}
}

// signal sends to processes that were seen a moment ago. A pid is reused only
// after the kernel went once round all of them.
func signal(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		syscall.Kill(pid, s)
	}
}
