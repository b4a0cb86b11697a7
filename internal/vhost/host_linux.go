package vhost

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed init.sh
var initScript string

const (
	// readyTimeout is how long making a host may take; a tenth of a second is
	// usual, and a machine that also compiles takes several times that.
	readyTimeout = 20 * time.Second
	// waitDelay is how long a program may keep its pipes open after its end.
	waitDelay = 2 * time.Second
	// pollEvery is how often something is looked at that cannot be waited for.
	pollEvery = 3 * time.Millisecond
)

// Options say what a host is like.
type Options struct {
	// Name is the host's name.
	Name string
	// Forwards are TCP ports that lead out of the host, so that one URL means
	// the same inside and outside.
	Forwards []Forward
	// Binds are files and folders of the machine to be seen in the host.
	// Needed for what is below /home, /run and /tmp, which are empty there.
	Binds []Bind
	// Install lets packages be installed: /usr, too, is the host's own, as an overlay.
	Install bool
	// Systemd runs systemd as the host's first process, with journald, logind
	// and, from StartSSHD on, the unit of sshd; there is no syslog then. It needs a
	// machine with systemd installed and version 2 of control groups; that
	// systemd runs the machine is not needed.
	Systemd bool
}

// Forward relays 127.0.0.1:Port inside the host to the TCP address To, dialled
// from the machine's side of the network.
type Forward struct {
	Port uint16
	To   string
}

// Bind shows the machine's path From at the host's path To.
type Bind struct {
	From, To string
	Writable bool
}

// Host is one virtual host.
type Host struct {
	Name string

	network *Network
	addr    netip.Addr
	link    string // the machine's end of its link
	systemd bool
	init    *exec.Cmd
	space   *netns
	sshd    *Process

	closing  sync.Once
	closeErr error
	open     []io.Closer // listeners and the log socket
	relays   sync.WaitGroup
	stop     context.CancelFunc // ends the relays
}

// namespaces are those a host does not share. The kernel kills the process
// when the thread that made it dies, and threads of a Go program do not die
// before the program.
func namespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
}

// NewHost makes a host. It lives until its Close or that of the network.
func (n *Network) NewHost(ctx context.Context, opt Options) (*Host, error) {
	last, err := n.next()
	if err != nil {
		return nil, err
	}
	live, stop := context.WithCancel(context.Background())
	h := &Host{Name: opt.Name, network: n, addr: n.addr(last), link: fmt.Sprintf("cardea%d-%d", n.prefix[2], last), systemd: opt.Systemd, stop: stop}
	if err := h.start(ctx, live, last, opt); err != nil {
		h.Close()
		return nil, fmt.Errorf("making host %s: %w", opt.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = append(n.hosts, h)
	return h, nil
}

func (h *Host) start(ctx, live context.Context, last byte, opt Options) error {
	h.init = exec.Command(shellProgram, "-c", initScript, "vhost-init")
	h.init.SysProcAttr = namespaces()
	h.init.Env = append(environment(), "NAME="+h.Name, "ADDR="+h.addr.String(), "BINDS="+bindLines(opt.Binds), "INSTALL="+yes(opt.Install), "SYSTEMD="+yes(opt.Systemd))
	linked := make(chan error, 1)
	err := startReadyWith(ctx, h.init, func() {
		linked <- h.network.link(ctx, h.link, last, h.init.Process.Pid)
	})
	if h.init.Process == nil {
		return err
	}
	if err := errors.Join(err, <-linked); err != nil {
		return err
	}
	if h.space, err = openNetns(h.init.Process.Pid); err != nil {
		return err
	}
	for _, f := range opt.Forwards {
		if err := h.forward(live, f); err != nil {
			return err
		}
	}
	if opt.Systemd {
		return h.awaitSystemd(ctx)
	}
	return h.startSyslog()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func bindLines(binds []Bind) string {
	var b strings.Builder
	for _, bind := range binds {
		access := "ro"
		if bind.Writable {
			access = "rw"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", bind.From, bind.To, access)
	}
	return b.String()
}

// environment is what a program started by a service manager would find.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8"}
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Command prepares a program inside the host, as root, with a clean
// environment. It ends with ctx; what it started in the background ends with
// the host.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{fmt.Sprintf("--target=%d", h.init.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--", name}
	cmd := tied(exec.CommandContext(ctx, nsenterProgram, append(enter, args...)...))
	cmd.Env = environment()
	return cmd
}

// Run runs a program inside the host and returns what it wrote to stdout; the
// error holds what it wrote to stderr.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return runCommand(h.Command(ctx, name, args...), nil)
}

// Dial connects from inside the host.
func (h *Host) Dial(network, address string) (conn net.Conn, err error) {
	err = h.space.do(func() error {
		conn, err = net.Dial(network, address)
		return err
	})
	return conn, err
}

// Listen opens a socket on the host that this program serves: a service that the
// host finds on its network.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	space, err := openNetns(h.init.Process.Pid)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	err = space.do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// Start starts a program inside the host and keeps its output.
func (h *Host) Start(ctx context.Context, name string, args ...string) (*Process, error) {
	return Start(h.Command(ctx, name, args...))
}

// WriteFile writes a file of root's inside the host, with the folders above it.
func (h *Host) WriteFile(path string, data []byte, mode fs.FileMode) error {
	_, err := runCommand(h.Command(context.Background(), "install", "-D", "-m", fmt.Sprintf("%04o", mode.Perm()), "/dev/stdin", path), data)
	return err
}

// ReadFile reads a file inside the host.
func (h *Host) ReadFile(path string) ([]byte, error) {
	out, err := runCommand(h.Command(context.Background(), "cat", "--", path), nil)
	return []byte(out), err
}

// inside is a path of the machine that leads to path in the host. No part of
// path may be a symbolic link: an absolute one would lead back to the machine.
func (h *Host) inside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", h.init.Process.Pid, path)
}

// forward listens inside the host for one port.
func (h *Host) forward(live context.Context, f Forward) error {
	var l net.Listener
	err := h.space.do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", f.Port))
		return err
	})
	if err != nil {
		return err
	}
	h.open = append(h.open, l)
	h.relays.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			h.relays.Go(func() { h.relay(live, in, f.To) })
		}
	})
	return nil
}

