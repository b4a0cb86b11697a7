package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
	serveragent "github.com/cardea-ssh/cardea/server-agent"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
)

// unenrollCommand has the one verb that undoes things; it says all that it did.
func (v *verbs) unenrollCommand() *cobra.Command {
	var restore bool
	var fate string
	cmd := &cobra.Command{
		Use: "unenroll", Aliases: []string{"unenrol"}, Short: "Take this server out of Cardea",
		Long: "Take this server out of Cardea.\n\nWithout --restore everything stays as it stands, and is not kept up any more. With it sshd, sudo and the\n" +
			"groups are put back to what they were before the enrolment. Homes are never touched. Stop the agent first.",
	}
	cmd.Flags().BoolVar(&restore, "restore", false, "put the host back to what it was before its enrolment")
	cmd.Flags().StringVar(&fate, "accounts", "", "with --restore, what becomes of people's accounts: keep, lock or remove (default lock)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		u := serveragent.Unenrolment{Restore: restore, Accounts: accounts.Fate(fate)}
		switch u.Accounts {
		case "", accounts.FateKeep, accounts.FateLock, accounts.FateRemove:
		default:
			return commandline.Wrongf("accounts %q is none of keep, lock and remove", fate)
		}
		if fate != "" && !restore {
			return commandline.Wrongf("--accounts goes with --restore; without it accounts stay as they are")
		}
		a, err := v.agent(true)
		if err != nil {
			return err
		}
		lines, err := a.Unenrol(cmd.Context(), u)
		for _, l := range lines {
			fmt.Fprintln(cmd.OutOrStdout(), ident.Text(l))
		}
		return err
	}
	return cmd
}
