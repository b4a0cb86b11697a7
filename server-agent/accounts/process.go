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

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/program"
)

const (
	// endGrace is what processes get between SIGTERM and SIGKILL.
	endGrace = 2 * time.Second
	// endRounds bounds how often new processes are looked for. A round kills all of
	// the uid at once, however fast they fork; what is left is their offspring of
	// other uids, and processes that hang in the kernel, which are reported.
	endRounds = 50
	endPause  = 20 * time.Millisecond
	// maxPolite is how many processes are asked to end before they are killed. More
	// are no session any more; while they are asked they would double.
	maxPolite = 500
)

// process is what matters of one entry of /proc.
type process struct {
	pid, parent int
	name        string // anything the process likes, up to 15 bytes
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
		case key == "Name":
			p.name = strings.TrimSpace(value)
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
	if uid <= 0 || uid < MinID && login != ident.Canary {
		return fmt.Errorf("uid %d belongs to the system", uid)
	}
	if systemdRuns() {
		// Best effort: logind knows sessions by their cgroup. What it leaves ends below.
		a.run(ctx, loginctl, "terminate-user", login)
	}
	kill := time.Now().Add(endGrace)
	if all, err := readProcesses("/"); err == nil && len(doomed(all, uid)) > maxPolite {
		a.killAll(ctx, uid) // before they leave the agent no time to run
		kill = time.Now()
	}
	asked := map[int]bool{}
	for round, blind := 0, false; ; {
		all, err := readProcesses("/")
		if err != nil {
			return err
		}
		pids := doomed(all, uid)
		if len(pids) == 0 {
			if blind {
				return nil
			}
			// What lives for an instant, forks and ends is never there to be seen.
			a.killAll(ctx, uid)
			blind = true
			continue
		}
		if late := time.Now().After(kill); late {
			if round++; round > endRounds {
				return fmt.Errorf("%d processes of %s do not end", len(pids), login)
			}
			a.killAll(ctx, uid)
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

// killAll kills all processes of a uid in one go, with those that they are just
// forking. Looking and then killing one by one never catches up with a program
// that forks; kill(2) of -1 goes through the whole list under the kernel's lock,
// and so must come from the uid itself, which may signal nobody else. A slice of
// systemd's has the same by cgroup.kill, and what changed its uid in it as well.
// Both are best effort: the caller looks again.
func (a *Applier) killAll(ctx context.Context, uid int) {
	if a.Run != nil {
		return // a test's
	}
	if slice := fmt.Sprintf("/user.slice/user-%d.slice", uid); !inSlice("/", slice) {
		os.WriteFile("/sys/fs/cgroup"+slice+"/cgroup.kill", []byte("1"), 0)
	}
	// The helper counts as the person's: without this it could not start where he
	// has as many processes as the agent itself may have.
	unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	program.Command{
		Argv: []string{"/bin/sh", "-c", "kill -KILL -1"}, // nothing of ours in it; minimal hosts have no kill(1)
		As:   &syscall.Credential{Uid: uint32(uid), Gid: nobodyID},
	}.Run(ctx)
}

// inSlice reports whether this process is in a slice: somebody runs the agent by
// hand. Then it cannot be killed whole.
func inSlice(root, slice string) bool {
	raw, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	return err != nil || strings.Contains(string(raw), slice+"/")
}

// strays are processes of other uids, outside his tree, that began in a session
// of uid's: the kernel keeps who logged in (loginuid) through sudo and daemons.
// They are told and not ended: on a host without systemd they may as well be the
// sshd or the database that he restarted as its administrator.
func strays(root string, all []process, uid int) (found []process) {
	for _, p := range all {
		raw, err := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(p.pid), "loginuid"))
		if err == nil && strings.TrimSpace(string(raw)) == strconv.Itoa(uid) && !p.owned(uid) && p.pid != os.Getpid() {
			found = append(found, p)
		}
	}
	return found
}

// signal sends to processes that were seen a moment ago. A pid is reused only
// after the kernel went once round all of them.
func signal(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		syscall.Kill(pid, s)
	}
}
