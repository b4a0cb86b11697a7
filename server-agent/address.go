package serveragent

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/cardea-ssh/cardea/server-agent/program"
	"github.com/cardea-ssh/cardea/server-agent/sshd"
)

// proposal is the address at which sshd can perhaps be reached from outside:
// an administrator's word wins over it. Empty means that there is none.
func (a *Agent) proposal(ctx context.Context) string {
	port := sshdPort(ctx)
	if a.opt.AccessAddress != "" {
		if _, address, err := splitAccess(a.opt.AccessAddress, port); err == nil {
			return address
		}
	}
	host := ""
	if a.opt.AccessInterface == "" {
		host = localAddress(a.controlURL())
	} else {
		var err error
		if host, err = interfaceAddress(a.opt.AccessInterface); err != nil {
			a.board.set("address", err.Error())
			return ""
		}
		a.board.set("address")
	}
	if host == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// interfaceAddress is the first address of an interface that others could dial, an
// IPv4 one if there is any: whoever has no IPv6 cannot dial the other.
func interfaceAddress(name string) (string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("the access interface %s is not there; to see which are type: ip address", name)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return "", fmt.Errorf("read the addresses of the access interface %s: %w", name, err)
	}
	six := ""
	for _, addr := range addrs {
		n, ok := addr.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String(), nil
		case six == "":
			six = n.IP.String()
		}
	}
	if six == "" {
		return "", fmt.Errorf("the access interface %s has no address that others could dial", name)
	}
	return six, nil
}

// accessHost is the host part of what is proposed, for the probe.
func (a *Agent) accessHost(ctx context.Context) string {
	host, _, err := net.SplitHostPort(a.proposal(ctx))
	if err != nil {
		return ""
	}
	return host
}

func (a *Agent) controlURL() string {
	if a.opt.ControlURL != "" {
		return a.opt.ControlURL
	}
	return a.cred.ControlURL
}

// localAddress asks the kernel which of the host's addresses it would use
// towards the control plane. Connecting a UDP socket sends nothing.
func localAddress(control string) string {
	u, err := url.Parse(control)
	if err != nil {
		return ""
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "443"))
	if err == nil {
		defer conn.Close()
		if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok && !addr.IP.IsLoopback() && !addr.IP.IsLinkLocalUnicast() {
			return addr.IP.String()
		}
	}
	// The control plane is on this host, or behind a relay on it: then the first
	// address that others could use.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, addr := range addrs {
		if n, ok := addr.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

// sshdPort is the first port that sshd listens on, 22 if it does not say.
func sshdPort(ctx context.Context) string {
	if out, err := program.Run(ctx, "/usr/sbin/sshd", "-T"); err == nil {
		if port := sshd.Port(out); port != "" {
			return port
		}
	}
	return "22"
}
