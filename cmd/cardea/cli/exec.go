package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/cmd/cardea/cli/fanout"
	"github.com/cardea-ssh/cardea/internal/span"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/proxycmd"
)

const (
	// execParallel is how many servers are asked at a time if nobody says otherwise: what a
	// laptop and a team's gateways do not notice.
	execParallel = 25
	// maxExecInput bounds what --stdin holds in memory for all of them, in bytes.
	maxExecInput = 16 << 20
)

// execOptions is one `cardea exec`.
type execOptions struct {
	hosts                    []string
	selector, project, login string
	parallel                 int
	timeout                  time.Duration
	dir                      string
	stdin, quiet, tmux       bool
	command                  []string
}

// execResult is how it ended on one server, for programs.
type execResult struct {
	Server  string  `json:"server"`
	ID      string  `json:"id"`
	Code    int     `json:"code"` // -1 if the command did not end by itself or was never begun
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
	Stdout  string  `json:"stdout"`
	Stderr  string  `json:"stderr"`
	Cut     bool    `json:"cut,omitempty"` // Stdout and Stderr are the last 64 KiB of each
}

func newExec(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use: "exec [flags] [SERVER...] -- COMMAND...", GroupID: groupAccess,
		Short: "Run a command on many servers at once",
		Long: `Run a command on many servers at once: those that are named, or all that you may reach
whose labels fit. Each line of output has the server's name before it; a summary
comes last. The command goes to each server's shell, as with ssh.

With --tmux each server has a pane of its own in tmux, with a shell or the command.

It ends with 0 if the command ended with 0 everywhere, else with 1; with 4 if there is no
session and 5 if you may enter none of them.`,
		Example: `  cardea exec -l env=prod -- uptime
  cardea exec web-1 web-2 -- systemctl is-active nginx
  cardea exec -l role=db --out logs -- journalctl -n 1000
  cardea exec -l env=prod --stdin -- sh -s < check.sh
  cardea exec -l role=db --tmux -- htop`,
		ValidArgsFunction: a.completeManyServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 && o.tmux {
				dash = len(args)
			}
			if dash < 0 || dash == len(args) && !o.tmux {
				return usageErrorf(cmd, "the command goes behind --")
			}
			o.hosts, o.command = args[:dash], args[dash:]
			return a.exec(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.selector, "selector", "l", "", "labels that must fit, for example env=prod,tier!=db")
	f.StringVar(&o.project, "project", "", "servers of this project alone")
	f.StringVar(&o.login, "login", "", "the Unix account (default your own)")
	f.IntVarP(&o.parallel, "parallel", "p", execParallel, fmt.Sprintf("how many at a time, up to %d", fanout.MaxParallel))
	span.Var(f, &o.timeout, "timeout", 0, "how long it may take on each server (default as long as it takes)")
	f.StringVar(&o.dir, "out", "", "new folder for SERVER.out and SERVER.err, in place of lines here")
	f.BoolVar(&o.stdin, "stdin", false, "read the input here, and give all of it to each")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no summary where all is well")
	f.BoolVar(&o.tmux, "tmux", false, "a pane of tmux for each; without a command a shell")
	for _, other := range []string{"parallel", "timeout", "out", "stdin", "quiet"} {
		cmd.MarkFlagsMutuallyExclusive("tmux", other)
	}
	cmd.RegisterFlagCompletionFunc("selector", a.completeSelector)
	cmd.RegisterFlagCompletionFunc("project", a.completeProjects)
	return cmd
}

// check refuses what cannot be meant.
func (o execOptions) check(cmd *cobra.Command) error {
	switch {
	case len(o.hosts) == 0 && o.selector == "" && o.project == "":
		return usageErrorf(cmd, "say on which servers: by their names, or by -l LABELS")
	case len(o.hosts) > 0 && (o.selector != "" || o.project != ""):
		return usageErrorf(cmd, "name servers, or give -l and --project, but not both")
	case o.parallel < 1 || o.parallel > fanout.MaxParallel:
		return usageErrorf(cmd, "--parallel is %d; give 1 to %d", o.parallel, fanout.MaxParallel)
	case o.timeout < 0:
		return usageErrorf(cmd, "--timeout is %s; give a duration such as 90s or 5m", o.timeout)
	case o.login != "":
		return checkLogin(o.login, "leave --login away to enter them as yourself")
	}
	return nil
}