// relay copies both ways until both are done, passing half-closes on.
func (h *Host) relay(live context.Context, in net.Conn, to string) {
	defer in.Close()
	out, err := h.network.Dial(live, "tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	defer context.AfterFunc(live, func() { in.Close(); out.Close() })()
	var both sync.WaitGroup
	oneWay := func(dst, src net.Conn) {
		io.Copy(dst, src)
		dst.(*net.TCPConn).CloseWrite()
	}
	both.Go(func() { oneWay(out, in) })
	both.Go(func() { oneWay(in, out) })
	both.Wait()
}

// Close ends everything in the host and removes it. It may be called twice.
func (h *Host) Close() error {
	h.closing.Do(func() {
		h.stop()
		for _, c := range h.open {
			c.Close()
		}
		h.relays.Wait()
		if h.init != nil && h.init.Process != nil {
			kill(h.init) // and with it, by the kernel, every process in the host
			h.unlink()
			if h.systemd {
				removeGroups()
			}
		}
		if h.space != nil {
			h.closeErr = h.space.Close()
		}
		h.network.mu.Lock()
		defer h.network.mu.Unlock()
		h.network.hosts = slices.DeleteFunc(h.network.hosts, func(o *Host) bool { return o == h })
	})
	return h.closeErr
}

// unlink removes the link. The kernel would do so too, but some time later.
func (h *Host) unlink() {
	h.network.Command(context.Background(), h.network.ip, "link", "delete", h.link).Run()
}

// kill ends a process and waits for it.
func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// startReady starts cmd and waits until it writes the line "ready".
func startReady(ctx context.Context, cmd *exec.Cmd) error {
	return startReadyWith(ctx, cmd, func() {})
}

// startReadyWith runs also while it waits.
func startReadyWith(ctx context.Context, cmd *exec.Cmd, also func()) error {
	var stderr bytes.Buffer
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &stderr
	cmd.WaitDelay = waitDelay
	if err := cmd.Start(); err != nil {
		return err
	}
	go also()
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadString('\n')
		line <- text
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case text := <-line:
		if text == "ready\n" {
			return nil
		}
		kill(cmd)
		return fmt.Errorf("it ended early: %s", firstLine(stderr.Bytes()))
	case <-ctx.Done():
		kill(cmd)
		return ctx.Err()
	}
}

// runCommand runs cmd with input and makes one error of how it failed.
func runCommand(cmd *exec.Cmd, input []byte) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", cmd.Args[len(cmd.Args)-1], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
