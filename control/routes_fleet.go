package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
	"github.com/cardea-ssh/cardea/control/lookup"
)

// Inputs that name a machine; exported for the framework.
type (
	ServerRef struct {
		Server string `path:"server" doc:"id, name, or project/name (escaped)"`
	}
	GatewayRef struct {
		Gateway string `path:"gateway" doc:"id or name"`
	}
	// Waiting is for reads that wait for something new.
	Waiting struct {
		Wait int `query:"wait" minimum:"0" maximum:"300" doc:"seconds to wait for something new; the server waits a minute at most"`
	}
)

// fleetRoutes are machines: an administrator's view of them, and their own calls.
func fleetRoutes(t *table, f *fleet.Service) {
	serverRoutes(t, f)
	gatewayRoutes(t, f)
	enrolmentRoutes(t, f)
	instanceRoutes(t, f)
	agentRoutes(t, f)
	poolRoutes(t, f)
}

func serverRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "GET", Path: "/v1/servers", Access: Admin, Doc: "List servers of a project, or all"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			Project string `query:"project" doc:"id or name; all if empty"`
			api.Page
		}) (*api.List[api.Server], error) {
			return f.Servers(ctx, in.Project, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/servers/{server}", Access: Admin, Doc: "One server"},
		func(ctx context.Context, _ caller.Caller, in *ServerRef) (*api.Server, error) {
			return f.Server(ctx, in.Server)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/servers/{server}", Access: Admin, Doc: "Change a server's name, address, labels or state"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ServerRef
			Body api.ServerPatch
		}) (*api.Server, error) {
			return f.UpdateServer(ctx, by, in.Server, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/servers/{server}", Access: Admin, Doc: "Forget a server and revoke its credential"},
		func(ctx context.Context, by caller.Caller, in *ServerRef) (*api.Named, error) {
			return f.DeleteServer(ctx, by, in.Server)
		})
	handle(t, route{Method: "POST", Path: "/v1/servers/{server}/release", Access: Admin, Doc: "Let a server work again that was held because two hosts used its credential"},
		func(ctx context.Context, by caller.Caller, in *ServerRef) (*api.Server, error) {
			return f.ReleaseServer(ctx, by, in.Server)
		})
}

func gatewayRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "GET", Path: "/v1/gateways", Access: Admin, Doc: "List gateways"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.Gateway], error) {
			return f.Gateways(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/gateways/{gateway}", Access: Admin, Doc: "One gateway"},
		func(ctx context.Context, _ caller.Caller, in *GatewayRef) (*api.Gateway, error) {
			return f.Gateway(ctx, in.Gateway)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/gateways/{gateway}", Access: Admin, Doc: "Change a gateway; disabling it ends its sessions"},
		func(ctx context.Context, by caller.Caller, in *struct {
			GatewayRef
			Body api.GatewayPatch
		}) (*api.Gateway, error) {
			return f.UpdateGateway(ctx, by, in.Gateway, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/gateways/{gateway}", Access: Admin, Doc: "Forget a gateway and revoke its credential"},
		func(ctx context.Context, by caller.Caller, in *GatewayRef) (*api.Named, error) {
			return f.DeleteGateway(ctx, by, in.Gateway)
		})
}

func enrolmentRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "POST", Path: "/v1/enrolment-tokens", Access: Admin, Doc: "Create an enrolment token; the secret is told once"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewEnrolmentToken]) (*api.EnrolmentToken, error) {
			return f.CreateToken(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/enrolment-tokens", Access: Admin, Doc: "List enrolment tokens, without secrets"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.EnrolmentToken], error) {
			return f.Tokens(ctx, in.Page)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/enrolment-tokens/{token}", Access: Admin, Doc: "Make an enrolment token worthless"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Token string `path:"token" doc:"id"`
		}) (*api.Named, error) {
			return f.DeleteToken(ctx, by, in.Token)
		})
	handle(t, route{Method: "POST", Path: "/v1/servers/enrol", Access: Proof, Doc: "Enrol a server; its credential is bound to the proof's key"},
		func(ctx context.Context, by caller.Caller, in *body[api.ServerEnrolment]) (*api.EnrolledServer, error) {
			return f.EnrolServer(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateways/enrol", Access: Proof, Doc: "Enrol a gateway; its credential is bound to the proof's key"},
		func(ctx context.Context, by caller.Caller, in *body[api.GatewayEnrolment]) (*api.EnrolledGateway, error) {
			return f.EnrolGateway(ctx, by, in.Body)
		})
}

func agentRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "GET", Path: "/v1/agent/state", Access: Agent, Poll: true, Doc: "The caller's desired state, if it is newer than what it has"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Epoch   int64 `query:"epoch" minimum:"0"`
			Counter int64 `query:"counter" minimum:"0"`
			Waiting
		}) (*api.SignedState, error) {
			return f.State(ctx, by, api.StateVersion{Epoch: in.Epoch, Counter: in.Counter}, lookup.Wait(in.Wait))
		})
	handle(t, route{Method: "POST", Path: "/v1/agent/report", Access: Agent, Seldom: true, Doc: "Tell which state is in force, and what went wrong"},
		func(ctx context.Context, by caller.Caller, in *body[api.AgentReport]) (*api.AgentReportAnswer, error) {
			return f.Report(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/agent/events", Access: Agent, Doc: "Tell what happened on the host, each event once"},
		func(ctx context.Context, by caller.Caller, in *body[api.AgentEvents]) (*api.AgentEventsAnswer, error) {
			if !t.server.limits.events.takeAll(by.Server.ID, t.server.options.Now(), max(1, len(in.Body.Events))) {
				return nil, tooMany("too many events from this host")
			}
			return f.Events(ctx, by, in.Body)
		})
}

func poolRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "POST", Path: "/v1/gateway/report", Access: Gateway, Seldom: true, Doc: "Tell health and sealing keys; the answer acknowledges the keys"},
		func(ctx context.Context, by caller.Caller, in *body[api.GatewayReport]) (*api.GatewayReportAnswer, error) {
			return f.ReportGateway(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/gateway/watch", Access: Gateway, Poll: true, Doc: "Wait for sessions to end and new ticket keys"},
		func(ctx context.Context, by caller.Caller, in *struct {
			After int64 `query:"after" minimum:"0"`
			Waiting
		}) (*api.GatewayWatch, error) {
			return f.Watch(ctx, by, in.After, lookup.Wait(in.Wait))
		})
}
