package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/policy"
)

func grantColumns() []column[api.Grant] {
	return []column[api.Grant]{
		{"group", func(g api.Grant) string { return g.GroupName }},
		{"role", func(g api.Grant) string { return g.Role }},
		{"selector", func(g api.Grant) string { return g.Selector }},
		{"sudo", func(g api.Grant) string { return strings.Join(g.Sudo, ",") }},
		{"until", func(g api.Grant) string { return stamp(g.Until) }},
		{"created", func(g api.Grant) string { return stamp(g.CreatedAt) }},
		{"id", func(g api.Grant) string { return g.ID }},
	}
}

func adminGrants(a *app) *cobra.Command {
	return noun("grants", "Which group may enter which servers of a project", grantList(a), grantCreate(a), grantUpdate(a), grantDelete(a))
}

func grantList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list PROJECT", Aliases: []string{"ls"}, Short: "List the grants of a project", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("projects", args[0], "grants")
			if err != nil {
				return err
			}
			return listRows(cmd.Context(), a, path, nil, grantColumns())
		},
	}
}

func grantCreate(a *app) *cobra.Command {
	var in api.NewGrant
	until := untilFlag{now: a.now}
	cmd := &cobra.Command{
		Use: "create PROJECT GROUP", Aliases: []string{"add"}, Short: "Give a group access to a project's servers", Args: cobra.ExactArgs(2),
		Example: "  cardea admin grants create web ops --role admin\n  cardea admin grants create web dev --selector env=staging --until 8h\n  cardea admin grants create web dev --sudo nginx --sudo logs",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("projects", args[0], "grants")
			if err != nil {
				return err
			}
			in.Group, in.Until = args[1], until.time
			g, err := call[api.Grant](cmd.Context(), a, "POST", path, in)
			if err != nil {
				return err
			}
			return showOne(a, g, grantColumns())
		},
	}
	oneOf(cmd, cmd.Flags(), &in.Role, "role", "", []string{string(policy.RoleUser), string(policy.RoleAdmin)}, "user, or admin, who may run everything by sudo")
	cmd.Flags().StringVarP(&in.Selector, "selector", "l", "", "labels of the servers, for example env=prod,tier!=db (default all)")
	cmd.Flags().Var(&until, "until", "when the grant ends: 8h, 2026-12-31, or a time")
	cmd.Flags().StringSliceVar(&in.Sudo, "sudo", nil, "entitlement: what they may run by sudo; give it once for each")
	return cmd
}

func grantUpdate(a *app) *cobra.Command {
	sudo, none := []string{}, false
	cmd := &cobra.Command{
		Use: "update PROJECT GRANT", Aliases: []string{"set"}, Short: "Change what a grant lets people run by sudo", Args: cobra.ExactArgs(2),
		Example: "  cardea admin grants update web grt_x --sudo nginx --sudo logs\n  cardea admin grants update web grt_x --no-sudo",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := anyChanged(cmd, "sudo", "no-sudo"); err != nil {
				return err
			}
			path, err := pathOf("projects", args[0], "grants", args[1])
			if err != nil {
				return err
			}
			if none {
				sudo = []string{}
			}
			g, err := call[api.Grant](cmd.Context(), a, "PATCH", path, api.GrantPatch{Sudo: &sudo})
			if err != nil {
				return err
			}
			return showOne(a, g, grantColumns())
		},
	}
	cmd.Flags().StringSliceVar(&sudo, "sudo", nil, "entitlements in place of all that it has; give it once for each")
	cmd.Flags().BoolVar(&none, "no-sudo", false, "take all away")
	cmd.MarkFlagsMutuallyExclusive("sudo", "no-sudo")
	return cmd
}

func grantDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete PROJECT GRANT", Aliases: []string{"rm", "remove", "revoke"}, Short: "Take a grant back", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("projects", args[0], "grants", args[1])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "deleted "+args[1])
		},
	}
}
