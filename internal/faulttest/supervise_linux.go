package faulttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Main returns at once unless the process was started as Plan.Env says. probe,
// if not nil, is asked between two calls whether the host is sound; path is what
// the last one changed.
func Main(probe func(path string) error) {
	switch {
	case os.Getenv(envChild) != "":
		fmt.Fprintln(os.Stderr, "faulttest:", become(os.Args[1:]))
		os.Exit(1)
	case os.Getenv(envRun) != "":
		s := supervisor{plan: Plan{Log: os.Getenv(envLog), At: os.Getenv(envAt), Do: Effect(os.Getenv(envDo))}, probe: probe, seen: map[string]int{}}
		code, err := s.run()
		if err != nil {
			fmt.Fprintln(os.Stderr, "faulttest:", err)
			code = 1
		}
		os.Exit(code)
	}
}

// killedCode is how the supervisor ends when the program was killed.
const killedCode = 128 + int(syscall.SIGKILL)

type supervisor struct {
	plan  Plan
	probe func(string) error

	listener int
	child    *exec.Cmd
	log      *os.File
	seen     map[string]int
	failing  string // errno that holds from here on
	changed  string // what the last call was about, not probed yet
}

func (s *supervisor) run() (int, error) {
	var err error
	if s.log, err = os.OpenFile(s.plan.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return 0, err
	}
	// What the program leaves behind becomes ours, so that Kill finds it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	if err := s.start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.child.Wait() }()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for sig := range signals {
			s.child.Process.Signal(sig)
		}
	}()
	if err := s.serve(); err != nil {
		s.killAll()
		return 0, err
	}
	<-ended
	s.look("the end")
	if code := s.child.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return killedCode, nil
}

// start starts the program and takes the listener from it.
func (s *supervisor) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "listener")
	s.child = exec.Command("/proc/self/exe", os.Args[1:]...)
	s.child.Env = append(os.Environ(), envChild+"=1")
	s.child.Stdin, s.child.Stdout, s.child.Stderr = os.Stdin, os.Stdout, os.Stderr
	s.child.ExtraFiles = []*os.File{theirs}
	err = s.child.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return errors.New("this kernel or this user has no seccomp_unotify")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	s.listener = fds[0]
	return unix.Close(pair[0])
}

// serve answers until nobody has the filter any more.
func (s *supervisor) serve() error {
	for {
		poll := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents&unix.POLLHUP != 0 {
				return nil
			}
			continue
		}
		var n notification
		switch err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
			continue // it was killed meanwhile
		case err != nil:
			return err
		}
		answer := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if errno := s.decide(&n); errno != 0 {
			answer.flags, answer.error = 0, -int32(errno)
		}
		if err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

func (s *supervisor) ioctl(request uintptr, at unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), request, uintptr(at)); errno != 0 {
		return errno
	}
	return nil
}

// decide gives the error of a stopped call, or 0 to let it happen.
func (s *supervisor) decide(n *notification) syscall.Errno {
	call, path, ok := describe(n)
	if !ok {
		return 0
	}
	who := program(n.pid)
	kind := name(who, call, path, 0)
	s.seen[kind]++
	point := name(who, call, path, s.seen[kind])
	s.look(point)
	s.changed = path
	fmt.Fprintln(s.log, point)
	if s.failing != "" && could(call, s.failing) {
		return errnos[s.failing]
	}
	if point != s.plan.At {
		return 0
	}
	// Who is killed must not be told to go on: the call would happen before the
	// signal is looked at.
	switch s.plan.Do {
	case Kill:
		s.killAll()
		return syscall.EINTR
	case KillOne:
		syscall.Kill(int(n.pid), syscall.SIGKILL)
		return syscall.EINTR
	case Orphan:
		s.child.Process.Kill()
		if ofProcess(n.pid, s.child.Process.Pid) {
			return syscall.EINTR
		}
		return 0
	}
	text, stays := strings.CutSuffix(string(s.plan.Do), "+")
	if stays {
		s.failing = text
	}
	return errnos[text]
}

// ofProcess reports whether a thread is one of a process's.
func ofProcess(thread uint32, pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, thread))
	return err == nil
}

// look asks the probe how the host stands before the next call.
func (s *supervisor) look(before string) {
	if s.probe == nil || s.changed == "" {
		return
	}
	if err := s.probe(s.changed); err != nil {
		fmt.Fprintln(s.log, badMark+"before "+before+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	s.changed = ""
}

// killAll kills all descendants, those first that could start others.
func (s *supervisor) killAll() {
	s.child.Process.Kill()
	for {
		alive := descendants(os.Getpid())
		if len(alive) == 0 {
			return
		}
		for _, pid := range alive {
			syscall.Kill(pid, syscall.SIGKILL)
			if pid != s.child.Process.Pid {
				unix.Wait4(pid, nil, unix.WNOHANG, nil) // those that were inherited
			}
		}
	}
}

// descendants are the processes below pid that still run.
func descendants(pid int) (found []int) {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		text := string(raw)
		fields := strings.Fields(text[strings.LastIndex(text, ")")+1:]) // the name may hold anything
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], id)
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		found = append(found, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return found
}
