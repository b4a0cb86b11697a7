package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/proxycmd"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/sshconfig"
)

// sshOptions is one `cardea ssh`.
type sshOptions struct {
	host, login string
	via         string   // id of the server through which the way leads, if one was named
	options     []string // of ssh
	command     []string
}

// passed are the options of ssh that may stand before the host, as fingers know
// them. Others may not: what a program takes for a host and puts there
// ("-oProxyCommand=…") must never become an option.
type passed struct {
	local, remote, dynamic []string
	switches               map[string]*repeated
}

// repeated is a switch that counts, as -v does; the help shows it as a plain one.
type repeated int

func (r *repeated) Type() string     { return "bool" }
func (r *repeated) String() string   { return strconv.Itoa(int(*r)) }
func (r *repeated) Set(string) error { *r++; return nil }

func newSSH(a *app) *cobra.Command {
	var o sshOptions
	var p passed
	via, trace := "", false
	cmd := &cobra.Command{
		Use: "ssh [flags] [LOGIN@]SERVER [ssh options] [COMMAND...]", GroupID: groupAccess,
		Short: "Open a shell on a server, or run a command there",
		Long: `Open a shell on a server, or run a command there, by this machine's ssh. It asks you
to sign in first where that is needed. ssh's own options go behind the server.

It ends with ssh's code; with 4 if there is no session and 5 if you may not.`,
		Example: `  cardea ssh web-1
  cardea ssh web-1 uptime
  cardea ssh web-1 -o ServerAliveInterval=30 -L 8080:localhost:80`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.read(p, args); err != nil {
				return err
			}
			if trace {
				a.traced()
			}
			if via != "" {
				through, err := a.server(cmd.Context(), via)
				if err != nil {
					return err
				}
				o.via = through.ID
			}
			return a.ssh(cmd.Context(), o)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if option := ofSSH(err); option != "" {
			return &usageError{option + " is an option of ssh, and goes behind the server", "type: cardea ssh SERVER " + option + " …"}
		}
		return cmd.Root().FlagErrorFunc()(cmd, err)
	})
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&o.login, "login", "l", "", "the Unix account (default your own)")
	f.StringArrayVarP(&p.local, "local-forward", "L", nil, "as of ssh")
	f.StringArrayVarP(&p.remote, "remote-forward", "R", nil, "as of ssh")
	f.StringArrayVarP(&p.dynamic, "dynamic-forward", "D", nil, "as of ssh")
	f.BoolVar(&trace, "trace", false, "tell each step of the connection with its time (plain ssh does with CARDEA_TRACE=1)")
	f.StringVar(&via, "via", "", "go through this server in place of the bastion that it has")
	p.switches = map[string]*repeated{}
	for letter, name := range map[string]string{
		"A": "forward-agent", "N": "no-command", "T": "no-tty", "t": "tty", "v": "verbose", "q": "quiet", "n": "no-stdin", "f": "background", "C": "compress",
	} {
		p.switches[letter] = new(repeated)
		f.VarPF(p.switches[letter], name, letter, "as of ssh").NoOptDefVal = "true"
	}
	return cmd
}

// sshOthers are the options of ssh that neither take a value nor are known here (ssh(1), 10.0).
const sshOthers = "46aGgKkMsVXxYy"

// ofSSH is the option of ssh that stands before the server, where fingers put it that know ssh,
// if err is about one. -o is ours there, too, for another thing.
func ofSSH(err error) string {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "" && strings.Contains(sshValued+sshOthers, unknown.GetSpecifiedName()):
		return "-" + unknown.GetSpecifiedName()
	case errors.As(err, &value) && value.GetFlag().Shorthand == "o" && strings.ContainsAny(value.GetValue(), "= "):
		return "-o"
	}
	return ""
}

