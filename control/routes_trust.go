package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/trust"
)

// CARef names a CA; exported for the framework.
type CARef struct {
	CA string `path:"ca" doc:"host, gateway, or user/PROJECT (escaped)"`
}

// trustRoutes are the CAs over time, and what was revoked by hand.
func trustRoutes(t *table, s *trust.Service) {
	handle(t, route{Method: "GET", Path: "/v1/cas", Access: Admin, Doc: "List the keys of all CAs, retired ones too"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.CA], error) {
			return s.CAs(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/cas/{ca}", Access: Admin, Doc: "How far the rotation of a CA has come"},
		func(ctx context.Context, _ caller.Caller, in *CARef) (*api.Rotation, error) {
			return s.Rotation(ctx, in.CA)
		})
	handle(t, route{Method: "POST", Path: "/v1/cas/{ca}/rotate", Access: Admin, Doc: "Make the next key of a CA and publish it"},
		func(ctx context.Context, by caller.Caller, in *CARef) (*api.Rotation, error) {
			return s.Rotate(ctx, by, in.CA)
		})
	for _, step := range []struct {
		verb, doc string
		do        func(context.Context, caller.Caller, string, api.RotationStep) (*api.Rotation, error)
	}{
		{"switch", "Let the next key of a CA sign", s.Switch},
		{"retire", "End the trust in the old key of a CA and destroy it", s.Retire},
		{"abort", "Go one step back in the rotation of a CA", s.Abort},
	} {
		handle(t, route{Method: "POST", Path: "/v1/cas/{ca}/" + step.verb, Access: Admin, Doc: step.doc},
			func(ctx context.Context, by caller.Caller, in *struct {
				CARef
				Body api.RotationStep
			}) (*api.Rotation, error) {
				return step.do(ctx, by, in.CA, in.Body)
			})
	}
	handle(t, route{Method: "GET", Path: "/v1/revoked-keys", Access: Admin, Doc: "List the keys that were revoked by hand"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.RevokedKey], error) {
			return s.Revoked(ctx, in.Page)
		})
	handle(t, route{Method: "POST", Path: "/v1/revoked-keys", Access: Admin, Doc: "Have all servers refuse a key"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewRevokedKey]) (*api.RevokedKey, error) {
			return s.Revoke(ctx, by, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/revoked-keys/{fingerprint}", Access: Admin, Doc: "Take a revocation back"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Fingerprint string `path:"fingerprint" doc:"SHA256:… (escaped)"`
		}) (*api.Named, error) {
			return s.Unrevoke(ctx, by, in.Fingerprint)
		})
}
