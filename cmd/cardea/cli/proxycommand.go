package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/proxycmd"
)

func newProxyCommand(a *app) *cobra.Command {
	fdpass, via, files := false, "", ""
	cmd := &cobra.Command{
		Use: "proxycommand HOST PORT [LOGIN]", GroupID: groupSetup,
		Short: "Carry one connection for ssh (ssh runs this)",
		Long: `Carry one connection for ssh: its ProxyCommand. stdin and stdout are the wire, so
nothing else is printed there and nobody is asked anything.`,
		Args: cobra.RangeArgs(2, 3),
		// ssh waits for it: no configuration is read, the agent has done so.
		Annotations: map[string]string{rawKey: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			login := ""
			if len(args) == 3 {
				login = args[2]
			}
			return a.proxyCommand(cmd.Context(), ride{host: args[0], port: args[1], login: login, via: via, files: files, fdpass: fdpass})
		},
	}
	cmd.Flags().BoolVar(&fdpass, "fdpass", false, "pass the connection to ssh (ProxyUseFdpass)")
	cmd.Flags().StringVar(&via, "via", "", "id of the server through which the way leads")
	cmd.Flags().StringVar(&files, "files", "", "folder of the files that ssh-config wrote, whose key will be shown")
	cmd.Flags().SetInterspersed(false)
	cmd.AddCommand(newCarrier())
	return cmd
}

// carrierVerb is no name of a server: it has a capital letter.
const carrierVerb = "Carry"

// newCarrier is what proxycommand starts to hold a connection that it cannot pass to ssh.
func newCarrier() *cobra.Command {
	return &cobra.Command{
		Use: carrierVerb + " ADDRESS [tls]", Hidden: true, Args: cobra.RangeArgs(1, 2), Annotations: map[string]string{rawKey: ""},
		Short: "Hold one connection inside TLS (proxycommand runs this)",
		RunE: func(cmd *cobra.Command, args []string) error {
			return proxycmd.Carry(cmd.Context(), args[0], len(args) == 2 && args[1] == "tls", os.Stdin, os.Stdout, nil)
		},
	}
}

// ride is one connection as ssh asks for it.
type ride struct {
	host, port, login, via, files string
	fdpass                        bool
}

// check trusts nothing of what ssh says: a URL on a web page may have put it there.
func (r ride) check() error {
	if err := checkServer(r.host); err != nil {
		return err
	}
	if _, err := strconv.ParseUint(r.port, 10, 16); err != nil {
		return &usageError{text: strconv.QuoteToASCII(r.port) + " is no port"}
	}
	if r.login != "" {
		if err := checkLogin(r.login, "to enter it as yourself type: cardea ssh "+r.host); err != nil {
			return err
		}
	}
	if r.via != "" {
		if err := ident.Check(r.via, ident.Server); err != nil {
			return &usageError{text: err.Error()}
		}
	}
	return nil
}

// lender is an agent whose connections are for the key in a folder.
type lender struct {
	*agent.Control
	dir string
}

func (l lender) Connect(ctx context.Context, host, login string, _ int) (agent.Connected, error) {
	return l.ConnectLent(ctx, host, login, l.dir)
}

func (a *app) proxyCommand(ctx context.Context, r ride) error {
	if err := r.check(); err != nil {
		return err
	}
	paths, err := agent.DefaultPaths()
	if err != nil {
		return err
	}
	a.paths = paths
	control, err := started(paths)
	if err != nil {
		return err
	}
	control.Trace, control.Unseen = a.tracer(), !a.person
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var from proxycmd.Agent = control
	if r.files != "" {
		dir, err := filepath.Abs(r.files)
		if err != nil {
			return err
		}
		from = lender{control, dir}
	}
	return proxycmd.Run(ctx, proxycmd.Options{Carrier: []string{self, "proxycommand", carrierVerb}, Agent: from, Host: r.host, Login: r.login, Stderr: a.err, Fdpass: r.fdpass, Via: r.via, Trace: control.Trace,
		Through: a.bastions(control)})
}

// bastions leads to servers through others.
func (a *app) bastions(control *agent.Control) func(ctx context.Context, bastion, address string) (net.Conn, error) {
	return func(ctx context.Context, bastion, address string) (net.Conn, error) {
		return a.through(ctx, control, bastion, address)
	}
}
