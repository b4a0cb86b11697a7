package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/login"
)

func newLogout(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "logout", GroupID: groupAccount,
		Short: "Sign out: end the session here and at the control plane",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.logout(cmd.Context()) },
	}
}

// logout removes the session here whatever the control plane says: who signs
// out on a train does not want to hear that he cannot.
func (a *app) logout(ctx context.Context) error {
	saved, err := a.home.Load()
	switch {
	case api.KindOf(err) == api.SignIn && !saved.SignedIn():
		a.say("Not signed in.")
		return a.unlockAgent(ctx)
	case err != nil && api.KindOf(err) != api.SignIn:
		return err
	}
	told := a.revoke(ctx, saved, "", quick)
	if err := a.home.Forget(); err != nil {
		return err
	}
	if err := a.home.Outlived(saved, login.Saved{}); err != nil {
		return err
	}
	if err := a.unlockAgent(ctx); err != nil {
		return err
	}
	if told != nil {
		return api.Errorf(api.KindOf(told), "the session is removed here, but the control plane was not told (%v)", told).
			WithHint("it ends by itself at %s; an administrator can end it now with: cardea admin sessions revoke %s",
				stamp(saved.Session.ExpiresAt), saved.Session.ID)
	}
	a.say("Signed out.")
	return nil
}

// unlockAgent tells the agent that nobody is signed in, and takes its lock away: who has
// forgotten the passphrase begins anew.
func (a *app) unlockAgent(ctx context.Context) error {
	err := a.paths.Unlock()
	a.local.SignInChanged(ctx, false)
	return err
}
