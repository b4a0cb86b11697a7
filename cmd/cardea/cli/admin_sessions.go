package cli

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func adminSessions(a *app) *cobra.Command {
	return noun("sessions", "Signed-in devices, and with --live their connections through gateways",
		orLive(a, ofUser(a, "/v1/sessions", "List sessions; with --live or --server, connections through gateways", []column[api.Session]{
			{"user", func(s api.Session) string { return s.UserName }},
			{"device", func(s api.Session) string { return s.DeviceTag }},
			{"created", func(s api.Session) string { return stamp(s.CreatedAt) }},
			{"used", func(s api.Session) string { return stamp(s.SeenAt) }},
			{"expires", func(s api.Session) string { return stamp(s.ExpiresAt) }},
			{"revoked", func(s api.Session) string { return stamp(s.RevokedAt) }},
			{"id", func(s api.Session) string { return s.ID }},
		})),
		revokeVerb(a, "sessions", "SESSION", "End a session and the connections that it began"),
		connectionEnd(a),
	)
}

func adminDevices(a *app) *cobra.Command {
	return noun("devices", "Machines of users, known by their keys",
		ofUser(a, "/v1/devices", "List devices", []column[api.Device]{
			{"name", func(d api.Device) string { return d.Name }},
			{"user", func(d api.Device) string { return d.User }},
			{"state", func(d api.Device) string { return deviceState(d.State) }},
			{"created", func(d api.Device) string { return stamp(d.CreatedAt) }},
			{"approved", func(d api.Device) string { return stamp(d.ApprovedAt) }},
			{"says of itself", saysOfItself},
			{"key", func(d api.Device) string { return d.Thumbprint }},
			{"id", func(d api.Device) string { return d.ID }},
		}),
		deviceApprove(a),
		revokeVerb(a, "devices", "DEVICE", "Let a device never sign in again, and end its sessions", "reject"),
	)
}

// saysOfItself is a device's own word, in short.
func saysOfItself(d api.Device) string {
	r := d.Report
	if r == nil {
		return ""
	}
	var out []string
	if name := strings.TrimSpace(cmp.Or(r.System, r.OS) + " " + r.Version); name != "" {
		out = append(out, name)
	}
	for _, w := range []struct{ name, value string }{{"key in", r.Key}, {"disk encrypted:", r.DiskEncryption}, {"screen locks:", r.ScreenLock}} {
		if w.value != "" {
			out = append(out, w.name+" "+w.value)
		}
	}
	return strings.Join(out, ", ")
}

func deviceApprove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "approve DEVICE", Short: "Let a device in that waits for approval", Args: cobra.ExactArgs(1),
		Long: `Let a device in that waits for approval. Compare its key with the one that
"cardea device show" prints there.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("devices", args[0], "approve")
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "POST", path, nil, "approved "+args[0])
		},
	}
}

// ofUser is a list that may be of one user alone.
func ofUser[T any](a *app, path, short string, columns []column[T]) *cobra.Command {
	user := ""
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if user != "" {
				q.Set("user", user)
			}
			return listRows(cmd.Context(), a, path, q, columns)
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "those of one user, by id or name")
	return cmd
}

func revokeVerb(a *app, collection, what, short string, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: "revoke " + what, Aliases: append([]string{"delete", "rm"}, aliases...), Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(collection, args[0], "revoke")
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "POST", path, nil, "revoked "+args[0])
		},
	}
}
