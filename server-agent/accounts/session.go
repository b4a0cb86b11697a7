package accounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SSHProcess finds the process of a pid if it is one of root's sshd, as those
// are that write of logins. Its start, in ticks since the boot, tells it from a
// later process of that number.
func SSHProcess(pid int) (start string, ok bool) { return sshProcess("/", pid) }

func sshProcess(root string, pid int) (start string, ok bool) {
	dir := filepath.Join(root, "proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return "", false
	}
	p, ok := parseStatus(pid, status)
	if !ok || p.name != "sshd" && p.name != "sshd-session" || p.uids != [4]int{} {
		return "", false
	}
	return startOf(dir)
}

// startOf is the 22nd field of proc_pid_stat(5). The second may have spaces and
// brackets of its own.
func startOf(dir string) (string, bool) {
	raw, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return "", false
	}
	i := strings.LastIndex(string(raw), ") ")
	if i < 0 {
		return "", false
	}
	if f := strings.Fields(string(raw[i+2:])); len(f) > 19 {
		return f[19], true
	}
	return "", false
}

// ErrNotTheirs: a process of sshd's is not that of a session of the account, or not
// yet. Where any local user can write to the log, a line may ascribe every process
// of sshd's to an account: the one that listens, with everybody's sessions below it,
// and that of root's own session.
var ErrNotTheirs = errors.New("the process of sshd's is not that of a session of this account")

// sessionFor tells what /proc knows of a process of sshd's, which no user can
// forge. Below that of a session runs one of the account's own, once it has
// begun. Until then the process has another of sshd's above it, or the name that
// those of sessions have since OpenSSH 9.8, and none of root's or of somebody
// else's below it.
func sessionFor(all []process, pid, uid int) bool {
	above, known, foreign := 0, false, false
	for _, p := range all {
		switch {
		case p.pid == pid:
			above, known = p.parent, p.name == "sshd-session"
		case p.parent != pid:
		case p.uids == [4]int{uid, uid, uid, uid}:
			return pid > 1 // who lost their parents come to the first process
		case p.uids[0] == 0 || p.uids[0] >= MinID:
			foreign = true
		}
	}
	for _, p := range all {
		known = known || p.pid == above && p.name == "sshd" && p.uids == [4]int{}
	}
	return pid > 1 && known && !foreign
}

// SessionLogin is the account that a session of sshd's is in, whatever a log says: empty
// before it has begun.
func SessionLogin(pid int, start string) string {
	var h Host
	all, err := readProcesses("/")
	if now, ok := SSHProcess(pid); !ok || now != start || err != nil || h.readAccounts("/") != nil {
		return ""
	}
	uid, ok := sessionUID(all, pid)
	for _, u := range h.Users {
		if ok && u.UID == uid {
			return u.Name
		}
	}
	return ""
}

// sessionUID is that of the process that a person has below one of sshd's.
func sessionUID(all []process, pid int) (uid int, ok bool) {
	for _, p := range all {
		if u := p.uids[0]; pid > 1 && p.parent == pid && u >= MinID && p.uids == [4]int{u, u, u, u} {
			return u, true
		}
	}
	return 0, false
}

// sessionGrace is what the processes of one session get between SIGTERM and SIGKILL.
const sessionGrace = 500 * time.Millisecond

// noSession is what the kernel calls the audit session of who never logged in.
const noSession = "4294967295"

// EndSession ends one session of sshd's: its process, all that descends from it,
// and what has left that tree and is of the same login (its audit session, where
// the kernel keeps those) and of its uid. Others of that uid go on, and so does a
// daemon of root's that was started there. The error is ErrNotTheirs for a process
// that is not of a session of the account.
func EndSession(login string, pid int, start string) error {
	var h Host
	if err := h.readAccounts("/"); err != nil {
		return err
	}
	uid := -1
	for _, u := range slices.Backward(h.Users) { // where a name stands twice the first line counts
		if u.Name == login {
			uid = u.UID
		}
	}
	if uid < MinID {
		return fmt.Errorf("%s is no account of a person", login)
	}
	kill := time.Now().Add(sessionGrace)
	var logins map[string]bool
	for round := 0; ; {
		if now, ok := SSHProcess(pid); (!ok || now != start) && logins == nil {
			return nil
		}
		all, err := readProcesses("/")
		if err != nil {
			return err
		}
		if logins == nil && !sessionFor(all, pid, uid) {
			return ErrNotTheirs
		}
		var pids []int
		if pids, logins = sessionOf("/", all, pid, start, uid, logins); len(pids) == 0 {
			return nil
		}
		if time.Now().After(kill) {
			if round++; round > endRounds {
				return fmt.Errorf("%d processes of the session do not end", len(pids))
			}
			signal(pids, syscall.SIGKILL)
		} else if round == 0 {
			signal(pids, syscall.SIGTERM)
			signal(pids, syscall.SIGHUP)
		}
		time.Sleep(endPause)
	}
}

// sessionOf are the processes of a session that are there. logins are the audit
// sessions that were found in it before.
func sessionOf(root string, all []process, pid int, start string, uid int, logins map[string]bool) ([]int, map[string]bool) {
	if logins == nil {
		logins = map[string]bool{}
	}
	var pids []int
	if now, ok := sshProcess(root, pid); ok && now == start {
		pids = append(pids, below(all, pid)...)
	}
	for _, p := range all {
		if p.pid == pid {
			// Where PAM gives each login none of its own, all have that of sshd.
			logins[auditSession(root, p.parent)] = false
		}
	}
	for _, p := range pids {
		id := auditSession(root, p)
		if _, known := logins[id]; !known && id != noSession && id != "" && p != pid {
			logins[id] = true
		}
	}
	for _, p := range all {
		if p.owned(uid) && p.pid != os.Getpid() && logins[auditSession(root, p.pid)] && !slices.Contains(pids, p.pid) {
			pids = append(pids, p.pid)
		}
	}
	return pids, logins
}

func auditSession(root string, pid int) string {
	raw, err := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(pid), "sessionid"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// below is a process with all that descends from it.
func below(all []process, pid int) (pids []int) {
	children := map[int][]int{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		if p := queue[0]; p > 1 && p != os.Getpid() && !slices.Contains(pids, p) {
			pids = append(pids, p)
			queue = append(queue, children[p]...)
		}
	}
	return pids
}
