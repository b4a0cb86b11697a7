package cli

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// maxHops bounds how many servers lead to one: two that name each other as bastions must
// not start processes without end.
const maxHops = 3

// hopsVariable tells a helper, through the ssh that starts it, how many there are before it.
const hopsVariable = "CARDEA_HOPS"

// through opens a connection to address from the server called bastion, by an ssh of its
// own: with a certificate for the bastion alone, and its host certificate checked, as if
// the person had typed it. What comes back is still a stranger until the ssh above has
// checked the host certificate of the server itself.
func (a *app) through(ctx context.Context, control *agent.Control, bastion, address string) (net.Conn, error) {
	hops, _ := strconv.Atoi(a.env(hopsVariable))
	if hops < 0 || hops >= maxHops {
		return nil, api.Errorf(api.Conflict, "more than %d servers in a row lead there", maxHops).WithHint("tell an administrator; he sees them with: cardea admin servers list")
	}
	if err := checkDialled(address); err != nil {
		return nil, err
	}
	c, _, err := control.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(c.Servers, func(s api.CatalogEntry) bool { return s.ID == bastion })
	if i < 0 {
		return nil, api.Errorf(api.Denied, "the way leads through a server that you may not enter").WithHint("ask your administrator for a grant there")
	}
	entry := c.Servers[i]
	if err := checkEntry(entry); err != nil {
		return nil, err
	}
	program, err := openSSH("ssh")
	if err != nil {
		return nil, err
	}
	// -W brings no session, no terminal and no forwarding but this one with it.
	o := sshOptions{host: fullName(entry), options: []string{"-W", address, "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "LogLevel=ERROR"}}
	args, err := a.sshArgs(o, agent.Connected{ServerID: entry.ID, ServerName: entry.Name, Login: entry.Login})
	if err != nil {
		return nil, err
	}
	return throughSSH(program, args, a.err, hopsVariable+"="+strconv.Itoa(hops+1))
}

// checkDialled checks an address that becomes an argument of ssh.
func checkDialled(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if _, notIP := netip.ParseAddr(host); err == nil && notIP != nil {
		err = ident.ServerName(host)
	}
	if err != nil {
		return api.Errorf(api.Foreign, "the control plane gave an address that cannot be used").WithHint("tell your administrator")
	}
	return nil
}
