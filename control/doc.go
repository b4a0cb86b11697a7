// Package control is the control plane's HTTP server: routes, authentication,
// limits and errors on the wire. It decides who calls; the domains below it
// (signin, directory, fleet, issue) do the work and never see HTTP.
//
// Every call under /v1 is one entry of the route table. A domain adds its own
// in a file routes_NAME.go:
//
//	func directoryRoutes(t *table, d *directory.Service) {
//		handle(t, route{Method: "POST", Path: "/v1/users", Access: Admin, Doc: "Create a user"},
//			func(ctx context.Context, by caller.Caller, in *body[api.NewUser]) (*api.CreatedUser, error) {
//				return d.CreateUser(ctx, by, in.Body)
//			})
//	}
//
// In is a struct whose fields huma fills: Body, and fields with a path:"user",
// query:"project" or embedded api.Page tag. Out is the JSON body itself. A nil
// Out without an error is 204, and for a GET 304: nothing new within the wait.
// A handler gets the caller that Access promises: for User and Admin an active
// user on an active device with a live session, for Agent and Gateway an
// active machine. What else there is to decide, for example whether a session
// is one's own, is the domain's.
//
// An *api.Error goes to the peer as it is, and so do the store's sentinels in
// the words of caller.Explain. Any other error becomes "internal error" with
// the id of the call, and its cause goes to the log under that id.
//
// The role matrix in the tests is made from this table: a new route needs an
// entry there.
package control