// read takes the command line apart.
func (o *sshOptions) read(p passed, args []string) error {
	for _, kind := range []struct {
		letter string
		values []string
	}{{"-L", p.local}, {"-R", p.remote}, {"-D", p.dynamic}} {
		for _, v := range kind.values {
			o.options = append(o.options, kind.letter, v)
		}
	}
	for _, letter := range []string{"A", "C", "N", "T", "f", "n", "q", "t", "v"} {
		for range *p.switches[letter] {
			o.options = append(o.options, "-"+letter)
		}
	}
	login, host, both := cutLast(args[0], "@")
	if !both {
		host, login = args[0], ""
	} else if login == "" {
		return &usageError{text: fmt.Sprintf("%q has no login before the @", args[0])}
	}
	o.host = host
	behind, command, named, err := splitSSH(args[1:])
	if err != nil {
		return err
	}
	o.options, o.command = append(o.options, behind...), command
	for _, l := range []string{login, named} {
		if l != "" && o.login != "" && o.login != l {
			return &usageError{text: fmt.Sprintf("two logins are named, %q and %q", o.login, l)}
		}
		if l != "" {
			o.login = l
		}
	}
	if err := checkServer(o.host); err != nil {
		return err
	}
	if o.login == "" {
		return nil
	}
	return checkLogin(o.login, "to enter it as yourself type: cardea ssh "+o.host)
}

// checkLogin refuses a login that nobody can have. hint is for root and its like, as fingers
// know them from elsewhere.
func checkLogin(login, hint string) error {
	if ident.Reserved(login) {
		return &usageError{fmt.Sprintf("nobody enters a server as %s through Cardea", login), hint}
	}
	if err := ident.Login(login); err != nil {
		return &usageError{text: err.Error()}
	}
	return nil
}

// batch reports whether ssh was told that nobody is there to answer.
func (o sshOptions) batch() bool {
	for _, option := range o.options {
		key, value, _ := strings.Cut(strings.ReplaceAll(strings.TrimPrefix(option, "-o"), " ", "="), "=")
		if strings.EqualFold(key, "BatchMode") && strings.EqualFold(value, "yes") {
			return true
		}
	}
	return false
}

// sshValued are the options of ssh that take a value (ssh(1), 10.0).
const sshValued = "BbcDEeFIiJLlmOoPpQRSWw"

// splitSSH tells ssh's options, as they stand behind the host, from the command,
// and takes the login out of them: ssh would ignore it, since ours comes first.
func splitSSH(args []string) (options, command []string, login string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return options, args[i+1:], login, nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			return options, args[i:], login, nil
		}
		at := strings.IndexAny(arg[1:], sshValued) + 1
		last := at == len(arg)-1 // the value is the next word
		if at > 0 && last && i+1 == len(args) {
			option := "-" + arg[at:]
			return nil, nil, "", &usageError{option + " of ssh lacks its value", "type: cardea ssh SERVER " + option + " …"}
		}
		if at > 0 && arg[at] == 'l' {
			if at > 1 {
				options = append(options, arg[:at])
			}
			if !last {
				login = arg[at+1:]
			} else {
				i++
				login = args[i]
			}
			continue
		}
		options = append(options, arg)
		if at > 0 && last {
			i++
			options = append(options, args[i])
		}
	}
	return options, nil, login, nil
}

// openSSH finds one of the programs of OpenSSH's client.
func openSSH(name string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("there is no %s on this machine; install OpenSSH's client, and try again", name)
	}
	return program, nil
}

