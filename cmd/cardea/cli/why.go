package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

type whyOptions struct{ server, login, user string }

func newWhy(a *app) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use: "why SERVER", GroupID: groupAccess,
		Short:             "Tell whether you may enter a server, and why",
		Long:              "Tell whether you may enter a server, and why. It ends with code 0 if you may and 5 if not.",
		Example:           "  cardea why web-1\n  cardea why web-1 --user bob",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.server = args[0]
			return a.why(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.login, "login", "", "the Unix account (default your own)")
	cmd.Flags().StringVar(&o.user, "user", "", "ask for somebody else (administrators)")
	return cmd
}

func (a *app) why(ctx context.Context, o whyOptions) error {
	if err := checkServer(o.server); err != nil {
		return err
	}
	q := url.Values{"server": {o.server}}
	if o.login != "" {
		if err := ident.Login(o.login); err != nil {
			return &usageError{text: err.Error()}
		}
		q.Set("login", o.login)
	}
	if o.user != "" {
		q.Set("user", o.user)
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	var w api.Why
	if _, err := client.Get(ctx, "/v1/why", q, &w); err != nil {
		return err
	}
	err = showOne(a, w, []column[api.Why]{
		{"Allowed", func(w api.Why) string { return yesNo(w.Allow) }},
		{"Reason", func(w api.Why) string { return w.Reason }},
		{"Hint", func(w api.Why) string { return w.Hint }},
	})
	if err == nil && !w.Allow {
		err = silentError{ExitDenied}
	}
	return err
}
