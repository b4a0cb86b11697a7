package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func serviceUserColumns() []column[api.ServiceUser] {
	return []column[api.ServiceUser]{
		{"name", func(u api.ServiceUser) string { return u.Name }},
		{"login", func(u api.ServiceUser) string { return u.Login }},
		{"status", func(u api.ServiceUser) string { return u.Status }},
		{"keys", func(u api.ServiceUser) string { return strconv.Itoa(len(u.Keys)) }},
		{"for", func(u api.ServiceUser) string { return u.FullName }},
		{"created", func(u api.ServiceUser) string { return stamp(u.CreatedAt) }},
		{"id", func(u api.ServiceUser) string { return u.ID }},
	}
}

func serviceKeyColumns() []column[api.ServiceKey] {
	return []column[api.ServiceKey]{
		{"key", func(k api.ServiceKey) string { return k.ID }},
		{"name", func(k api.ServiceKey) string { return k.Name }},
		{"thumbprint", func(k api.ServiceKey) string { return k.Thumbprint }},
		{"added", func(k api.ServiceKey) string { return stamp(k.CreatedAt) }},
		{"last sign-in", func(k api.ServiceKey) string { return stamp(k.UsedAt) }},
		{"until", func(k api.ServiceKey) string { return stamp(k.ExpiresAt) }},
	}
}

func adminServiceUsers(a *app) *cobra.Command {
	return noun("service-users", "Users who are programs, and their keys",
		listVerb(a, "/v1/service-users", "List service users", serviceUserColumns(), nil),
		serviceUserShow(a), serviceUserCreate(a), serviceKeyAdd(a), serviceKeyRemove(a),
	)
}

func serviceUserShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show SERVICE-USER", Short: "Show one by id or name, with its keys", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("service-users", args[0])
			if err != nil {
				return err
			}
			u, err := call[api.ServiceUser](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			if a.output == asJSON {
				return printJSON(a.out, u)
			}
			if err := showOne(a, u, serviceUserColumns()); err != nil || len(u.Keys) == 0 {
				return err
			}
			return show(a, u.Keys, serviceKeyColumns())
		},
	}
}

func serviceUserCreate(a *app) *cobra.Command {
	var in api.NewServiceUser
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Create a user who is a program", Args: cobra.ExactArgs(1),
		Long: `Create a user who is a program. It has no password and is never an administrator. Groups and
grants give it access as they do people; "admin users disable" and "delete" end it.`,
		Example: `  cardea admin service-users create deploy --for 'the deployment of web'
  cardea admin groups members add deployers deploy
  cardea admin service-users add-key deploy THUMBPRINT --name build-1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			u, err := call[api.ServiceUser](cmd.Context(), a, "POST", "/v1/service-users", in)
			if err != nil {
				return err
			}
			if err := showOne(a, u, serviceUserColumns()); err != nil {
				return err
			}
			if a.output != asJSON {
				a.say("it has no key yet; on its machine type: cardea service-key FILE")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Login, "login", "", "Unix login (default the name); it cannot be changed later")
	cmd.Flags().StringVar(&in.FullName, "for", "", "what it is for")
	return cmd
}

func serviceKeyAdd(a *app) *cobra.Command {
	var name string
	until := untilFlag{now: a.now}
	cmd := &cobra.Command{
		Use: "add-key SERVICE-USER THUMBPRINT", Short: "Register a key by which a service user signs in", Args: cobra.ExactArgs(2),
		Long: `Register a key by which a service user signs in. "cardea service-key FILE" makes one on the
machine where it is used, and prints its thumbprint; the key itself never leaves that file.

A service user has two keys at most. To change them without a gap add the new one, let the
program use it, and remove the old one.`,
		Example: "  cardea admin service-users add-key deploy THUMBPRINT --name build-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("service-users", args[0], "keys")
			if err != nil {
				return err
			}
			k, err := call[api.ServiceKey](cmd.Context(), a, "POST", path, api.NewServiceKey{Name: name, Thumbprint: args[1], ExpiresAt: until.time})
			if err != nil {
				return err
			}
			return showOne(a, k, serviceKeyColumns())
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "where the key lies, as people say it")
	cmd.Flags().Var(&until, "until", "when it ends: 720h, a date or a time (default never)")
	if err := cmd.MarkFlagRequired("name"); err != nil {
		panic(err) // the flag is a few lines above
	}
	return cmd
}

func serviceKeyRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove-key SERVICE-USER KEY", Aliases: []string{"rm-key"}, Short: "Take a key away, and end what was begun with it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("service-users", args[0], "keys", args[1])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "took "+args[1]+" from "+args[0])
		},
	}
}
