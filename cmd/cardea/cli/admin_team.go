package cli

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func teamColumns() []column[api.TeamSettings] {
	return []column[api.TeamSettings]{
		{"sign-ins last", func(s api.TeamSettings) string { return seconds(s.SessionSeconds) }},
		{"may go unused", func(s api.TeamSettings) string {
			if s.IdleSeconds == 0 {
				return "for ever"
			}
			return "for " + seconds(s.IdleSeconds)
		}},
		{"second factor", func(s api.TeamSettings) string {
			demand := map[string]string{"admins": "demanded of administrators", "all": "demanded of all local accounts"}[s.SecondFactor]
			return cmp.Or(demand, "demanded of nobody")
		}},
		{"new devices", func(s api.TeamSettings) string {
			if s.DeviceApproval {
				return "wait for an administrator"
			}
			return "need nobody's approval"
		}},
		{"typed codes", func(s api.TeamSettings) string {
			if s.DeviceCode {
				return "sign in devices without a browser"
			}
			return "off"
		}},
	}
}

func adminTeam(a *app) *cobra.Command {
	return noun("team", "What the team demands of those who sign in", teamShow(a), teamSet(a))
}

func teamShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show what is demanded", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := call[api.TeamSettings](cmd.Context(), a, "GET", "/v1/team/settings", nil)
			if err != nil {
				return err
			}
			return showOne(a, s, teamColumns())
		},
	}
}

func teamSet(a *app) *cobra.Command {
	var life, idle time.Duration
	factor := ""
	var code, approval bool
	cmd := &cobra.Command{
		Use: "set", Aliases: []string{"update"}, Short: "Change what is demanded", Args: cobra.NoArgs,
		Long: `Change what is demanded. How long a sign-in lasts counts for those that begin from
now on; how long one may go unused counts for all at once.`,
		Example: "  cardea admin team set --session-life 8h --idle 2h\n  cardea admin team set --idle 0s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := anyChanged(cmd, "session-life", "idle", "second-factor", "device-code", "device-approval"); err != nil {
				return err
			}
			lifeSeconds, err := wholeSeconds(life)
			if err != nil {
				return err
			}
			idleSeconds, err := wholeSeconds(idle)
			if err != nil {
				return err
			}
			s, err := call[api.TeamSettings](cmd.Context(), a, "PATCH", "/v1/team/settings", api.TeamPatch{
				SessionSeconds: changed(cmd, "session-life", &lifeSeconds), IdleSeconds: changed(cmd, "idle", &idleSeconds),
				SecondFactor: changed(cmd, "second-factor", &factor),
				DeviceCode:   changed(cmd, "device-code", &code), DeviceApproval: changed(cmd, "device-approval", &approval),
			})
			if err != nil {
				return err
			}
			return showOne(a, s, teamColumns())
		},
	}
	f := cmd.Flags()
	span.Var(f, &life, "session-life", 12*time.Hour, "how long a sign-in of a device lasts, 1h to 25h")
	oneOf(cmd, f, &factor, "second-factor", "", []string{"nobody", "admins", "all"}, "which local accounts must have a second factor: nobody, admins or all")
	f.BoolVar(&code, "device-code", false, "let devices without a browser be signed in by a typed code; never by administrators")
	f.BoolVar(&approval, "device-approval", false, "have an administrator approve new devices")
	span.Var(f, &idle, "idle", 0, "how long it may go unused, 15m to 25h; 0s for no limit")
	return cmd
}
