package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/gateway"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/version"
)

const (
	configFile = "/etc/cardea/gateway.yaml"
	// healthGrace is how long an answer to a balancer may take at the end.
	healthGrace = time.Second
	// balancerNotice is two or three checks of a balancer, two seconds apart.
	balancerNotice = 5 * time.Second
	// maxHealth connections at once: a balancer needs one or two, and nobody
	// shall use up this gateway's descriptors there.
	maxHealth = 16
	// healthTimeout is how long whoever asks may take to ask; to be answered, as long again.
	healthTimeout = 2 * time.Second
)

// options are those of serve; each is a flag, a variable and a key.
type options struct {
	daemon.LogOptions
	recordingOptions
	Listen       string        `name:"listen" help:"address and port that clients dial"`
	ListenTLS    string        `name:"listen-tls" help:"address and port where the same is spoken inside TLS, such as :443; empty for none"`
	ProxyFrom    []string      `name:"proxy-from" help:"addresses or prefixes of balancers, from which a PROXY header (version 1 or 2) must come"`
	HealthListen string        `name:"health-listen" help:"address and port of /healthz and /readyz; empty for none"`
	ControlURL   string        `name:"control-url" help:"URL of the control plane; needed to enrol, remembered afterwards"`
	StateDir     string        `name:"state-dir" help:"folder of this gateway's identity"`
	TokenFile    string        `name:"token-file" help:"file with an enrolment token, removed after use (default enrollment.token in the state folder)"`
	AllowTargets []string      `name:"allow-targets" help:"prefixes that may be dialled although they are loopback, link-local or a cloud's own, such as 127.0.0.0/8"`
	Refuse       bool          `name:"refuse-connections" help:"take no new sessions; live ones run on"`
	DrainNotice  time.Duration `name:"drain-notice" help:"how long new sessions are still taken after SIGTERM, so that a balancer notices (default 5s with proxy-from)"`
	DrainTime    time.Duration `name:"drain-time" help:"how long live sessions run on after SIGTERM"`
	PeerTimeout  time.Duration `name:"peer-timeout" help:"how long a client or a server may be out of reach before its session ends, from 10s to 4h; longer lets laptops sleep"`
}

func defaults() options {
	return options{
		Listen:       ":7234",
		HealthListen: "127.0.0.1:7235",
		StateDir:     gateway.DefaultStateDir,
		DrainTime:    gateway.DefaultDrain,
		PeerTimeout:  gateway.DefaultPeerTimeout,
	}
}

func serveCommand(env func(string) (string, bool), stderr io.Writer) *cobra.Command {
	opt := defaults()
	cmd := &cobra.Command{Use: "serve", Short: "Run the gateway"}
	loader := config.Bind(cmd.Flags(), &opt, configFile)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := loader.Load(env); err != nil {
			return commandline.Wrong(err)
		}
		networks, err := opt.check()
		if err != nil {
			return commandline.Wrong(err)
		}
		log, logged, err := opt.Queued(stderr)
		if err != nil {
			return commandline.Wrong(err)
		}
		defer logged()
		return serve(cmd.Context(), opt, networks, log)
	}
	return cmd
}

// networks are the prefixes among the options.
type networks struct{ targets, proxies []netip.Prefix }

// check finds what can be found wrong before a token is used up, and returns the
// prefixes.
func (o options) check() (n networks, err error) {
	for name, address := range map[string]string{"listen": o.Listen, "listen-tls": o.ListenTLS, "health-listen": o.HealthListen} {
		if !isAddress(address) && (name == "listen" || address != "") {
			return n, fmt.Errorf("%s: %q is not an address and a port such as 127.0.0.1:7234", name, address)
		}
	}
	if o.ControlURL != "" {
		if err := api.CheckURL(o.ControlURL); err != nil {
			return n, fmt.Errorf("control-url: %w", err)
		}
	}
	if o.StateDir == "" {
		return n, errors.New("state-dir is empty")
	}
	if _, err := o.resolve(o.StateDir); err != nil {
		return n, err
	}
	for name, d := range map[string]time.Duration{"drain-time": o.DrainTime, "drain-notice": o.DrainNotice} {
		if d < 0 {
			return n, fmt.Errorf("%s: %s is negative", name, d)
		}
	}
	if err := gateway.CheckPeerTimeout(o.PeerTimeout); err != nil {
		return n, fmt.Errorf("peer-timeout: %w", err)
	}
	for _, text := range o.AllowTargets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return n, fmt.Errorf("allow-targets: %q is no prefix such as 127.0.0.0/8", text)
		}
		n.targets = append(n.targets, p.Masked())
	}
	for _, text := range o.ProxyFrom {
		p, err := prefixOf(text)
		if err != nil {
			return n, fmt.Errorf("proxy-from: %q is neither an address nor a prefix, such as 10.0.0.5 or 10.0.0.0/28", text)
		}
		n.proxies = append(n.proxies, p)
	}
	return n, nil
}

