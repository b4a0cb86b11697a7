package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/gateway"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/socketpair"
)

// On SIGUSR2 the process starts the program's file anew, hands it the listeners and
// what only it knows, and runs on until its own sessions are over. It is a signal, as
// with nginx, and no verb that would need a socket and a right to use it: systemd
// and root are who may upgrade, and both can send signals. HAProxy's way, to open the
// port twice (SO_REUSEPORT), loses what waits in the queue of the old one.
//
// The two talk on a socket pair, in lines of JSON: the older one writes the
// handover; the newer one, once the control plane has taken its report, that it is
// ready; the older one, once it accepts nobody any more, that it has left, and then what
// becomes of its sessions. Until it has left nothing is decided: whatever fails, the
// older one goes on as if nothing had been.

const (
	// handoverVariable tells a process what it inherits: the names of the descriptors
	// from 3 on, each with the option that it was opened for. The first is the socket.
	handoverVariable = "CARDEA_GATEWAY_HANDOVER"
	firstInherited   = 3
	// stepMark, before the names, asks for a process that only starts the next one and
	// ends: so that one is the child of the service manager, which then sees its end and
	// waits for it. It does not wait for a process that it calls an alien.
	stepMark = "step "
	// readyTimeout is how long the next process may take: it reads its configuration
	// and reports once.
	readyTimeout = time.Minute
	// maxHandover bounds the handover, bytes: some keys.
	maxHandover = 1 << 20
)

var (
	ready = []byte(`{"ready":true}` + "\n")
	gone  = []byte(`{"gone":true}` + "\n")
)

// doors are the listeners, by the options that they are opened for.
type doors struct {
	plain, inside, health *net.TCPListener
	opened                map[string]string // option, and its value
}

func (d *doors) all() map[string]*net.TCPListener {
	return map[string]*net.TCPListener{"listen": d.plain, "listen-tls": d.inside, "health-listen": d.health}
}

// open takes what was inherited for the same address, and opens the rest.
func (d *doors) open(ctx context.Context, from *inheritance, option, address string, listen func(context.Context, string) (*net.TCPListener, error)) (*net.TCPListener, error) {
	if address == "" {
		return nil, nil
	}
	if d.opened == nil {
		d.opened = map[string]string{}
	}
	d.opened[option] = address
	if l := from.take(option, address); l != nil {
		return l, nil
	}
	l, err := listen(ctx, address)
	if err != nil {
		return nil, cannotListen(err, address, "--"+option)
	}
	return l, nil
}

// inheritance is what this process got from the one before; nil is none.
type inheritance struct {
	conn      net.Conn
	lines     *bufio.Reader
	handover  gateway.Handover
	listeners map[string]*net.TCPListener // by option=address
}

// stepAside is the whole life of the process between two processes of a row. It tells
// the older one the id of the newer one.
func stepAside() (code int, done bool) {
	list, asked := strings.CutPrefix(os.Getenv(handoverVariable), stepMark)
	if !asked {
		return 0, false
	}
	os.Setenv(handoverVariable, list)
	files := []uintptr{0, 1, 2}
	for n := range strings.Split(list, " ") {
		files = append(files, uintptr(firstInherited+n))
	}
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		var pid int
		if pid, err = syscall.ForkExec(path, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: files}); err == nil {
			_, err = syscall.Write(firstInherited, fmt.Appendf(nil, pidLine, pid))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cardea-gateway: start the next process:", err)
		return 1, true
	}
	return 0, true
}

// pidLine is what the process between says of the one that it has started.
const pidLine = "{\"pid\":%d}\n"

// inherit reads what was handed over, if anything was.
func inherit() (*inheritance, error) {
	list := os.Getenv(handoverVariable)
	if list == "" {
		return nil, nil
	}
	os.Unsetenv(handoverVariable) // what this one starts inherits nothing by accident
	i := &inheritance{listeners: map[string]*net.TCPListener{}}
	for n, name := range strings.Split(list, " ") {
		file := os.NewFile(uintptr(firstInherited+n), name)
		var err error
		if n == 0 {
			i.conn, err = net.FileConn(file)
		} else {
			var l net.Listener
			if l, err = net.FileListener(file); err == nil {
				i.listeners[name] = l.(*net.TCPListener)
			}
		}
		file.Close() // they have made descriptors of their own
		if err != nil {
			return nil, fmt.Errorf("take over %s from the process before: %w", name, err)
		}
	}
	i.conn.SetDeadline(time.Now().Add(readyTimeout))
	i.lines = bufio.NewReader(i.conn)
	line, err := readLine(i.lines)
	if err == nil {
		err = json.Unmarshal(line, &i.handover)
	}
	if err != nil {
		return nil, fmt.Errorf("take over from the process before: %w", err)
	}
	return i, nil
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); err != bufio.ErrBufferFull {
			return line, err
		}
		if len(line) > maxHandover {
			return nil, errors.New("a line that does not end")
		}
	}
}

func (i *inheritance) take(option, address string) *net.TCPListener {
	if i == nil {
		return nil
	}
	l := i.listeners[option+"="+address]
	delete(i.listeners, option+"="+address)
	return l
}

// from is nil for a process that is the first one.
func (i *inheritance) from() *gateway.Handover {
	if i == nil {
		return nil
	}
	return &i.handover
}

