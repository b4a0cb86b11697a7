package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// enrollCommand has the verb that makes this host a server.
func (v *verbs) enrollCommand() *cobra.Command {
	var anew, same bool
	cmd := &cobra.Command{
		Use: "enroll", Aliases: []string{"enrol"}, Short: "Exchange the enrolment token for this server's credential",
		Long: "Exchange the enrolment token for this server's credential.\n\nA credential is good on the machine on which it was made. On a copy of that machine the agent does not run:\n" +
			"--anew makes the copy a server of its own. Where it is the very machine, and only its id has changed, type --same-host;\n" +
			"then an administrator releases the server: cardea admin servers release NAME.",
	}
	cmd.Flags().BoolVar(&anew, "anew", false, "forget the credential that is there and enrol as another server")
	cmd.Flags().BoolVar(&same, "same-host", false, "this is the machine that enrolled, whatever its id says now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if anew && same {
			return commandline.Wrongf("--anew and --same-host cannot both be meant")
		}
		return v.enroll(cmd, anew, same)
	}
	return cmd
}

func (v *verbs) enroll(cmd *cobra.Command, anew, same bool) error {
	a, err := v.agent(true)
	if err != nil {
		return err
	}
	switch {
	case anew:
		err = a.Anew()
	case same:
		err = a.SameHost(cmd.Context())
	}
	if err != nil {
		return err
	}
	id, name, err := a.Enrol(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "enrolled as %s (%s); to start it type: cardea-server-agent run\n", ident.Text(name), id)
	return nil
}