// notice is drain-notice, or what a balancer with its usual checks needs.
func (o options) notice() time.Duration {
	if o.DrainNotice == 0 && len(o.ProxyFrom) > 0 {
		return balancerNotice
	}
	return o.DrainNotice
}

// prefixOf reads a prefix, or an address that stands for itself.
func prefixOf(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// isAddress reports whether a port can be listened on at address, as far as its
// text tells.
func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil
}

// serve enrols if need be, opens both listeners before it says that it is
// ready, and runs until it is stopped.
func serve(ctx context.Context, opt options, networks networks, log *slog.Logger) error {
	cred, client, err := gateway.Enrolment{
		StateDir: opt.StateDir, URL: opt.ControlURL, TokenFile: opt.TokenFile,
		UserAgent: version.UserAgent("cardea-gateway"), Version: version.Get().Version, Log: log,
	}.Load(ctx)
	if err != nil {
		return err
	}
	if limit := gateway.LimitMemory(); limit > 0 {
		log.Info("memory is limited", "mib", limit>>20)
	}
	from, err := inherit()
	if err != nil {
		return err
	}
	var d doors
	if d.plain, err = d.open(ctx, from, "listen", opt.Listen, gateway.Listen); err != nil {
		return err
	}
	if d.inside, err = d.open(ctx, from, "listen-tls", opt.ListenTLS, gateway.Listen); err != nil {
		return err
	}
	if d.health, err = d.open(ctx, from, "health-listen", opt.HealthListen, healthListener); err != nil {
		return err
	}
	recordings, err := opt.resolve(opt.StateDir)
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Options{
		Recording:  recordings,
		Credential: cred, Client: client, StateDir: opt.StateDir, AllowTargets: networks.targets,
		TLS: d.inside, ProxyFrom: networks.proxies, RefuseConnections: opt.Refuse, From: from.from(),
		DrainTime: opt.DrainTime, DrainNotice: opt.notice(), PeerTimeout: opt.PeerTimeout, Version: version.Get().Version, Log: log,
	})
	if err != nil {
		return err
	}
	up, err := newUpgrader(&d, log)
	if err != nil {
		return err
	}
	if err := from.replace(ctx, g); err != nil {
		return err
	}
	log.Info("serving", "gateway", cred.Gateway, "name", cred.Name, "control", cred.URL, "listen", addressOf(d.plain), "health", addressOf(d.health), "tls", addressOf(d.inside))
	announce()
	return runAll(ctx, g, up, from, log)
}

func cannotListen(err error, address, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program listens on %s; stop it, or choose another address with %s", address, flag)
	}
	return fmt.Errorf("%w; choose another address with %s", err, flag)
}

func healthListener(ctx context.Context, address string) (*net.TCPListener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// addressOf is empty for no listener.
func addressOf(l *net.TCPListener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// healthServer lets nobody keep a connection: each of them is one of maxHealth, and a monitor
// that hangs must not keep a balancer from asking.
func healthServer(mux *http.ServeMux, log *slog.Logger) *http.Server {
	s := daemon.NewServer(mux, log)
	s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout = healthTimeout, healthTimeout, 2*healthTimeout
	s.SetKeepAlivesEnabled(false)
	return s
}

// runAll keeps the health port open while the gateway drains: that is when a
// balancer must hear that it should send nobody. Where another process has taken
// over, that one answers.
func runAll(ctx context.Context, g *gateway.Gateway, up *upgrader, from *inheritance, log *slog.Logger) error {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	told := daemon.Upgrades(life)
	parts := daemon.NewGroup(life)
	healthy, noHealth := context.WithCancel(life)
	defer noHealth()
	up.quiet = noHealth
	if up.doors.health != nil {
		mux := http.NewServeMux()
		g.Health(mux)
		parts.Go("health", func(context.Context) error {
			return daemon.Serve(healthy, healthServer(mux, log), netutil.LimitListener(up.doors.health, maxHealth), healthGrace)
		})
	}
	if from != nil {
		parts.Go("follow", func(life context.Context) error {
			defer context.AfterFunc(life, func() { from.conn.Close() })()
			g.Follow(from.lines)
			return nil
		})
	}
	parts.Go("memory", gateway.KeepMemory)
	parts.Go("upgrade", func(life context.Context) error {
		until, cancel := context.WithCancel(life)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)() // one that is told to stop starts no other
		up.run(until, g, told)
		return nil
	})
	parts.Go("gateway", func(life context.Context) error {
		defer stop()
		both, cancel := context.WithCancel(life)
		defer cancel()
		defer context.AfterFunc(ctx, func() { daemon.Notify("STOPPING=1"); cancel() })()
		return g.Run(both, up.doors.plain)
	})
	return parts.Wait()
}
