package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/directory"
)

// Inputs that name one thing of the directory by id or name. Their names are
// exported because the framework looks into no others.
type (
	UserRef struct {
		User string `path:"user" doc:"id or name"`
	}
	GroupRef struct {
		Group string `path:"group" doc:"id or name"`
	}
	MemberRef struct {
		GroupRef
		UserRef
	}
	ProjectRef struct {
		Project string `path:"project" doc:"id or name"`
	}
	GrantRef struct {
		ProjectRef
		Grant string `path:"grant" doc:"id"`
	}
	EntitlementRef struct {
		Entitlement string `path:"entitlement" doc:"id or name"`
	}
)

// directoryRoutes are people and rules; all of them are an administrator's.
func directoryRoutes(t *table, d *directory.Service) {
	userRoutes(t, d)
	groupRoutes(t, d)
	projectRoutes(t, d)
	grantRoutes(t, d)
	breakGlassRoutes(t, d)
	entitlementRoutes(t, d)
}

func userRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/users", Access: Admin, Doc: "Create a user; a password that is made is told once"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewUser]) (*api.CreatedUser, error) {
			return d.CreateUser(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/users", Access: Admin, Doc: "List users"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.User], error) {
			return d.Users(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/users/{user}", Access: Admin, Doc: "One user"},
		func(ctx context.Context, _ caller.Caller, in *UserRef) (*api.User, error) {
			return d.User(ctx, in.User)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/users/{user}", Access: Admin, Doc: "Change, disable or enable a user, or reset the password"},
		func(ctx context.Context, by caller.Caller, in *struct {
			UserRef
			Body api.UserPatch
		}) (*api.CreatedUser, error) {
			return d.UpdateUser(ctx, by, in.User, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/users/{user}", Access: Admin, Doc: "Delete a user for ever; login and uid are never given again"},
		func(ctx context.Context, by caller.Caller, in *UserRef) (*api.Named, error) {
			return d.DeleteUser(ctx, by, in.User)
		})
}

func groupRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/groups", Access: Admin, Doc: "Create a group"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewGroup]) (*api.Group, error) {
			return d.CreateGroup(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/groups", Access: Admin, Doc: "List groups"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.Group], error) {
			return d.Groups(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/groups/{group}", Access: Admin, Doc: "One group"},
		func(ctx context.Context, _ caller.Caller, in *GroupRef) (*api.Group, error) {
			return d.Group(ctx, in.Group)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/groups/{group}", Access: Admin, Doc: "Have an identity provider keep the members of a group, or administrators again"},
		func(ctx context.Context, by caller.Caller, in *struct {
			GroupRef
			Body api.GroupPatch
		}) (*api.Group, error) {
			return d.UpdateGroup(ctx, by, in.Group, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/groups/{group}", Access: Admin, Doc: "Delete a group with its memberships and grants"},
		func(ctx context.Context, by caller.Caller, in *GroupRef) (*api.Named, error) {
			return d.DeleteGroup(ctx, by, in.Group)
		})
	handle(t, route{Method: "GET", Path: "/v1/groups/{group}/members", Access: Admin, Doc: "List the members of a group"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			GroupRef
			api.Page
		}) (*api.List[api.Member], error) {
			return d.Members(ctx, in.Group, in.Page)
		})
	handle(t, route{Method: "PUT", Path: "/v1/groups/{group}/members/{user}", Access: Admin, Doc: "Put a user into a group, for good or until a time"},
		func(ctx context.Context, by caller.Caller, in *struct {
			MemberRef
			Body api.NewMember
		}) (*api.Member, error) {
			return d.PutMember(ctx, by, in.Group, in.User, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/groups/{group}/members/{user}", Access: Admin, Doc: "Take a user out of a group"},
		func(ctx context.Context, by caller.Caller, in *MemberRef) (*api.Named, error) {
			return d.RemoveMember(ctx, by, in.Group, in.User)
		})
}

func projectRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/projects", Access: Admin, Doc: "Create a project with its user CA"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewProject]) (*api.Project, error) {
			return d.CreateProject(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/projects", Access: Admin, Doc: "List projects"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.Project], error) {
			return d.Projects(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/projects/{project}", Access: Admin, Doc: "One project"},
		func(ctx context.Context, _ caller.Caller, in *ProjectRef) (*api.Project, error) {
			return d.Project(ctx, in.Project)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/projects/{project}", Access: Admin, Doc: "Change a project's settings"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ProjectRef
			Body api.ProjectPatch
		}) (*api.Project, error) {
			return d.UpdateProject(ctx, by, in.Project, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/projects/{project}", Access: Admin, Doc: "Delete a project that has no servers"},
		func(ctx context.Context, by caller.Caller, in *ProjectRef) (*api.Named, error) {
			return d.DeleteProject(ctx, by, in.Project)
		})
}

func grantRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/projects/{project}/grants", Access: Admin, Doc: "Give a group access to a project's servers"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ProjectRef
			Body api.NewGrant
		}) (*api.Grant, error) {
			return d.CreateGrant(ctx, by, in.Project, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/projects/{project}/grants", Access: Admin, Doc: "List the grants of a project"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			ProjectRef
			api.Page
		}) (*api.List[api.Grant], error) {
			return d.Grants(ctx, in.Project, in.Page)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/projects/{project}/grants/{grant}", Access: Admin, Doc: "Change what a grant's members may run by sudo"},
		func(ctx context.Context, by caller.Caller, in *struct {
			GrantRef
			Body api.GrantPatch
		}) (*api.Grant, error) {
			return d.UpdateGrant(ctx, by, in.Project, in.Grant, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/projects/{project}/grants/{grant}", Access: Admin, Doc: "Take a grant back"},
		func(ctx context.Context, by caller.Caller, in *GrantRef) (*api.Named, error) {
			return d.DeleteGrant(ctx, by, in.Project, in.Grant)
		})
}

func entitlementRoutes(t *table, d *directory.Service) {
	handle(t, route{Method: "POST", Path: "/v1/entitlements", Access: Admin, Doc: "Create a named list of commands that grants may give by sudo"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewEntitlement]) (*api.Entitlement, error) {
			return d.CreateEntitlement(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/entitlements", Access: Admin, Doc: "List entitlements"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.Entitlement], error) {
			return d.Entitlements(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/entitlements/{entitlement}", Access: Admin, Doc: "One entitlement"},
		func(ctx context.Context, _ caller.Caller, in *EntitlementRef) (*api.Entitlement, error) {
			return d.Entitlement(ctx, in.Entitlement)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/entitlements/{entitlement}", Access: Admin, Doc: "Change an entitlement, on every server where a grant gives it"},
		func(ctx context.Context, by caller.Caller, in *struct {
			EntitlementRef
			Body api.EntitlementPatch
		}) (*api.Entitlement, error) {
			return d.UpdateEntitlement(ctx, by, in.Entitlement, in.Body)
		})
	handle(t, route{Method: "DELETE", Path: "/v1/entitlements/{entitlement}", Access: Admin, Doc: "Delete an entitlement that no grant names"},
		func(ctx context.Context, by caller.Caller, in *EntitlementRef) (*api.Named, error) {
			return d.DeleteEntitlement(ctx, by, in.Entitlement)
		})
}