// ssh makes sure that the connection will be allowed, and becomes ssh.
func (a *app) ssh(ctx context.Context, o sshOptions) error {
	program, err := openSSH("ssh")
	if err != nil {
		return err
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	control.Trace, control.Ahead = a.tracer(), o.via == "" && !proxycmd.Proxied()
	c, err := a.prepare(ctx, control, o)
	if api.KindOf(err) == api.Ambiguous {
		c, err = a.prepareOne(ctx, control, &o, err)
	}
	if err != nil {
		return err
	}
	control.Trace = nil // the rest is the helper's to tell
	if err := a.trusted(ctx, control); err != nil {
		return err
	}
	args, err := a.sshArgs(o, c)
	if err != nil {
		return err
	}
	a.noteUse(c.ServerID)
	return become(ctx, program, args)
}

// prepare has the agent do what ssh's ProxyCommand will ask of it: so a refusal
// is told with its reason and code, and a person without a session can sign in.
func (a *app) prepare(ctx context.Context, control *agent.Control, o sshOptions) (agent.Connected, error) {
	var c agent.Connected
	saved, err := a.home.Peek() // without a session no agent need be started to hear so
	if err == nil {
		c, err = control.Prepare(ctx, o.host, o.login)
	}
	if saved.URL == "" && a.opt.URL == "" { // then nobody can be asked to sign in
		return c, a.whereToSignIn(saved, err)
	}
	if api.KindOf(err) == api.SignIn && reauth(err) == "" && a.person && !o.batch() {
		a.say("%s", withoutHint(err)) // what it says to type is done here
		if err := a.login(ctx, loginOptions{}); err != nil {
			return c, err
		}
		c, err = control.Prepare(ctx, o.host, o.login)
	}
	if project := reauth(err); project != "" && a.person && !o.batch() {
		a.say("%s", withoutHint(err))
		if err := a.touch(ctx, loginOptions{project: project}); err != nil {
			return c, err
		}
		c, err = control.Prepare(ctx, o.host, o.login)
	}
	if api.KindOf(err) == api.NotFound {
		if near := a.suggest(ctx, o.host); near != nil {
			err = near
		}
	}
	return c, err
}

// prepareOne asks a person at a terminal which of the servers he means that the name stands
// for, and prepares the way there. Where nobody can be asked the error stays as it is.
func (a *app) prepareOne(ctx context.Context, control *agent.Control, o *sshOptions, ambiguous error) (agent.Connected, error) {
	one, err := a.server(ctx, o.host)
	if err != nil {
		return agent.Connected{}, ambiguous
	}
	o.host = fullName(one)
	return a.prepare(ctx, control, *o)
}

// reauth is the project for which the person has to show again who he is, if that is
// what err says.
func reauth(err error) string {
	var e *api.Error
	if errors.As(err, &e) && e.Kind == api.SignIn {
		return e.Reauth
	}
	return ""
}

// withoutHint is the sentence without what to type next.
func withoutHint(err error) string {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Detail
	}
	return err.Error()
}

// trusted makes sure that the team's host CAs are where ssh looks for them, and
// in the agent: one that has just started may still be fetching them.
func (a *app) trusted(ctx context.Context, control *agent.Control) error {
	_, missing := os.Stat(a.paths.KnownHosts())
	if s, err := control.Status(ctx); err == nil && !s.SeenAt.IsZero() && missing == nil {
		return nil
	}
	return control.Refresh(ctx)
}

// suggest names the server that a mistyped one was meant to be.
func (a *app) suggest(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	c, _, err := a.catalog(ctx)
	if err != nil {
		return nil
	}
	if _, err := pick(c.Servers, name); api.KindOf(err) == api.NotFound {
		return err
	}
	return nil // the catalog knows it: then what the control plane said is the news
}

// sshArgs are the arguments of ssh, the program's name first.
func (a *app) sshArgs(o sshOptions, c agent.Connected) ([]string, error) {
	name, options, err := a.sshOptionsFor(o, c)
	if err != nil {
		return nil, err
	}
	args := []string{"ssh"}
	for _, option := range options {
		args = append(args, "-o", option)
	}
	args = append(args, o.options...)
	return append(append(args, "--", name), o.command...), nil
}

// sshOptionsFor are the name and the values of -o by which OpenSSH's programs reach a server.
// What the configuration says is said again here, so that it need not be installed.
func (a *app) sshOptionsFor(o sshOptions, c agent.Connected) (name string, options []string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("find this program: %w", err)
	}
	name = c.ServerName
	if project, server, two := strings.Cut(o.host, "/"); two {
		name = server + "." + project // as the agent knows it; ssh takes no slash
	}
	options, err = sshconfig.Options(sshconfig.Values{
		Binary: program, AgentSocket: a.paths.SSHSocket(), KnownHosts: a.paths.KnownHosts(),
		PassLogin:       true, // it is one that the grammar allows
		Fdpass:          runtime.GOOS != "windows" && !c.Far,
		Via:             o.via,
		UserAgentSocket: a.ownAgent(),
	}, sshconfig.Host{Names: []string{name}, HostKeyAlias: sshcert.HostPrincipal(c.ServerID), Login: c.Login})
	return name, options, err
}

// ownAgent is the socket of the user's own ssh-agent, if there is one: -A
// forwards that and never ours.
func (a *app) ownAgent() string {
	socket := a.env("SSH_AUTH_SOCK")
	info, err := os.Stat(socket)
	if socket == "" || socket == a.paths.SSHSocket() || err != nil || info.Mode().Type() != os.ModeSocket {
		return ""
	}
	return socket
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
