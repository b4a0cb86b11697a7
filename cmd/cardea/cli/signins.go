package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func newSignIns(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sign-ins", GroupID: groupAccount,
		Short: "List and end your own sign-ins, on this machine and others",
	}
	cmd.AddCommand(
		listVerb(a, "/v1/sessions/mine", "List your sign-ins", []column[api.Session]{
			{"device", func(s api.Session) string { return s.DeviceTag + a.ifHere(s) }},
			{"since", func(s api.Session) string { return stamp(s.CreatedAt) }},
			{"used", func(s api.Session) string { return stamp(s.SeenAt) }},
			{"until", func(s api.Session) string { return stamp(s.ExpiresAt) }},
			{"ended", func(s api.Session) string { return stamp(s.RevokedAt) }},
			{"id", func(s api.Session) string { return s.ID }},
		}, nil),
		signInsRevoke(a),
	)
	return cmd
}

// ifHere marks the sign-in with which it is asked: to end the others is what people look for.
func (a *app) ifHere(s api.Session) string {
	if saved, err := a.home.Peek(); err == nil && saved.Session.ID == s.ID {
		return " (this one)"
	}
	return ""
}

func signInsRevoke(a *app) *cobra.Command {
	others := false
	cmd := &cobra.Command{
		Use: "revoke [SIGN-IN]", Aliases: []string{"delete", "rm"}, Short: "End a sign-in and the connections that it began", Args: cobra.MaximumNArgs(1),
		Example: "  cardea sign-ins revoke ses_…\n  cardea sign-ins revoke --others",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case others == (len(args) == 1):
				return usageErrorf(cmd, "name one sign-in, or give --others")
			case others:
				return a.revokeOthers(cmd.Context())
			}
			return a.revokeSignIn(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&others, "others", false, "all that last, but for this machine's")
	return cmd
}

func (a *app) revokeSignIn(ctx context.Context, id string) error {
	path, err := pathOf("sessions", id, "revoke")
	if err != nil {
		return err
	}
	return a.act(ctx, "POST", path, nil, "ended "+id)
}

func (a *app) revokeOthers(ctx context.Context) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	own, err := call[api.Session](ctx, a, "GET", "/v1/session", nil)
	if err != nil {
		return err
	}
	all, err := api.All[api.Session](ctx, client, "/v1/sessions/mine", nil)
	if err != nil {
		return err
	}
	n := 0
	for _, s := range all {
		if s.ID == own.ID || !s.RevokedAt.IsZero() || !a.now().Before(s.ExpiresAt) {
			continue
		}
		if err := a.revokeSignIn(ctx, s.ID); err != nil {
			return fmt.Errorf("end %s on %s: %w", s.ID, s.DeviceTag, err)
		}
		n++
	}
	if n == 0 && a.output != asJSON {
		a.say("There is no other sign-in.")
	}
	return nil
}
