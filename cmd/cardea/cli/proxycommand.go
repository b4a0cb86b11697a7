package cli

import (
	"context"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/proxycmd"
)

func newProxyCommand(a *app) *cobra.Command {
	fdpass, via := false, ""
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
			return a.proxyCommand(cmd.Context(), args[0], args[1], login, via, fdpass)
		},
	}
	cmd.Flags().BoolVar(&fdpass, "fdpass", false, "pass the connection to ssh (ProxyUseFdpass)")
	cmd.Flags().StringVar(&via, "via", "", "id of the server through which the way leads")
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

// proxyCommand takes what ssh says and trusts none of it: a URL on a web page
// may have put it there.
func (a *app) proxyCommand(ctx context.Context, host, port, login, via string, fdpass bool) error {
	if err := checkServer(host); err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return &usageError{text: strconv.QuoteToASCII(port) + " is no port"}
	}
	if login != "" {
		if err := ident.Login(login); err != nil {
			return &usageError{text: err.Error()}
		}
	}
	if via != "" {
		if err := ident.Check(via, ident.Server); err != nil {
			return &usageError{text: err.Error()}
		}
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
	control.Trace = a.tracer()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return proxycmd.Run(ctx, proxycmd.Options{Carrier: []string{self, "proxycommand", carrierVerb}, Agent: control, Host: host, Login: login, Stderr: a.err, Fdpass: fdpass, Via: via, Trace: control.Trace,
		Through: a.bastions(control)})
}

// bastions leads to servers through others.
func (a *app) bastions(control *agent.Control) func(ctx context.Context, bastion, address string) (net.Conn, error) {
	return func(ctx context.Context, bastion, address string) (net.Conn, error) {
		return a.through(ctx, control, bastion, address)
	}
}