// exec runs the command everywhere and tells how it went.
func (a *app) exec(cmd *cobra.Command, o execOptions) error {
	ctx := cmd.Context()
	if err := o.check(cmd); err != nil {
		return err
	}
	if o.tmux && a.env("TMUX") == "" {
		return &usageError{"panes are opened in tmux, and this is none", "type: tmux, and the same again in there"}
	}
	servers, err := a.chosen(ctx, o)
	if err != nil {
		return err
	}
	program, err := openSSH("ssh")
	if err != nil {
		return err
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	// The first one signs in where that is needed, so that fifty do not ask for it. Why else
	// it is refused is told with its result.
	if _, err := a.prepare(ctx, control, sshOptions{host: fullName(servers[0]), login: o.login}); api.KindOf(err) == api.SignIn || errors.Is(err, context.Canceled) {
		return err
	}
	control.Ahead = !proxycmd.Proxied()
	if err := a.trusted(ctx, control); err != nil {
		return err
	}
	if o.tmux {
		return a.execInPanes(servers, givenFlags(cmd), o)
	}
	how := fanout.Options{Parallel: o.parallel, Timeout: o.timeout, Dir: o.dir}
	if o.stdin {
		if how.Input, err = readInput(a.in); err != nil {
			return err
		}
	}
	if o.dir != "" {
		if err := fanout.MakeDir(o.dir); err != nil {
			return err
		}
	}
	names := offer.Names(servers)
	var targets []fanout.Target
	for i, s := range servers {
		targets = append(targets, fanout.Target{Name: offer.Dotted(names[i]), Command: a.execOn(control, program, s, o)})
	}
	results := a.fanOut(ctx, targets, how, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.execEnded(servers, results, o)
}

// chosen are the servers that were meant, each once. Nothing that was named is left out in
// silence.
func (a *app) chosen(ctx context.Context, o execOptions) ([]api.CatalogEntry, error) {
	c, age, err := a.catalogWith(ctx, func(c api.Catalog) bool {
		return anyServer(c) && !slices.ContainsFunc(o.hosts, func(name string) bool { return len(meant(c.Servers, name)) == 0 })
	})
	if err != nil {
		return nil, err
	}
	a.noteAge(age)
	if !anyServer(c) {
		return nil, api.Errorf(api.NotFound, "there is no server that you may reach").WithHint("%s", a.toGetAccess(c.Session))
	}
	if len(o.hosts) == 0 {
		found, err := lsOptions{selector: o.selector, project: o.project}.filter(c.Servers)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("none of the %d servers that you may reach fits; to see their labels type: cardea ls", len(c.Servers))
		}
		for _, s := range found {
			err = errors.Join(err, checkEntry(s))
		}
		return found, err
	}
	var found []api.CatalogEntry
	for _, name := range o.hosts {
		if err := checkServer(name); err != nil {
			return nil, err
		}
		s, err := pick(c.Servers, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(found, func(f api.CatalogEntry) bool { return f.ID == s.ID }) {
			found = append(found, s)
		}
	}
	return found, nil
}

// execOn is how the command comes to one server. The agent is asked first, so that a refusal
// is told in its own words and no ssh is started.
func (a *app) execOn(control *agent.Control, program string, s api.CatalogEntry, o execOptions) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		c, err := control.Prepare(ctx, fullName(s), o.login)
		if err != nil {
			return nil, err
		}
		// Nobody is there to answer, and no terminal is to be had by fifty.
		options := []string{"-T", "-o", "BatchMode=yes"}
		if !o.stdin {
			options = append(options, "-n")
		}
		args, err := a.sshArgs(sshOptions{host: fullName(s), options: options, command: o.command}, c)
		if err != nil {
			return nil, err
		}
		return append([]string{program}, args[1:]...), nil
	}
}

