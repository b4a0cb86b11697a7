package vhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// ErrUnable is wrapped by everything that says why this process cannot make
// hosts here; tests skip on it.
var ErrUnable = errors.New("cannot make virtual hosts")

// programs that a host is made with; /usr/sbin is not in every PATH.
const (
	nsenterProgram = "/usr/bin/nsenter"
	shellProgram   = "/bin/sh"
)

// Check reports why no host can be made here, wrapping ErrUnable, or nil.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: only root can (sudo)", ErrUnable)
	}
	if _, err := os.Stat(nsenterProgram); err != nil {
		return fmt.Errorf("%w: install util-linux: %v", ErrUnable, err)
	}
	if _, err := ipProgram(); err != nil {
		return err
	}
	probe := exec.Command(shellProgram, "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && "+
		"mkdir /mnt/u /mnt/w && mount -t overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w overlay /etc && mount -t proc proc /proc")
	probe.SysProcAttr = namespaces()
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: the kernel refuses namespaces or mounts: %v: %s", ErrUnable, err, firstLine(out))
	}
	return nil
}

func ipProgram() (string, error) {
	for _, p := range []string{"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: install iproute2", ErrUnable)
}

// NetworkOptions say where the hosts are reachable from.
type NetworkOptions struct {
	// Private puts the network into a namespace of its own: nothing on the
	// machine sees it, and any number of them can use the same addresses and
	// ports. Programs that are to reach the hosts are run by Network.Command;
	// this process dials by Network.Dial and listens by Network.Listen.
	Private bool
}

// Network is a set of hosts that reach each other, and are reached from the
// machine (or, if private, from what runs in the network).
type Network struct {
	ip     string    // the ip program
	prefix [3]byte   // the first octets of all addresses
	claim  io.Closer // holds the addresses against other processes
	anchor *exec.Cmd // keeps a private network's namespace; nil if not private
	space  *netns    // where the machine's ends of the links are

	mu     sync.Mutex
	hosts  []*Host
	last   byte // last octet given out
	closed bool
}

// NewNetwork makes a network that lives until Close, until ctx ends, or until
// this process does.
func NewNetwork(ctx context.Context, opt NetworkOptions) (*Network, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	ip, err := ipProgram()
	if err != nil {
		return nil, err
	}
	n := &Network{ip: ip, last: 1} // .1 is the machine
	if opt.Private {
		err = n.private(ctx)
	} else {
		err = n.public()
	}
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { n.Close() })
	return n, nil
}

// private starts the process that holds the namespace.
func (n *Network) private(ctx context.Context) error {
	n.prefix = [3]byte{198, 18, 0}
	n.anchor = exec.Command(shellProgram, "-c", n.ip+" link set lo up && echo ready && exec sleep infinity >/dev/null 2>&1")
	n.anchor.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := startReady(ctx, n.anchor); err != nil {
		return fmt.Errorf("making a private network: %w", err)
	}
	var err error
	n.space, err = openNetns(n.anchor.Process.Pid)
	return err
}

// public finds addresses of RFC 2544's range for tests (198.18.0.0/15) that no
// interface, route or other process uses. The claim on them is a socket in the
// abstract namespace: it is atomic, and the kernel drops it with the process.
func (n *Network) public() error {
	var err error
	if n.space, err = openNetns(os.Getpid()); err != nil {
		return err
	}
	const tries = 64
	for range tries {
		n.prefix = [3]byte{198, 18, byte(rand.IntN(256))}
		claim, err := net.Listen("unix", "@cardea-vhost-"+n.subnet().String())
		if err != nil {
			continue
		}
		if taken, err := n.inUse(); err == nil && !taken {
			n.claim = claim
			return nil
		}
		claim.Close()
	}
	return fmt.Errorf("%w: all addresses of 198.18.0.0/16 seem to be in use", ErrUnable)
}

// inUse reports whether the machine already knows a way to the subnet, other
// than by its default route.
func (n *Network) inUse() (bool, error) {
	out, err := exec.Command(n.ip, "-4", "route", "show", "table", "all", "root", n.subnet().String()).Output()
	return len(strings.TrimSpace(string(out))) > 0, err
}

func (n *Network) subnet() netip.Prefix { return netip.PrefixFrom(n.addr(0), 24) }

func (n *Network) addr(last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{n.prefix[0], n.prefix[1], n.prefix[2], last})
}

// Addr is the machine's own address in the network: where hosts see it.
func (n *Network) Addr() netip.Addr { return n.addr(1) }

// Command prepares a program that runs on the machine with the network's view
// of the world. It ends with ctx and with this process.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if n.anchor != nil {
		args = append([]string{"--net=" + netnsPath(n.anchor.Process.Pid), "--", name}, args...)
		name = nsenterProgram
	}
	return tied(exec.CommandContext(ctx, name, args...))
}

// Dial connects from the machine's side of the network. The host part of
// address must be an IP address.
func (n *Network) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.space.do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the machine's side of the network.
func (n *Network) Listen(network, address string) (l net.Listener, err error) {
	err = n.space.do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// Close ends all hosts and whatever ran in them, and removes the network.
func (n *Network) Close() error {
	n.mu.Lock()
	hosts, first := n.hosts, !n.closed
	n.hosts, n.closed = nil, true
	n.mu.Unlock()
	if !first {
		return nil
	}
	var errs []error
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, h := range hosts {
		all.Go(func() {
			err := h.Close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	if n.anchor != nil {
		kill(n.anchor)
	}
	if n.claim != nil {
		n.claim.Close()
	}
	return errors.Join(append(errs, n.space.Close())...)
}

// next gives out an address; 254 hosts are enough for anything here.
func (n *Network) next() (byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, errors.New("the network is closed")
	}
	if n.last == 254 {
		return 0, errors.New("the network is full: 253 hosts were made")
	}
	n.last++
	return n.last, nil
}

// link joins the host whose first process is pid to the network, by a pair of
// interfaces of which it has one. Each is routed by itself, so hosts see each
// other through the machine, as far as its firewall lets them.
func (n *Network) link(ctx context.Context, name string, last byte, pid int) error {
	outside := []string{
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", name, pid),
		fmt.Sprintf("address add %s peer %s/32 dev %s", n.addr(1), n.addr(last), name),
		fmt.Sprintf("link set %s up", name),
	}
	inside := []string{
		"link set lo up",
		fmt.Sprintf("address add %s peer %s/32 dev eth0", n.addr(last), n.addr(1)),
		"link set eth0 up",
		fmt.Sprintf("route add default via %s", n.addr(1)),
	}
	if err := batch(n.Command(ctx, n.ip, "-batch", "-"), outside); err != nil {
		return err
	}
	// For this interface only, and no matter if the machine forbids it: hosts
	// are then reached from the machine alone.
	n.space.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/forwarding", []byte("1"), 0)
	})
	return batch(exec.CommandContext(ctx, nsenterProgram, "--net="+netnsPath(pid), "--", n.ip, "-batch", "-"), inside)
}

func batch(ip *exec.Cmd, lines []string) error {
	ip.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := ip.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, firstLine(out))
	}
	return nil
}

// tied makes a program end with this process, and all of its process group
// with its context.
func tied(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	return cmd
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