// replace says that this process can do the work, and waits for the one before to
// leave. An error here ends this process, and the one before goes on.
func (i *inheritance) replace(ctx context.Context, g *gateway.Gateway) error {
	if i == nil {
		return nil
	}
	for _, l := range i.listeners {
		l.Close() // the configuration has it no more
	}
	if err := g.Prepare(ctx); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if _, err := i.conn.Write(ready); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if line, err := readLine(i.lines); err != nil || string(line) != string(gone) {
		return fmt.Errorf("take over: the process before does not leave: %w", errors.Join(err, errors.New(strings.TrimSpace(string(line)))))
	}
	i.conn.SetDeadline(time.Time{})
	return nil
}

// upgrader starts the next process.
type upgrader struct {
	path  string // of the program's file
	doors *doors
	quiet func() // ends the health port here; the next process has it
	log   *slog.Logger
}

// newUpgrader finds the file now: later the one that runs may have been replaced, and
// /proc/self/exe would still name it.
func newUpgrader(d *doors, log *slog.Logger) (*upgrader, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil, fmt.Errorf("find this program's file, for upgrades: %w", err)
	}
	return &upgrader{path: path, doors: d, quiet: func() {}, log: log}, nil
}

// run hands over when told to. What fails is logged, and this process goes on. It
// returns after the next one has taken over, or at the end of ctx.
func (u *upgrader) run(ctx context.Context, g *gateway.Gateway, told <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
		}
		u.log.Info("starting the next process", "program", u.path)
		conn, next, err := u.start(ctx, g)
		if err != nil {
			u.log.Error("the next process does not take over: this one goes on", "error", err)
			continue
		}
		// From here, since the next process says so only after this one has left: if this one
		// ended before that, systemd would take it for the end of the service.
		daemon.Notify(mainPID(next))
		g.Leave(conn, func() {
			u.quiet()
			conn.Write(gone)
		})
		return
	}
}

// start runs the next process until it is ready.
func (u *upgrader) start(ctx context.Context, g *gateway.Gateway) (net.Conn, int, error) {
	handover, err := g.HandOver()
	if err != nil {
		return nil, 0, err
	}
	text, err := json.Marshal(handover)
	if err != nil {
		return nil, 0, err
	}
	ours, theirs, err := talk()
	if err != nil {
		return nil, 0, err
	}
	names, files := []string{"talk"}, []uintptr{0, 1, 2, theirs}
	handed := func() { // nothing of it may stay here: its end would not be the end
		for _, fd := range files[firstInherited:] {
			syscall.Close(int(fd))
		}
	}
	for option, l := range u.doors.all() {
		if l == nil {
			continue
		}
		fd, err := duplicate(l)
		if err != nil {
			handed()
			ours.Close()
			return nil, 0, err
		}
		names, files = append(names, option+"="+u.doors.opened[option]), append(files, fd)
	}
	env := append(os.Environ(), handoverVariable+"="+stepMark+strings.Join(names, " "))
	// Not os/exec: it would make the listeners blocking, which are one description with
	// ours, and an accept that blocks cannot be ended.
	pid, err := syscall.ForkExec(u.path, os.Args, &syscall.ProcAttr{Env: env, Files: files})
	handed()
	if err != nil {
		ours.Close()
		return nil, 0, err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		ours.Close()
		return nil, 0, err
	}
	go process.Wait() // so that it leaves no zombie
	next, err := u.await(ctx, ours, text)
	if err != nil {
		process.Kill()
		if next > 0 {
			syscall.Kill(next, syscall.SIGKILL)
		}
		ours.Close()
		return nil, 0, err
	}
	u.log.Info("the next process is ready", "pid", next)
	return ours, next, nil
}

// await gives the handover and waits for the word that the next process is ready. It
// returns the id of that process as soon as there is one.
func (u *upgrader) await(ctx context.Context, conn net.Conn, handover []byte) (pid int, err error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(readyTimeout))
	if _, err := conn.Write(append(handover, '\n')); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(io.LimitReader(conn, maxHandover))
	for able := false; !able || pid == 0; { // the two are two processes, and come in any order
		answer, err := readLine(lines)
		if err != nil {
			return pid, fmt.Errorf("it ended, or says nothing; its log has the reason: %w", err)
		}
		if string(answer) == string(ready) {
			able = true
			continue
		}
		if n, _ := fmt.Sscanf(string(answer), pidLine, &pid); n != 1 || pid <= 1 {
			return 0, fmt.Errorf("it says %q", answer)
		}
	}
	return pid, nil
}

// talk makes the socket pair: ours, and the descriptor that the next process gets.
func talk() (net.Conn, uintptr, error) {
	pair, err := socketpair.New()
	if err != nil {
		return nil, 0, err
	}
	file := os.NewFile(uintptr(pair[0]), "the next process")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		syscall.Close(pair[1])
		return nil, 0, err
	}
	return conn, uintptr(pair[1]), nil
}

// duplicate makes another descriptor of a listener, and leaves the listener as it is.
func duplicate(l *net.TCPListener) (fd uintptr, err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := -1
	if controlErr := raw.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); controlErr != nil {
		return 0, controlErr
	}
	return uintptr(n), err
}

// announce tells systemd that the work is done here now. After an upgrade this is not the
// process that it started (sd_notify(3), MAINPID).
func announce() {
	daemon.Notify(mainPID(os.Getpid()) + "\nREADY=1")
}

func mainPID(pid int) string { return "MAINPID=" + strconv.Itoa(pid) }