// readInput reads what every server is given.
func readInput(in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxExecInput+1))
	if err == nil && len(text) > maxExecInput {
		err = fmt.Errorf("the input is longer than %d bytes; copy it there by: cardea scp", maxExecInput)
	}
	if text == nil {
		text = []byte{}
	}
	return text, err
}

// fanOut runs it, and says meanwhile how far it is.
func (a *app) fanOut(ctx context.Context, targets []fanout.Target, how fanout.Options, o execOptions) []fanout.Result {
	show := &fanout.Show{Out: a.out, Err: a.err, Harmless: onTerminal(a.out) || onTerminal(a.err)}
	show.Color = onTerminal(a.out) && a.env("NO_COLOR") == ""
	for _, t := range targets {
		show.Width = max(show.Width, utf8.RuneCountInString(t.Name))
	}
	if onTerminal(a.err) {
		show.Status = a.err
	}
	if o.dir == "" && a.output != asJSON {
		how.Show = show
	}
	done, failed := 0, 0
	how.Done = func(r fanout.Result) {
		done++
		if r.Err != nil {
			failed++
		}
		show.Say(fmt.Sprintf("%d of %d done, %d failed", done, len(targets), failed))
	}
	defer show.End()
	return fanout.Run(ctx, targets, how)
}

func onTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f)
}

// execEnded tells how it went, and makes the exit code of it.
func (a *app) execEnded(servers []api.CatalogEntry, results []fanout.Result, o execOptions) error {
	var list []execResult
	var failed []fanout.Result
	denied := true
	for i, r := range results {
		one := execResult{
			Server: r.Name, ID: servers[i].ID, Code: r.Code, Seconds: r.Took.Seconds(),
			Stdout: strings.ToValidUTF8(string(r.Stdout), "\uFFFD"), Stderr: strings.ToValidUTF8(string(r.Stderr), "\uFFFD"), Cut: r.Cut,
		}
		if r.Err != nil {
			failed = append(failed, r)
			one.Error = whyNot(r)
		}
		denied = denied && api.KindOf(r.Err) == api.Denied
		list = append(list, one)
	}
	if a.output == asJSON {
		if err := printJSON(a.out, list); err != nil {
			return err
		}
	} else if len(failed) > 0 || !o.quiet {
		a.execSummary(len(results), failed, o)
	}
	switch {
	case len(failed) == 0:
		return nil
	case denied:
		return silentError{ExitDenied}
	}
	return silentError{ExitFailed}
}

// execSummary is for people: what is not as it should be, by name.
func (a *app) execSummary(all int, failed []fanout.Result, o execOptions) {
	where := ""
	if o.dir != "" {
		where = "; what they said is in " + filepath.Clean(o.dir)
	}
	switch len(failed) {
	case 0:
		a.say("cardea: %s ended with 0%s", count(all, "server"), where)
	case all:
		a.say("cardea: %s did not end with 0%s:", count(all, "server"), where)
	default:
		a.say("cardea: %d of %s ended with 0%s; not so:", all-len(failed), count(all, "server"), where)
	}
	for _, r := range failed {
		a.say("  %s: %s", r.Name, whyNot(r))
	}
}

// sshFailed is ssh's own code (ssh(1)), which no connection brought.
const sshFailed = 255

// whyNot is one line about a command that did not end with 0.
func whyNot(r fanout.Result) string {
	var exit *exec.ExitError
	switch {
	case errors.As(r.Err, &exit) && r.Code == sshFailed:
		lines := strings.Split(strings.TrimSpace(string(r.Stderr)), "\n")
		return "no connection, or ended with 255: " + strings.TrimSpace(lines[len(lines)-1])
	case errors.As(r.Err, &exit):
		return exitText(r)
	}
	return sentence(r.Err)
}

// exitText tells a code from a signal.
func exitText(r fanout.Result) string {
	if r.Code < 0 {
		return r.Err.Error()
	}
	return fmt.Sprintf("ended with %d", r.Code)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
