package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// scimColumns are those of the list.
func scimColumns() []column[api.ScimClient] {
	return []column[api.ScimClient]{
		{"name", func(c api.ScimClient) string { return c.Name }},
		{"state", func(c api.ScimClient) string { return c.State }},
		{"users", func(c api.ScimClient) string { return strconv.Itoa(c.Users) }},
		{"groups", func(c api.ScimClient) string { return strconv.Itoa(c.Groups) }},
		{"provider", func(c api.ScimClient) string { return c.Provider }},
		{"link claim", func(c api.ScimClient) string { return c.LinkClaim }},
		{"last used", func(c api.ScimClient) string { return stamp(c.UsedAt) }},
		{"id", func(c api.ScimClient) string { return c.ID }},
	}
}

// showScim prints all of one.
func showScim(ctx context.Context, a *app, c api.ScimClient) error {
	return showNamed(ctx, a, c, append(scimColumns(), []column[api.ScimClient]{
		{"url", func(c api.ScimClient) string { return c.URL }},
		{"paused because", func(c api.ScimClient) string { return c.Why }},
		{"paused until", func(c api.ScimClient) string { return stamp(c.PausedTo) }},
		{"created", func(c api.ScimClient) string { return stamp(c.CreatedAt) }},
	}...))
}

// showScimToken prints a client and its token, which is told this once.
func showScimToken(a *app, t api.ScimToken) error {
	err := showOne(a, t, []column[api.ScimToken]{
		{"name", func(t api.ScimToken) string { return t.Name }},
		{"url", func(t api.ScimToken) string { return t.URL }},
		{"token", func(t api.ScimToken) string { return t.Token }},
		{"old token until", func(t api.ScimToken) string { return stamp(t.OldUntil) }},
		{"id", func(t api.ScimToken) string { return t.ID }},
	})
	if err == nil && a.output != asJSON {
		a.say("give URL and token to the identity provider now: the token is not shown again")
	}
	return err
}

func adminScim(a *app) *cobra.Command {
	disabled, active := "disabled", "active"
	return noun("scim", "Identity providers' connectors that keep users and groups (SCIM 2.0)",
		listVerb(a, "/v1/scim-clients", "List SCIM clients", scimColumns(), nil),
		scimShow(a), scimCreate(a), scimRotate(a),
		scimPost(a, "resume", "Let one that is paused go on",
			"Let one that is paused go on. It was about to take access from more than a tenth of its users within ten\nminutes. Look first at what it wants: for an hour from now on nothing holds it back.", "resumed"),
		scimWaiting(a), scimAdopt(a), scimRelease(a),
		onOff(a, "disable", "CLIENT", "Let one change nothing any more; its users stay as they are", "scim-clients", api.ScimClientPatch{State: &disabled}),
		onOff(a, "enable", "CLIENT", "Let one go on", "scim-clients", api.ScimClientPatch{State: &active}),
		deleteVerb(a, "scim-clients", "CLIENT", "Delete one; its users and groups stay and are kept by hand"),
	)
}

func scimShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show CLIENT", Short: "Show one by id or name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("scim-clients", args[0])
			if err != nil {
				return err
			}
			c, err := call[api.ScimClient](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			return showScim(cmd.Context(), a, c)
		},
	}
}

func scimCreate(a *app) *cobra.Command {
	in := api.NewScimClient{}
	cmd := &cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Let an identity provider keep users and groups", Args: cobra.ExactArgs(1),
		Long: `Let an identity provider keep users and groups by SCIM. Its token is shown this once.

With --provider its users are those who sign in there: somebody is the user whose externalId
is what the provider says in --link-claim. Without one they are kept, and cannot sign in.`,
		Example: "  cardea admin scim create okta --provider okta\n  cardea admin scim create entra --provider entra --link-claim oid",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			t, err := call[api.ScimToken](cmd.Context(), a, "POST", "/v1/scim-clients", in)
			if err != nil {
				return err
			}
			return showScimToken(a, t)
		},
	}
	cmd.Flags().StringVar(&in.Provider, "provider", "", "identity provider at which its users sign in, by id or name")
	cmd.Flags().StringVar(&in.LinkClaim, "link-claim", "", "claim of that provider that is a user's externalId (default sub)")
	return cmd
}

func scimRotate(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rotate CLIENT", Short: "Make a new token; the old one is good for an hour", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("scim-clients", args[0], "rotate")
			if err != nil {
				return err
			}
			t, err := call[api.ScimToken](cmd.Context(), a, "POST", path, nil)
			if err != nil {
				return err
			}
			return showScimToken(a, t)
		},
	}
}

// scimPost is a verb without more to say.
func scimPost(a *app, verb, short, long, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " CLIENT", Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("scim-clients", args[0], verb)
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "POST", path, nil, done+" "+args[0])
		},
	}
}
