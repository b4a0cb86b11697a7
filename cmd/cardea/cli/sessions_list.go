package cli

import (
	"cmp"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func newSessionsLs(a *app) *cobra.Command {
	var user, server string
	var mine bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List recorded sessions",
		Long:    "List recorded sessions, newest first: all to administrators, and their own to others.",
		Example: "  cardea sessions ls --user alice\n  cardea sessions ls --server web-1\n  cardea sessions ls --mine -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if user != "" {
				q.Set("user", user)
			}
			if mine {
				q.Set("mine", "true")
			}
			if server != "" {
				id, _, err := a.recordedServer(cmd.Context(), server)
				if err != nil {
					return err
				}
				q.Set("server", id)
			}
			return listFitting(cmd.Context(), a, "/v1/recordings", q, recordingListColumns(), func(r api.Recording) bool {
				return !q.Has("server") || r.Server == q.Get("server")
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "those of one user, by id or name")
	cmd.Flags().StringVar(&server, "server", "", "those on one server")
	cmd.RegisterFlagCompletionFunc("server", a.completeServers)
	cmd.Flags().BoolVar(&mine, "mine", false, "your own alone")
	cmd.MarkFlagsMutuallyExclusive("user", "mine")
	return cmd
}

func recordingListColumns() []column[api.Recording] {
	return []column[api.Recording]{
		{"started", func(r api.Recording) string { return stamp(r.StartedAt) }},
		{"length", lengthOf},
		{"user", func(r api.Recording) string { return cmp.Or(r.UserName, r.User) }},
		{"login", func(r api.Recording) string { return r.Login }},
		{"server", func(r api.Recording) string { return cmp.Or(r.ServerName, r.Server) }},
		{"recording", func(r api.Recording) string { return recordingState(r.State, r.Overdue) }},
		{"bytes", func(r api.Recording) string { return strconv.FormatInt(r.Bytes, 10) }},
		{"session", func(r api.Recording) string { return r.Session }},
	}
}

func lengthOf(r api.Recording) string {
	if r.State == api.RecordingRunning {
		return ""
	}
	return span.Text(time.Duration(r.Seconds) * time.Second)
}

func newSessionsShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show SESSION", Short: "Show what is known of a recorded session", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("recordings", args[0])
			if err != nil {
				return err
			}
			r, err := call[api.Recording](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, r, recordingShowColumns())
		},
	}
}

func recordingShowColumns() []column[api.Recording] {
	return []column[api.Recording]{
		{"session", func(r api.Recording) string { return r.Session }},
		{"user", func(r api.Recording) string { return cmp.Or(r.UserName, r.User) }},
		{"login", func(r api.Recording) string { return r.Login }},
		{"server", func(r api.Recording) string { return cmp.Or(r.ServerName, r.Server) }},
		{"project", func(r api.Recording) string { return cmp.Or(r.ProjectName, r.Project) }},
		{"from", func(r api.Recording) string { return r.Source }},
		{"started", func(r api.Recording) string { return stamp(r.StartedAt) }},
		{"ended", func(r api.Recording) string { return stamp(r.EndedAt) }},
		{"length", lengthOf},
		{"gateway", func(r api.Recording) string { return cmp.Or(r.GatewayName, r.Gateway) }},
		{"spool given to", func(r api.Recording) string {
			if r.Keeper == r.Gateway {
				return ""
			}
			return r.Keeper
		}},
		{"recording", func(r api.Recording) string {
			return cmp.Or(explained[r.State], r.State) + map[bool]string{true: "; it is overdue, look at the gateway"}[r.Overdue]
		}},
		{"required", func(r api.Recording) string { return yesNo(r.Required) }},
		{"ended by", func(r api.Recording) string { return r.Cause }},
		{"fault", func(r api.Recording) string { return r.Fault }},
		{"segments", func(r api.Recording) string { return strconv.Itoa(r.Segments) }},
		{"bytes", func(r api.Recording) string { return strconv.FormatInt(r.Bytes, 10) }},
		{"place", func(r api.Recording) string { return r.Place }},
		{"head", func(r api.Recording) string { return r.Head }},
		{"signed by", func(r api.Recording) string { return r.Key }},
	}
}

// explained are the states of a recording, in words.
var explained = map[string]string{
	api.RecordingRunning:  "is being made",
	api.RecordingFinished: "whole, and on its way from the gateway's spool",
	api.RecordingStored:   "stored and read back",
	api.RecordingDamaged:  "some of it was set aside on the gateway; the rest is stored",
}
