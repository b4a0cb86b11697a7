package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func connectionColumns() []column[api.GatewaySession] {
	return []column[api.GatewaySession]{
		{"started", func(s api.GatewaySession) string { return stamp(s.StartedAt) }},
		{"ended", func(s api.GatewaySession) string { return stamp(s.EndedAt) }},
		{"user", func(s api.GatewaySession) string { return s.User }},
		{"login", func(s api.GatewaySession) string { return s.Login }},
		{"server", func(s api.GatewaySession) string { return s.Server }},
		{"gateway", func(s api.GatewaySession) string { return s.Gateway }},
		{"source", func(s api.GatewaySession) string { return s.Source }},
		{"up", func(s api.GatewaySession) string { return strconv.FormatInt(s.Up, 10) }},
		{"down", func(s api.GatewaySession) string { return strconv.FormatInt(s.Down, 10) }},
		{"cause", func(s api.GatewaySession) string {
			switch {
			case s.EndReason == "":
				return s.Cause
			case s.EndedAt.IsZero():
				return "ending: " + s.EndReason
			}
			return s.Cause + ": " + s.EndReason
		}},
		{"recording", func(s api.GatewaySession) string { return recordingState(s.Recording, s.Overdue) }},
		{"id", func(s api.GatewaySession) string { return s.ID }},
	}
}

func adminConnections(a *app) *cobra.Command {
	return noun("connections", "Connections through gateways", connectionList(a), connectionEnd(a))
}

// connectionFilter are the flags that select connections.
type connectionFilter struct {
	live                  bool
	user, server, project string
}

func (f connectionFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"user": f.user, "server": f.server, "project": f.project} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.live {
		q.Set("live", "true")
	}
	return q
}

func connectionList(a *app) *cobra.Command {
	var f connectionFilter
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List connections, open and ended", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listRows(cmd.Context(), a, "/v1/gateway-sessions", f.query(), connectionColumns())
		},
	}
	cmd.Flags().BoolVar(&f.live, "live", false, "only those that are not over")
	cmd.Flags().StringVar(&f.user, "user", "", "those of one user, by id or name")
	cmd.Flags().StringVar(&f.server, "server", "", "those to one server, by id, name or project/name")
	cmd.Flags().StringVar(&f.project, "project", "", "those in one project, by id or name")
	return cmd
}

// orLive has a list of sign-ins list connections where flags ask for what sign-ins do not
// have: to people both are sessions.
func orLive(a *app, list *cobra.Command) *cobra.Command {
	var f connectionFilter
	list.Flags().BoolVar(&f.live, "live", false, "connections through gateways that are not over")
	list.Flags().StringVar(&f.server, "server", "", "connections to one server, by id, name or project/name")
	signIns := list.RunE
	list.RunE = func(cmd *cobra.Command, args []string) error {
		if !f.live && f.server == "" {
			return signIns(cmd, args)
		}
		f.user = cmd.Flag("user").Value.String()
		return listRows(cmd.Context(), a, "/v1/gateway-sessions", f.query(), connectionColumns())
	}
	return list
}

// connectionEnd ends one connection, or all of somebody or something.
func connectionEnd(a *app) *cobra.Command {
	var in api.EndSessions
	cmd := &cobra.Command{
		Use: "end [CONNECTION]", Short: "End live connections through gateways: one, or all of a user, server or project", Args: cobra.MaximumNArgs(1),
		Long: `The connections end within seconds. Who is in one reads the reason where it is recorded; where
the gateway only relays it cannot speak to him. It is in the audit log in any case. He may
connect again: to keep him out disable the user or take the grant back, which ends his
connections by itself.`,
		Example: `  cardea admin sessions list --live
  cardea admin sessions end gse_x --reason maintenance
  cardea admin sessions end --user alice
  cardea admin sessions end --all-of-project web --server web/web-1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			all := in.User != "" || in.Server != "" || in.Project != ""
			if (len(args) == 1) == all {
				return usageErrorf(cmd, "name one connection, or whose shall end with --user, --server or --all-of-project")
			}
			if err := checkReason(in.Reason); err != nil {
				return err
			}
			return a.endConnections(cmd.Context(), args, in)
		},
	}
	cmd.Flags().StringVar(&in.User, "user", "", "all of this user, by id or name")
	cmd.Flags().StringVar(&in.Server, "server", "", "all to this server, by id, name or project/name")
	cmd.Flags().StringVar(&in.Project, "all-of-project", "", "all in this project, by id or name")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, on one line; the people in them read it")
	return cmd
}

// checkReason finds what the control plane would not take either, in words of its own.
func checkReason(reason string) error {
	if len(reason) > api.MaxBreakGlassReason || strings.ContainsAny(reason, "\r\n") {
		return &usageError{fmt.Sprintf("a reason is one line of at most %d bytes", api.MaxBreakGlassReason), "give a shorter --reason"}
	}
	return nil
}

func (a *app) endConnections(ctx context.Context, args []string, in api.EndSessions) error {
	path, body := api.PathPrefix+"/gateway-sessions/revoke", any(in)
	if len(args) == 1 {
		one, err := pathOf("gateway-sessions", args[0], "revoke")
		if err != nil {
			return err
		}
		path, body = one, api.EndSession{Reason: in.Reason}
	}
	ended, err := call[api.EndedSessions](ctx, a, "POST", path, body)
	if err != nil {
		return err
	}
	if a.output == asJSON {
		return printJSON(a.out, ended)
	}
	switch ended.Count {
	case 0:
		a.say("no connection was live that was not told to end already")
	case 1:
		a.say("1 connection ends")
	default:
		a.say("%d connections end", ended.Count)
	}
	return nil
}

// recordingState is how far a recording is; an overdue one is not on its way any more.
func recordingState(state string, overdue bool) string {
	if overdue {
		return state + ", overdue"
	}
	return state
}
