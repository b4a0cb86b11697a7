package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/directory"
)

func breakGlassRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/projects/{project}/break-glass", Access: Admin, Doc: "Let one group alone into a project, without gateways, for a time"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ProjectRef
			Body api.NewBreakGlass
		}) (*api.BreakGlass, error) {
			return d.BeginBreakGlass(ctx, by, in.Project, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/projects/{project}/break-glass", Access: Admin, Doc: "End it before its time"},
		func(ctx context.Context, by caller.Caller, in *ProjectRef) (*api.BreakGlass, error) {
			return d.EndBreakGlass(ctx, by, in.Project)
		})
	handle(t, route{Method: "GET", Path: "/v1/break-glass", Access: Admin, Doc: "All break-glasses that there were, newest first"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.BreakGlass], error) {
			return d.BreakGlasses(ctx, in.Page)
		})
}
