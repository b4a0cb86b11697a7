package cli

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func machineColumns(a *app) []column[api.Server] {
	return []column[api.Server]{
		{"name", func(s api.Server) string { return s.Name }},
		{"address", func(s api.Server) string { return s.Address }},
		{"state", func(s api.Server) string { return s.State }},
		{"confirmed", func(s api.Server) string { return fmt.Sprintf("%d.%d", s.Confirmed.Epoch, s.Confirmed.Counter) }},
		{"seen", func(s api.Server) string { return a.ago(s.LastSeen) }},
		{"labels", func(s api.Server) string { return labels(s.Labels) }},
		{"problems", func(s api.Server) string { return strings.Join(heldFirst(s), "; ") }},
		{"project", func(s api.Server) string { return s.Project }},
		{"id", func(s api.Server) string { return s.ID }},
	}
}

// heldFirst are the problems; that a server is held is the greatest.
func heldFirst(s api.Server) []string {
	if s.Held == "" {
		return s.Problems
	}
	return append([]string{"held: " + s.Held}, s.Problems...)
}

// machineShowColumns are for one server, of which everything is of interest.
func machineShowColumns(a *app) []column[api.Server] {
	return append(machineColumns(a),
		column[api.Server]{"also", func(s api.Server) string { return strings.Join(s.AltNames, " ") }},
		column[api.Server]{"bastion", func(s api.Server) string { return s.Bastion }},
		column[api.Server]{"proposed", proposal},
	)
}

// proposal is what would make true what the host proposes.
func proposal(s api.Server) string {
	p := s.Proposed
	if p == nil {
		return ""
	}
	var flags []string
	for flag, value := range map[string]string{"--name": p.Name, "--address": p.Address, "--bastion": p.Bastion} {
		if value != "" {
			flags = append(flags, flag+" "+value)
		}
	}
	if len(p.AltNames) > 0 {
		flags = append(flags, "--alt-name "+strings.Join(append(slices.Clone(s.AltNames), p.AltNames...), ","))
	}
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

func adminServers(a *app) *cobra.Command {
	disabled, active := "disabled", "active"
	return noun("servers", "Machines with a server agent",
		serverList(a),
		showVerb(a, "servers", "SERVER", machineShowColumns(a)),
		serverUpdate(a),
		onOff(a, "disable", "SERVER", "Let nobody enter a server", "servers", api.ServerPatch{State: &disabled}),
		onOff(a, "enable", "SERVER", "Let people enter a disabled server again", "servers", api.ServerPatch{State: &active}),
		serverRelease(a),
		deleteVerb(a, "servers", "SERVER", "Forget a server; its agent must enrol again"),
	)
}

func serverList(a *app) *cobra.Command {
	project := ""
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List servers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if project != "" {
				q.Set("project", project)
			}
			return listRows(cmd.Context(), a, "/v1/servers", q, machineColumns(a))
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "those of one project")
	return cmd
}

func serverUpdate(a *app) *cobra.Command {
	var name, address string
	var label map[string]string
	var altNames []string
	var bastion string
	cmd := &cobra.Command{
		Use: "update SERVER", Aliases: []string{"set"}, Short: "Change a server", Args: cobra.ExactArgs(1),
		Example: "  cardea admin servers update web-1 --address 10.0.0.7:22 --label env=prod --label tier=web\n" +
			"  cardea admin servers update web-1 --alt-name www,www.prod.example.com\n  cardea admin servers update web-1 --alt-name=",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := anyChanged(cmd, "name", "address", "label", "alt-name", "bastion"); err != nil {
				return err
			}
			path, err := pathOf("servers", args[0])
			if err != nil {
				return err
			}
			s, err := call[api.Server](cmd.Context(), a, "PATCH", path, api.ServerPatch{
				Name: changed(cmd, "name", &name), Address: changed(cmd, "address", &address), Labels: changed(cmd, "label", &label),
				AltNames: changed(cmd, "alt-name", &altNames), Bastion: changed(cmd, "bastion", &bastion),
			})
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, s, machineShowColumns(a))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "new name, unique in its project")
	cmd.Flags().StringVar(&address, "address", "", "host:port of sshd")
	cmd.Flags().StringSliceVar(&altNames, "alt-name", nil, "further names in place of all that it has; one with a dot needs a suffix of the project")
	cmd.Flags().StringVar(&bastion, "bastion", "", "server through which it is reached; empty for none")
	pairsVar(cmd.Flags(), &label, "label", "labels in place of all that it has; once for each")
	return cmd
}

func serverRelease(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "release SERVER", Short: "Let a held server work again, when no other host uses its credential", Args: cobra.ExactArgs(1),
		Long: "Let a held server work again.\n\nA server is held when two hosts used its credential: one is a copy of the other, or its disk was put back to an\n" +
			"older state. If there is a copy, type there first: cardea-server-agent enroll --anew.",
		Example: "  cardea admin servers release web-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("servers", args[0])
			if err != nil {
				return err
			}
			s, err := call[api.Server](cmd.Context(), a, "POST", path+"/release", nil)
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, s, machineShowColumns(a))
		},
	}
}
