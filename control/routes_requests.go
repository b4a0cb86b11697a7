package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/jit"
	"github.com/cardea-ssh/cardea/control/lookup"
)

// Inputs that name one thing of requests.
type (
	RequestRef struct {
		Request string `path:"request" doc:"id"`
	}
	RequestRuleRef struct {
		Rule string `path:"rule" doc:"id"`
	}
)

// requestRoutes are access that people ask for. Who may answer, the service knows: it is
// nobody's role.
func requestRoutes(t *table, s *jit.Service) {
	requestRuleRoutes(t, s)
	handle(t, route{Method: "POST", Path: "/v1/requests", Access: User, Doc: "Ask for access to a server or a project, for a time"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewAccessRequest]) (*api.AccessRequest, error) {
			return s.Ask(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/requests", Access: User, Doc: "List your own requests, newest first"},
		func(ctx context.Context, by caller.Caller, in *pageOnly) (*api.List[api.AccessRequest], error) {
			return s.Mine(ctx, by, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/requests/pending", Access: User, Doc: "List the requests that wait for an answer which you may give"},
		func(ctx context.Context, by caller.Caller, in *pageOnly) (*api.List[api.AccessRequest], error) {
			return s.Pending(ctx, by, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/requests/{request}", Access: User, Poll: true, Doc: "One request that is yours, or that you may answer; with a wait, as soon as its state is another"},
		func(ctx context.Context, by caller.Caller, in *struct {
			RequestRef
			State string `query:"state" maxLength:"20" doc:"that is known"`
			Waiting
		}) (*api.AccessRequest, error) {
			return s.Show(ctx, by, in.Request, in.State, lookup.Wait(in.Wait))
		})
	handle(t, route{Method: "POST", Path: "/v1/requests/{request}/cancel", Access: User, Doc: "Take back a request of your own"},
		func(ctx context.Context, by caller.Caller, in *RequestRef) (*api.AccessRequest, error) {
			return s.Cancel(ctx, by, in.Request)
		})
	handle(t, route{Method: "POST", Path: "/v1/requests/{request}/end", Access: User, Doc: "End what was given before its time: your own, or by a rule that you may answer"},
		func(ctx context.Context, by caller.Caller, in *RequestRef) (*api.AccessRequest, error) {
			return s.End(ctx, by, in.Request)
		})
	for _, verb := range []string{"approve", "deny"} {
		handle(t, route{Method: "POST", Path: "/v1/requests/{request}/" + verb, Access: User, Doc: "Answer a request of somebody else: " + verb},
			func(ctx context.Context, by caller.Caller, in *struct {
				RequestRef
				Body api.NewRequestAnswer
			}) (*api.AccessRequest, error) {
				return s.Answer(ctx, by, in.Request, verb == "approve", in.Body)
			})
	}
}

func requestRuleRoutes(t *table, s *jit.Service) {
	handle(t, route{Method: "POST", Path: "/v1/projects/{project}/request-rules", Access: Admin, Doc: "Let people ask for a membership in a group for a time"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ProjectRef
			Body api.NewRequestRule
		}) (*api.RequestRule, error) {
			return s.CreateRule(ctx, by, in.Project, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/request-rules", Access: User, Doc: "List the rules by which you may ask or answer; all for administrators"},
		func(ctx context.Context, by caller.Caller, in *pageOnly) (*api.List[api.RequestRule], error) {
			return s.Rules(ctx, by, in.Page)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/request-rules/{rule}", Access: Admin, Doc: "Delete a rule; what was given by it lasts to its end"},
		func(ctx context.Context, by caller.Caller, in *RequestRuleRef) (*api.Named, error) {
			return s.DeleteRule(ctx, by, in.Rule)
		})
	handle(t, route{Method: "POST", Path: "/v1/preauthorizations", Access: User, Doc: "Approve in advance what somebody may ask for by a rule that you may answer"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewPreauthorization]) (*api.Preauthorization, error) {
			return s.CreatePreauthorization(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/preauthorizations", Access: User, Doc: "List the preauthorizations by rules that you may answer, or your own"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Mine bool `query:"mine"`
			api.Page
		}) (*api.List[api.Preauthorization], error) {
			return s.Preauthorizations(ctx, by, in.Mine, in.Page)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/preauthorizations/{preauthorization}", Access: User, Doc: "Take a preauthorization back"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Preauthorization string `path:"preauthorization" doc:"id"`
		}) (*api.Named, error) {
			return s.DeletePreauthorization(ctx, by, in.Preauthorization)
		})
}
