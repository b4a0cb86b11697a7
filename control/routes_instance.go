package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/fleet"
)

// instanceRoutes are the ways in for instances of clouds, and the rules for them.
func instanceRoutes(t *table, f *fleet.Service) {
	handle(t, route{Method: "POST", Path: "/v1/enrolment-rules", Access: Admin, Doc: "Let instances of an account of a cloud enrol by themselves"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewEnrolmentRule]) (*api.EnrolmentRule, error) {
			return f.CreateRule(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/enrolment-rules", Access: Admin, Doc: "List enrolment rules"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.EnrolmentRule], error) {
			return f.Rules(ctx, in.Page)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/enrolment-rules/{rule}", Access: Admin, Doc: "End a way in; servers that came by it stay"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Rule string `path:"rule" doc:"id"`
		}) (*api.Named, error) {
			return f.DeleteRule(ctx, by, in.Rule)
		})
	handle(t, route{Method: "POST", Path: "/v1/servers/enrol/challenge", Access: Proof, Doc: "Ask what an instance must have signed to enrol"},
		func(ctx context.Context, by caller.Caller, _ *struct{}) (*api.InstanceChallenge, error) {
			return f.Challenge(ctx, by)
		})
	handle(t, route{Method: "POST", Path: "/v1/servers/enrol/instance", Access: Proof, Doc: "Enrol an instance of a cloud by what the cloud has signed"},
		func(ctx context.Context, by caller.Caller, in *body[api.InstanceEnrolment]) (*api.EnrolledServer, error) {
			return f.EnrolInstance(ctx, by, in.Body)
		})
}
