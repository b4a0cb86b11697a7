package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func groupColumns() []column[api.Group] {
	return []column[api.Group]{
		{"name", func(g api.Group) string { return g.Name }},
		{"gid", func(g api.Group) string { return strconv.Itoa(g.GID) }},
		{"kept by", func(g api.Group) string { return g.Provider }},
		{"called there", func(g api.Group) string { return g.External }},
		{"created", func(g api.Group) string { return stamp(g.CreatedAt) }},
		{"id", func(g api.Group) string { return g.ID }},
	}
}

func memberColumns() []column[api.Member] {
	return []column[api.Member]{
		{"user", func(m api.Member) string { return m.UserName }},
		{"until", func(m api.Member) string { return stamp(m.Until) }},
		{"id", func(m api.Member) string { return m.User }},
	}
}

func adminGroups(a *app) *cobra.Command {
	return noun("groups", "Sets of users, to which grants give access",
		listVerb(a, "/v1/groups", "List groups", groupColumns(), nil),
		showVerb(a, "groups", "GROUP", groupColumns()),
		groupCreate(a), groupUpdate(a),
		deleteVerb(a, "groups", "GROUP", "Delete a group and the access that its grants gave"),
		noun("members", "Who is in a group", memberList(a), memberAdd(a), memberRemove(a)),
	)
}

func groupCreate(a *app) *cobra.Command {
	var in api.NewGroup
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Create a group", Args: cobra.ExactArgs(1),
		Example: "  cardea admin groups create ops\n  cardea admin groups create sre --provider okta --external 'SRE Team'",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			g, err := call[api.Group](cmd.Context(), a, "POST", "/v1/groups", in)
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, g, groupColumns())
		},
	}
	cmd.Flags().StringVar(&in.Provider, "provider", "", "the identity provider that keeps its members")
	cmd.Flags().StringVar(&in.External, "external", "", "what the provider calls the group (default its name)")
	return cmd
}

func groupUpdate(a *app) *cobra.Command {
	var provider, external string
	cmd := &cobra.Command{
		Use: "update GROUP", Aliases: []string{"set"}, Short: "Change who keeps the members of a group", Args: cobra.ExactArgs(1),
		Long: "Change who keeps the members of a group. With --provider members who are not of that provider leave\n" +
			"at once; the others stay until their next sign-in there. With --provider '' all stay, and you change them by hand.",
		Example: "  cardea admin groups update sre --provider okta --external 'SRE Team'\n  cardea admin groups update sre --provider ''",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := anyChanged(cmd, "provider", "external"); err != nil {
				return err
			}
			path, err := pathOf("groups", args[0])
			if err != nil {
				return err
			}
			g, err := call[api.Group](cmd.Context(), a, "PATCH", path, api.GroupPatch{Provider: changed(cmd, "provider", &provider), External: changed(cmd, "external", &external)})
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, g, groupColumns())
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "the identity provider that keeps its members; '' for administrators")
	cmd.Flags().StringVar(&external, "external", "", "what the provider calls the group (default its name)")
	return cmd
}

func memberList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list GROUP", Aliases: []string{"ls"}, Short: "List the members of a group", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("groups", args[0], "members")
			if err != nil {
				return err
			}
			return listRows(cmd.Context(), a, path, nil, memberColumns())
		},
	}
}

func memberAdd(a *app) *cobra.Command {
	until := untilFlag{now: a.now}
	cmd := &cobra.Command{
		Use: "add GROUP USER...", Short: "Put users into a group", Args: cobra.MinimumNArgs(2),
		Example: "  cardea admin groups members add ops alice bob\n  cardea admin groups members add oncall alice --until 8h",
		RunE: func(cmd *cobra.Command, args []string) error {
			var rows []api.Member
			for _, user := range args[1:] {
				path, err := pathOf("groups", args[0], "members", user)
				if err != nil {
					return err
				}
				m, err := call[api.Member](cmd.Context(), a, "PUT", path, api.NewMember{Until: until.time})
				if err != nil {
					return errors.Join(showSome(a, rows, memberColumns()), err)
				}
				rows = append(rows, m)
			}
			return showSome(a, rows, memberColumns())
		},
	}
	cmd.Flags().Var(&until, "until", "when the membership ends: 8h, 2026-12-31, or a time")
	return cmd
}

func memberRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove GROUP USER...", Aliases: []string{"rm", "delete"}, Short: "Take users out of a group", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, user := range args[1:] {
				path, err := pathOf("groups", args[0], "members", user)
				if err != nil {
					return err
				}
				if err := a.act(cmd.Context(), "DELETE", path, nil, "removed "+user+" from "+args[0]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
