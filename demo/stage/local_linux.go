package stage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cardea-ssh/cardea/internal/vhost"
)

// Local makes virtual hosts in this process, which must be root.
type Local struct {
	// Agent is the path of cardea-server-agent.
	Agent string
	// SSHD returns more lines for the sshd_config of a host; nil means that there are none.
	SSHD func(host string) string

	network *vhost.Network
	hosts   map[string]*vhost.Host
	agents  map[string]*vhost.Process
	control string
}

// agentInside is where the agent's program is seen inside a host.
const agentInside = "/usr/local/sbin/cardea-server-agent"

// connect makes the network when it is first needed.
func (l *Local) connect(ctx context.Context) (err error) {
	if l.network == nil {
		l.hosts, l.agents = map[string]*vhost.Host{}, map[string]*vhost.Process{}
		l.network, err = vhost.NewNetwork(context.WithoutCancel(ctx), vhost.NetworkOptions{})
	}
	return err
}

// Egress is this machine's address on the servers' network.
func (l *Local) Egress(ctx context.Context) (string, error) {
	if err := l.connect(ctx); err != nil {
		return "", err
	}
	return l.network.Addr().String(), nil
}

// Make makes a virtual host with a running sshd.
func (l *Local) Make(ctx context.Context, name, control string) (string, error) {
	u, err := url.Parse(control)
	if err != nil {
		return "", err
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return "", fmt.Errorf("port of %s: %w", control, err)
	}
	agent, err := filepath.Abs(l.Agent)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(agent); err != nil {
		return "", err
	}
	if err := l.connect(ctx); err != nil {
		return "", err
	}
	l.control = control
	h, err := l.network.NewHost(ctx, vhost.Options{
		Name: name, Forwards: []vhost.Forward{{Port: uint16(port), To: u.Host}},
		Binds: []vhost.Bind{{From: agent, To: agentInside}},
	})
	if err != nil {
		return "", err
	}
	l.hosts[name] = h
	// So that fifty at once measure us and not this limit; the same for plain ssh.
	config := "MaxStartups 500:100:500\nMaxSessions 100\n"
	if l.SSHD != nil {
		config += l.SSHD(name)
	}
	if err := h.WriteFile("/etc/ssh/sshd_config.d/10-stage.conf", []byte(config), 0o644); err != nil {
		return "", err
	}
	return h.Addr().String(), h.StartSSHD(ctx)
}

// Enrol starts the agent with its token.
func (l *Local) Enrol(ctx context.Context, name, token string) error {
	h := l.hosts[name]
	if h == nil {
		return fmt.Errorf("no server %s was made", name)
	}
	if _, err := h.Run(ctx, "/usr/bin/mkdir", "-p", "-m", "700", "/var/lib/cardea-server-agent"); err != nil {
		return err
	}
	if err := h.WriteFile("/var/lib/cardea-server-agent/enrollment.token", []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	return l.StartAgent(context.WithoutCancel(ctx), name)
}

// StartAgent starts the server agent of a machine that has enrolled before.
func (l *Local) StartAgent(ctx context.Context, name string) error {
	p, err := l.hosts[name].Start(ctx, agentInside, "run", "--control-url", l.control)
	if err != nil {
		return err
	}
	l.agents[name] = p
	return nil
}

// Host is a machine, for commands inside.
func (l *Local) Host(name string) *vhost.Host { return l.hosts[name] }

// AgentProcess is the server agent of a machine.
func (l *Local) AgentProcess(name string) *vhost.Process { return l.agents[name] }

// Addr is a machine's address.
func (l *Local) Addr(name string) netip.Addr { return l.hosts[name].Addr() }

// Close removes all machines.
func (l *Local) Close() error {
	if l.network == nil {
		return nil
	}
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(append(errs, l.network.Close())...)
}
