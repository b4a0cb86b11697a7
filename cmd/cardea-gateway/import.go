package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/gateway"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/config"
	"github.com/cardea-ssh/cardea/internal/version"
)

func importCommand(env func(string) (string, bool), stdout, stderr io.Writer) *cobra.Command {
	opt := defaults()
	cmd := &cobra.Command{
		Use:   "import-spool DIR",
		Short: "Store the recordings that a dead gateway left on its disk",
		Long: "Store the recordings that a dead gateway left on its disk. DIR is its spool, or its state folder.\n" +
			"An administrator has handed them over before: cardea admin gateways hand-over OLD --to NEW.\n" +
			"This gateway must be enrolled and have been started once; it may run.",
		Example: "  cardea-gateway import-spool /mnt/old/var/lib/cardea-gateway",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return commandline.Wrongf("name one folder: the spool or the state folder of the dead gateway")
			}
			return nil
		},
	}
	loader := config.Bind(cmd.Flags(), &opt, configFile)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := loader.Load(env); err != nil {
			return commandline.Wrong(err)
		}
		if _, err := opt.check(); err != nil {
			return commandline.Wrong(err)
		}
		recordings, err := opt.resolve(opt.StateDir)
		if err != nil {
			return commandline.Wrong(err)
		}
		if recordings.Bucket == "" {
			return commandline.Wrong(errors.New("recordings: this gateway stores none; say where with --recordings"))
		}
		log, err := opt.Logger(stderr)
		if err != nil {
			return commandline.Wrong(err)
		}
		cred, client, err := gateway.Enrolment{
			StateDir: opt.StateDir, URL: opt.ControlURL, TokenFile: opt.TokenFile,
			UserAgent: version.UserAgent("cardea-gateway"), Version: version.Get().Version, Log: log,
		}.Load(cmd.Context())
		if err != nil {
			return err
		}
		return gateway.Import(cmd.Context(), cred.Gateway, opt.StateDir, args[0], recordings, client, stdout, log)
	}
	return cmd
}
