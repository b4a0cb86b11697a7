package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
)

// liveRoutes are connections through gateways: which there are, and their end by hand.
func liveRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "GET", Path: "/v1/gateway-sessions", Access: Admin, Doc: "Connections through gateways, newest first"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			User    string `query:"user" doc:"id or name; all if empty"`
			Server  string `query:"server" doc:"id, name, or project/name; all if empty"`
			Project string `query:"project" doc:"id or name; all if empty"`
			Live    bool   `query:"live" doc:"only those that are not over"`
			api.Page
		}) (*api.List[api.GatewaySession], error) {
			return f.Sessions(ctx, fleet.SessionQuery{User: in.User, Server: in.Server, Project: in.Project, Live: in.Live}, in.Page)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway-sessions/{session}/revoke", Access: Admin, Doc: "End a live connection"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Session string `path:"session"`
			Body    api.EndSession
		}) (*api.EndedSessions, error) {
			return f.EndSession(ctx, by, in.Session, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway-sessions/revoke", Access: Admin, Doc: "End all live connections of a user, to a server, or in a project"},
		func(ctx context.Context, by caller.Caller, in *body[api.EndSessions]) (*api.EndedSessions, error) {
			return f.EndSessions(ctx, by, in.Body)
		})
}
