package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func serviceUserColumns() []column[api.ServiceUser] {
	return []column[api.ServiceUser]{
		{"name", func(u api.ServiceUser) string { return u.Name }},
		{"login", func(u api.ServiceUser) string { return u.Login }},
		{"status", func(u api.ServiceUser) string { return u.Status }},
		{"keys", func(u api.ServiceUser) string { return strconv.Itoa(len(u.Keys)) }},
		{"keys are old after", func(u api.ServiceUser) string { return keyLimit(u) }},
		{"for", func(u api.ServiceUser) string { return u.FullName }},
		{"created", func(u api.ServiceUser) string { return stamp(u.CreatedAt) }},
		{"id", func(u api.ServiceUser) string { return u.ID }},
	}
}

func serviceKeyColumns(a *app) []column[api.ServiceKey] {
	return []column[api.ServiceKey]{
		{"key", func(k api.ServiceKey) string { return k.ID }},
		{"name", func(k api.ServiceKey) string { return k.Name }},
		{"thumbprint", func(k api.ServiceKey) string { return k.Thumbprint }},
		{"added", func(k api.ServiceKey) string { return stamp(k.CreatedAt) }},
		{"age", func(k api.ServiceKey) string { return a.keyAge(k) }},
		{"last sign-in", func(k api.ServiceKey) string { return stamp(k.UsedAt) }},
		{"until", func(k api.ServiceKey) string { return stamp(k.ExpiresAt) }},
		{"instead of", func(k api.ServiceKey) string { return k.Replaces }},
	}
}

func (a *app) keyAge(k api.ServiceKey) string {
	age := roughly(a.now().Sub(k.CreatedAt))
	if k.Old {
		age += ", old"
	}
	return age
}

func keyLimit(u api.ServiceUser) string {
	return lasting(u.KeySeconds)
}

func adminServiceUsers(a *app) *cobra.Command {
	return noun("service-users", "Users who are programs, and their keys",
		listVerb(a, "/v1/service-users", "List service users", serviceUserColumns(), nil),
		serviceUserShow(a), serviceUserCreate(a), serviceKeyAdd(a), serviceKeyRemove(a), serviceKeyAge(a), serviceKeysOld(a),
	)
}

func serviceUserShow(a *app) *cobra.Command {
	return showWith(a, "service-users", "SERVICE-USER", "Show one by id or name, with its keys", serviceUserColumns(),
		func(u api.ServiceUser) error { return showSome(a, u.Keys, serviceKeyColumns(a)) })
}

// oldKey is a key that should be changed.
type oldKey struct {
	ServiceUser string `json:"service_user"`
	api.ServiceKey
}

func serviceKeysOld(a *app) *cobra.Command {
	var than time.Duration
	cmd := &cobra.Command{
		Use: "old-keys", Short: "List the keys that should be changed", Args: cobra.NoArgs,
		Long: `List the keys that are older than the keys of their service user may become (set-key-age), or
older than --than. Who has the key changes it by: cardea login --service-key FILE --rotate`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			users, err := api.All[api.ServiceUser](cmd.Context(), client, "/v1/service-users", nil)
			if err != nil {
				return err
			}
			old := a.oldKeys(users, than)
			if len(old) == 0 && a.output != asJSON {
				if than > 0 {
					a.say("no key is older than %s; to see all of one service user type: cardea admin service-users show NAME", span.Text(than))
					return nil
				}
				a.say("no key is old; to say when keys are type: cardea admin service-users set-key-age NAME AGE")
				return nil
			}
			columns := []column[oldKey]{{"service user", func(k oldKey) string { return k.ServiceUser }}}
			for _, c := range serviceKeyColumns(a) {
				columns = append(columns, column[oldKey]{c.name, func(k oldKey) string { return c.text(k.ServiceKey) }})
			}
			return show(a, old, columns)
		},
	}
	span.Var(cmd.Flags(), &than, "than", 0, "older than this, whatever was set: 90d")
	return cmd
}

// oldKeys are those that the control plane calls old, or that are older than an age.
func (a *app) oldKeys(users []api.ServiceUser, than time.Duration) (old []oldKey) {
	for _, u := range users {
		for _, k := range u.Keys {
			if than == 0 && k.Old || than > 0 && a.now().Sub(k.CreatedAt) > than {
				old = append(old, oldKey{u.Name, k})
			}
		}
	}
	return old
}

func serviceKeyAge(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "set-key-age SERVICE-USER AGE", Short: "Say after which time its keys are old", Args: cobra.ExactArgs(2),
		Long: `Say after which time the keys of a service user are old: 90d for example, and 0 is never. An
old key still signs in; it is listed by old-keys, until whoever has it changes it by:
cardea login --service-key FILE --rotate. A key with an end (add-key --until) signs in no more after it.`,
		Example: "  cardea admin service-users set-key-age deploy 90d",
		RunE: func(cmd *cobra.Command, args []string) error {
			age, err := span.Parse(args[1])
			if err != nil {
				return &usageError{fmt.Sprintf("%q is no time", args[1]), "give one such as 90d, or 0 for never"}
			}
			path, err := pathOf("service-users", args[0])
			if err != nil {
				return err
			}
			u, err := call[api.ServiceUser](cmd.Context(), a, "PATCH", path, api.ServiceUserPatch{KeySeconds: int(age / time.Second)})
			if err != nil {
				return err
			}
			return showOne(a, u, serviceUserColumns())
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

A service user has two keys at most. A program changes its own key by itself:
cardea login --service-key FILE --rotate. To change them by hand add the new one, let the
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
			return showOne(a, k, serviceKeyColumns(a))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "where the key lies, as people say it")
	cmd.Flags().Var(&until, "until", "when it ends: 720h, a date or a time (default never)")
	mustBeGiven(cmd, "name")
	return cmd
}

func serviceKeyRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove-key SERVICE-USER KEY", Aliases: []string{"rm-key"}, Short: "Take a key away, and end what was begun with it", Args: cobra.ExactArgs(2),
		Long: `Take a key away, and end what was begun with it and with the keys before it. A key that was
registered by proof of this one goes as well: whoever has a copy of this one may have made that.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("service-users", args[0], "keys", args[1])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "took "+args[1]+" from "+args[0])
		},
	}
}
