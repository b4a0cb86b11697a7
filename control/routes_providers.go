package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
)

// ProviderRef names an identity provider.
type ProviderRef struct {
	Provider string `path:"provider" doc:"id or name"`
}

// providerRoutes are the identity providers at which people sign in.
func providerRoutes(t *table) {
	s := t.server.signin
	handle(t, route{Method: "POST", Path: "/v1/providers", Access: Admin, Doc: "Let people sign in at an identity provider"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewProvider]) (*api.Provider, error) {
			return s.CreateProvider(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/providers", Access: Admin, Doc: "List identity providers"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.Provider], error) {
			return s.ListProviders(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/providers/{provider}", Access: Admin, Doc: "One identity provider"},
		func(ctx context.Context, _ caller.Caller, in *ProviderRef) (*api.Provider, error) {
			return s.ProviderByRef(ctx, in.Provider)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/providers/{provider}", Access: Admin, Doc: "Change, disable or enable an identity provider"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ProviderRef
			Body api.ProviderPatch
		}) (*api.Provider, error) {
			return s.UpdateProvider(ctx, by, in.Provider, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/providers/{provider}", Access: Admin, Doc: "Delete an identity provider; its users stay and cannot sign in"},
		func(ctx context.Context, by caller.Caller, in *ProviderRef) (*api.Named, error) {
			return s.DeleteProvider(ctx, by, in.Provider)
		})
	handle(t, route{Method: "POST", Path: "/v1/providers/{provider}/test", Access: Admin, Doc: "Ask an identity provider for what it publishes, now"},
		func(ctx context.Context, _ caller.Caller, in *ProviderRef) (*api.ProviderTest, error) {
			return s.TestProvider(ctx, in.Provider)
		})
}
