package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/desktop"
	"github.com/cardea-ssh/cardea/internal/span"
)

// localAgent is the agent of this user on this machine, as most verbs need it.
type localAgent interface {
	// Catalog is the one that the agent keeps, and its age. The error says that
	// no agent runs, or that it has none.
	Catalog(ctx context.Context) (api.Catalog, time.Duration, error)
	// Names and Selectors are what a Tab offers.
	Names(ctx context.Context, typed string, dotted bool, most int) (agent.Words, error)
	Selectors(ctx context.Context, typed string, most int) (agent.Words, error)
	// Running reports whether an agent answers, and its process id.
	Running(ctx context.Context) (pid int, ok bool)
	// SignInChanged has a running agent read the session again. same says that the user is who
	// he was.
	SignInChanged(ctx context.Context, same bool)
	// Refresh has it fetch the catalog and write ssh's files, and waits for that.
	Refresh(ctx context.Context) error
}

// started is the agent of this user, started if it is needed.
func started(paths agent.Paths, flags ...string) (*agent.Control, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &agent.Control{Paths: paths, Start: func() (<-chan struct{}, error) {
		return agent.Background(paths, program, append([]string{"agent", "run"}, flags...)...)
	}}, nil
}

// agent is started, with the configuration of this verb.
func (a *app) agent() (*agent.Control, error) {
	var flags []string
	if a.opt.NoKeyring {
		flags = append(flags, "--no-keyring")
	}
	if a.opt.ConfirmUse {
		flags = append(flags, "--confirm-use")
	}
	return started(a.paths, flags...)
}

func newAgent(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "agent", GroupID: groupSetup,
		Short: "Control the local agent, which holds the keys of connections",
		Long: `Control the local agent. It holds the keys of connections, answers ssh, and keeps
the list of servers and the ssh configuration fresh. It starts when it is needed and
leaves when nobody has asked it for long.`,
	}
	plain := func(use, short string, run func(context.Context) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) }}
	}
	cmd.AddCommand(
		plain("start", "Start it in the background", a.agentStart),
		plain("stop", "Stop it", a.agentStop),
		plain("status", "Tell how it is", a.agentStatus),
		agentInstall(a),
		plain("uninstall", "Have your system start it no more", a.agentUninstall),
		plain("lock", "Lock it with a passphrase: until it is unlocked it opens nothing (ssh-add -x does the same)", a.agentLock),
		plain("unlock", "Unlock it with that passphrase (ssh-add -X does the same)", a.agentUnlock),
		plain("refresh", "Have it fetch the list of servers now", a.agentRefresh),
		agentRun(a),
	)
	return cmd
}

func (a *app) agentStart(ctx context.Context) error {
	control, err := a.agent()
	if err != nil {
		return err
	}
	s, err := control.Status(ctx)
	if err != nil {
		return err
	}
	return a.showAgent(s)
}

func (a *app) agentStop(ctx context.Context) error {
	if a.paths.Ended() {
		a.say("The agent does not run.")
		return nil
	}
	return a.endAgent(ctx)
}

func (a *app) agentStatus(ctx context.Context) error {
	control := &agent.Control{Paths: a.paths}
	s, err := control.Status(ctx)
	if err != nil {
		return err
	}
	return a.showAgent(s)
}

func (a *app) agentRefresh(ctx context.Context) error {
	control, err := a.agent()
	if err != nil {
		return err
	}
	return control.Refresh(ctx)
}

func (a *app) showAgent(s agent.Status) error {
	return showOne(a, s, []column[agent.Status]{
		{"Process", func(s agent.Status) string { return fmt.Sprint(s.PID) }},
		{"Version", func(s agent.Status) string { return s.Version }},
		{"Since", func(s agent.Status) string { return stamp(s.Since) }},
		{"Locked", func(s agent.Status) string {
			if !s.Locked {
				return ""
			}
			return "yes; to unlock it type: cardea agent unlock"
		}},
		{"Socket", func(s agent.Status) string { return s.SSHSocket }},
		{"Keys", func(s agent.Status) string { return fmt.Sprint(s.Identities) }},
		{"Servers", func(s agent.Status) string {
			if s.SeenAt.IsZero() {
				return fmt.Sprint(s.Servers)
			}
			return fmt.Sprintf("%d, seen %s", s.Servers, a.ago(s.SeenAt))
		}},
		{"Gateways", func(s agent.Status) string {
			var ways []string
			for _, m := range s.Measures {
				ways = append(ways, a.measured(m))
			}
			return commas(ways)
		}},
		{"Skipped", func(s agent.Status) string { return commas(s.Skipped) }},
		{"Problem", func(s agent.Status) string { return s.Problem }},
	})
}

// measured is how it went at one gateway in the last minutes.
func (a *app) measured(m agent.Measure) string {
	name := m.Address
	if m.TLS {
		name += " inside TLS"
	}
	switch {
	case m.Failed != "":
		return fmt.Sprintf("%s (%s %s)", name, m.Failed, a.ago(m.FailedAt))
	case m.Answered == 0:
		return fmt.Sprintf("%s (connected within %s)", name, took(m.Dialled))
	}
	return fmt.Sprintf("%s (connected within %s, let in after %s)", name, took(m.Dialled), took(m.Answered))
}

type agentOptions struct {
	idle  time.Duration
	debug bool
}

func agentRun(a *app) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use: "run", Short: "Run it here, until Ctrl-C (for service managers)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.agentRun(cmd.Context(), o) },
	}
	span.Var(cmd.Flags(), &o.idle, "idle", agent.DefaultIdle, "leave when nobody has asked for so long")
	cmd.Flags().BoolVar(&o.debug, "debug", false, "log more")
	return cmd
}

func (a *app) agentRun(ctx context.Context, o agentOptions) error {
	debug.SetGCPercent(100)
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take the sockets of systemd: %w", err)
	}
	return agent.Run(ctx, agent.Options{
		Listeners: listeners, Desktop: desktop.System{}, Confirm: a.opt.ConfirmUse, Ends: a.sessionEnds,
		Account: a.acct, Paths: a.paths, Binary: program, UserAgent: a.env("SSH_AUTH_SOCK"), Idle: o.idle, Rotate: a.acct.Rotate,
		Log: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})),
	})
}

// sessionEnds is when the session of a person ends; a program signs in again by itself.
func (a *app) sessionEnds(ctx context.Context) (time.Time, error) {
	saved, err := a.acct.Saved(ctx)
	if err != nil || saved.KeyFile != "" {
		return time.Time{}, err
	}
	return saved.Session.ExpiresAt, nil
}
