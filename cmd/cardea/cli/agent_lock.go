package cli

import (
	"context"

	"github.com/cardea-ssh/cardea/internal/term"
)

// agentLock asks twice: a typing error would lock the person himself out.
func (a *app) agentLock(ctx context.Context) error {
	t, err := a.terminal()
	if err != nil {
		return err
	}
	defer t.Close()
	passphrase, err := t.Secret(ctx, "Passphrase to lock the agent with: ")
	if err != nil {
		return err
	}
	again, err := t.Secret(ctx, "The same again: ")
	if err != nil {
		return err
	}
	if again != passphrase {
		return &usageError{"the two differ, and the agent is not locked", "type: cardea agent lock"}
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	if err := control.Lock(ctx, passphrase); err != nil {
		return err
	}
	a.say("The agent is locked. Connections that are open stay. To unlock it type: cardea agent unlock")
	return nil
}

func (a *app) agentUnlock(ctx context.Context) error {
	t, err := a.terminal()
	if err != nil {
		return err
	}
	defer t.Close()
	passphrase, err := t.Secret(ctx, "Passphrase of the agent: ")
	if err != nil {
		return err
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	if err := control.Unlock(ctx, passphrase); err != nil {
		return err
	}
	a.say("The agent is unlocked.")
	return nil
}

// terminal is where a passphrase is asked for: never a pipe, which history and logs know.
func (a *app) terminal() (*term.Terminal, error) {
	t, err := term.Open()
	if err != nil {
		return nil, &usageError{"a passphrase is asked for at a terminal, and there is none", "type it in a terminal, or: SSH_AUTH_SOCK=" + a.paths.SSHSocket() + " ssh-add -x"}
	}
	return t, nil
}
