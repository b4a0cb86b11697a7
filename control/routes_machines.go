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
	handle(t, route{Method: "PATCH", Path: "/v1/service-users/{service}", Access: Admin, Doc: "Say when the keys of a service user are old"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ServiceUserRef
			Body api.ServiceUserPatch
		}) (*api.ServiceUser, error) {
			return s.UpdateServiceUser(ctx, by, in.User, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/service-keys/next", Access: User, Doc: "Register the key that takes the place of the one with which the calling program has signed in"},
		func(ctx context.Context, by caller.Caller, in *body[api.NextServiceKey]) (*api.ServiceKey, error) {
			return s.NextServiceKey(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/service-keys/retire", Access: User, Doc: "End the key whose place was taken by the one with which the calling program has signed in"},
		func(ctx context.Context, by caller.Caller, _ *none) (*api.RetiredServiceKey, error) {
			return s.RetireServiceKey(ctx, by)
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

// WorkloadRef names an issuer of tokens for jobs.
type WorkloadRef struct {
	Workload string `path:"workload" doc:"id or name"`
}

// workloadRoutes are the platforms whose jobs may sign in, and as whom.
func workloadRoutes(t *table) {
	s := t.server.signin
	handle(t, route{Method: "POST", Path: "/v1/workload-issuers", Access: Admin, Doc: "Let jobs of a platform sign in with its tokens"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewWorkloadIssuer]) (*api.WorkloadIssuer, error) {
			return s.CreateWorkloadIssuer(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/workload-issuers", Access: Admin, Doc: "List issuers of tokens for jobs, with their rules"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.WorkloadIssuer], error) {
			return s.WorkloadIssuers(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/workload-issuers/{workload}", Access: Admin, Doc: "One issuer of tokens for jobs, with its rules"},
		func(ctx context.Context, _ caller.Caller, in *WorkloadRef) (*api.WorkloadIssuer, error) {
			return s.WorkloadIssuer(ctx, in.Workload)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/workload-issuers/{workload}", Access: Admin, Doc: "Disable or enable an issuer of tokens for jobs"},
		func(ctx context.Context, by caller.Caller, in *struct {
			WorkloadRef
			Body api.WorkloadIssuerPatch
		}) (*api.WorkloadIssuer, error) {
			return s.UpdateWorkloadIssuer(ctx, by, in.Workload, in.Body)
		})
	handle(t, route{Method: "PUT", Path: "/v1/workload-issuers/{workload}/keys", Access: Admin, Doc: "Give an issuer of tokens for jobs its keys, where it cannot be asked for them"},
		func(ctx context.Context, by caller.Caller, in *struct {
			WorkloadRef
			Body api.WorkloadKeys
		}) (*api.WorkloadIssuer, error) {
			return s.SetWorkloadKeys(ctx, by, in.Workload, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/workload-tests", Access: Admin, Doc: "Tell what a token of a job would come to, without using it up"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewWorkloadTest]) (*api.WorkloadTest, error) {
			return s.TestWorkload(ctx, by, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/workload-issuers/{workload}", Access: Admin, Doc: "Delete an issuer of tokens for jobs that has no rules"},
		func(ctx context.Context, by caller.Caller, in *WorkloadRef) (*api.Named, error) {
			return s.DeleteWorkloadIssuer(ctx, by, in.Workload)
		})
	handle(t, route{Method: "POST", Path: "/v1/workload-issuers/{workload}/rules", Access: Admin, Doc: "Say which jobs of a platform are which service user"},
		func(ctx context.Context, by caller.Caller, in *struct {
			WorkloadRef
			Body api.NewWorkloadRule
		}) (*api.WorkloadRule, error) {
			return s.CreateWorkloadRule(ctx, by, in.Workload, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/workload-issuers/{workload}/rules/{workloadrule}", Access: Admin, Doc: "Delete a rule, and end the sessions that it brought"},
		func(ctx context.Context, by caller.Caller, in *struct {
			WorkloadRef
			Rule string `path:"workloadrule"`
		}) (*api.Named, error) {
			return s.DeleteWorkloadRule(ctx, by, in.Workload, in.Rule)
		})
}
