package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/service"
)

func agentInstall(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "install", Short: "Have your system start it (systemd, launchd)", Args: cobra.NoArgs,
		Long: `Have your system start the agent: systemd when the first program asks for it, by its
sockets, and launchd when you sign in. Without that it starts by itself all the same; with
it, it is under the eyes of what starts your other programs, with its log.

"cardea agent uninstall" undoes it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.agentInstall(cmd.Context()) },
	}
}

// agentInstall ends the agent that runs: its sockets are to be the system's. Where nothing
// would start another one it goes on.
func (a *app) agentInstall(ctx context.Context) error {
	s, err := a.service()
	if err != nil {
		return err
	}
	steps, err := s.Install(runtime.GOOS)
	if err != nil {
		return err
	}
	if err := service.Do(ctx, service.Reach(runtime.GOOS)); err != nil {
		return err
	}
	if err := a.endAgent(ctx); err != nil {
		return err
	}
	if err := service.Do(ctx, steps); err != nil {
		return err
	}
	a.say("Your system starts the agent from now on. To undo it type: cardea agent uninstall")
	return nil
}

func (a *app) agentUninstall(ctx context.Context) error {
	s, err := a.service()
	if err != nil {
		return err
	}
	steps, err := s.Uninstall(runtime.GOOS)
	if err != nil {
		return err
	}
	if err := service.Do(ctx, steps); err != nil {
		return err
	}
	a.say("Your system starts the agent no more; the first command that needs it does.")
	return nil
}

// service is the agent as a service manager needs it.
func (a *app) service() (service.Agent, error) {
	program, err := os.Executable()
	if err != nil {
		return service.Agent{}, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return service.Agent{}, err
	}
	if runtime.GOOS == "linux" && a.paths.Run != filepath.Join(a.env("XDG_RUNTIME_DIR"), "cardea") {
		return service.Agent{}, errors.New("XDG_RUNTIME_DIR is not set, by which systemd is reached; sign in at this machine itself or by ssh as this user, and try again")
	}
	_, missing := os.Stat(filepath.Join(service.Packaged, "cardea-agent.socket"))
	s := service.Agent{
		Program: program, Home: home, Log: a.paths.Log(), UID: os.Getuid(), Packaged: missing == nil && program == service.Program,
		Config: cmp.Or(a.env("XDG_CONFIG_HOME"), filepath.Join(home, ".config")),
	}
	// What says where the session is kept, and how: a service manager has not read the
	// user's profile.
	for _, name := range []string{"XDG_CONFIG_HOME", "XDG_STATE_HOME", "CARDEA_NO_KEYRING", "CARDEA_CONFIRM_USE", "CARDEA_CONFIG", "CARDEA_TPM", "HTTPS_PROXY", "NO_PROXY"} {
		if value := a.env(name); value != "" {
			s.Environment = append(s.Environment, name+"="+value)
		}
	}
	return s, nil
}

// endAgent stops the agent, and returns when it is gone, so that another one can start. It is
// not asked whether it is there: that would start one where systemd has its sockets.
func (a *app) endAgent(ctx context.Context) error {
	control := &agent.Control{Paths: a.paths}
	if err := control.Stop(ctx); err != nil && !errors.Is(err, agent.ErrNotRunning) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	for !a.paths.Ended() {
		select {
		case <-ctx.Done():
			return errors.New("the agent did not end; to see it type: cardea agent status")
		case <-time.After(stopPoll):
		}
	}
	return nil
}

// stopPoll is how often an agent that is ending is looked at.
const stopPoll = 10 * time.Millisecond
