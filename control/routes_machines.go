package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/directory"
)

// ServiceUserRef names a service user.
type ServiceUserRef struct {
	User string `path:"service" doc:"id or name"`
}

// serviceUserRoutes are users who are programs, and their keys.
func serviceUserRoutes(t *table, s *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/service-users", Access: Admin, Doc: "Create a user who is a program"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewServiceUser]) (*api.ServiceUser, error) {
			return s.CreateServiceUser(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/service-users", Access: Admin, Doc: "List users who are programs, with their keys"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.ServiceUser], error) {
			return s.ServiceUsers(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/service-users/{service}", Access: Admin, Doc: "One user who is a program, with its keys"},
		func(ctx context.Context, _ caller.Caller, in *ServiceUserRef) (*api.ServiceUser, error) {
			return s.ServiceUser(ctx, in.User)
		})
	handle(t, route{Method: "POST", Path: "/v1/service-users/{service}/keys", Access: Admin, Doc: "Register a key by which a service user signs in"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ServiceUserRef
			Body api.NewServiceKey
		}) (*api.ServiceKey, error) {
			return s.AddServiceKey(ctx, by, in.User, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/service-users/{service}/keys/{servicekey}", Access: Admin, Doc: "Take a key from a service user, and end what was begun with it"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ServiceUserRef
			Key string `path:"servicekey"`
		}) (*api.Named, error) {
			return s.RemoveServiceKey(ctx, by, in.User, in.Key)
		})
}
