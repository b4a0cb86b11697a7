package control

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/issue"
	"github.com/cardea-ssh/cardea/control/lookup"
)

// issueRoutes are connections: what people, servers and gateways need for one,
// and what was written down about it.
func issueRoutes(t *table, i *issue.Service) {
	personRoutes(t, i)
	machineRoutes(t, i)
	logRoutes(t, i)
}

func personRoutes(t *table, i *issue.Service) {
	handle(t, route{Method: "POST", Path: "/v1/connect", Access: User, Doc: "A certificate, routes and a ticket for one connection"},
		func(ctx context.Context, by caller.Caller, in *body[api.Connect]) (*api.Connection, error) {
			return i.Connect(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/impostors", Access: User, Doc: "Tell that something else answers at a gateway's address, or at a server's"},
		func(ctx context.Context, by caller.Caller, in *body[api.Impostor]) (*api.Named, error) {
			if !t.server.limits.impostors.take(by.User.ID, t.server.options.Now()) {
				return nil, tooMany("too many impostors reported by you")
			}
			return i.Impostor(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/catalog", Access: User, Poll: true, Doc: "What the caller may reach, if it differs from a version"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Version string `query:"version" maxLength:"64"`
			Waiting
		}) (*api.Catalog, error) {
			return i.Catalog(ctx, by, in.Version, lookup.Wait(in.Wait))
		})
	handle(t, route{Method: "GET", Path: "/v1/why", Access: User, Doc: "What connect would say; about others for administrators"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Server string `query:"server" required:"true" doc:"id, name, or project/name"`
			Login  string `query:"login"`
			User   string `query:"user" doc:"id or name; the caller if empty"`
		}) (*api.Why, error) {
			return i.Why(ctx, by, in.Server, in.Login, in.User)
		})
	handle(t, route{Method: "GET", Path: "/v1/what-if", Access: Admin, Doc: "What connect would say to somebody, now or at a time to come"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Server  string    `query:"server" required:"true" doc:"id, name, or project/name"`
			User    string    `query:"user" required:"true" doc:"id or name"`
			Login   string    `query:"login"`
			At      time.Time `query:"at" doc:"now if not given"`
			Device  string    `query:"device" doc:"id of one of his; one in good order if empty"`
			Without []string  `query:"without" maxItems:"8" doc:"what a device in good order is yet without: disk-encryption, screen-lock, hardware-key, approval"`
		}) (*api.Why, error) {
			return i.WhatIf(ctx, by, in.Server, in.Login, issue.Supposed{User: in.User, At: in.At, Device: in.Device, Without: in.Without})
		})
}

func machineRoutes(t *table, i *issue.Service) {
	handle(t, route{Method: "POST", Path: "/v1/agent/host-certificate", Access: Agent, Seldom: true, Doc: "The host certificate of the calling server"},
		func(ctx context.Context, by caller.Caller, in *body[api.HostCertificateRequest]) (*api.HostCertificate, error) {
			return i.HostCertificate(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/agent/canary", Access: Agent, Seldom: true, Doc: "A certificate that proves the calling server's sshd"},
		func(ctx context.Context, by caller.Caller, in *body[api.CanaryRequest]) (*api.HostCertificate, error) {
			return i.Canary(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway/sessions", Access: Gateway, Doc: "Claim an opened hello, once, and begin its session"},
		func(ctx context.Context, by caller.Caller, in *body[api.Claim]) (*api.Claimed, error) {
			return i.Claim(ctx, by, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway/sessions/{session}/end", Access: Gateway, Doc: "Tell that a session is over, and why"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Session string `path:"session"`
			Body    api.SessionEnd
		}) (*api.Named, error) {
			return i.End(ctx, by, in.Session, in.Body)
		})
}

func logRoutes(t *table, i *issue.Service) {
	handle(t, route{Method: "GET", Path: "/v1/audit", Access: Admin, Poll: true, Doc: "The audit log after a row; with a wait, as soon as there is more"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			After  int64     `query:"after" minimum:"0" doc:"seq of the last row that is known"`
			Limit  int       `query:"limit" minimum:"0" maximum:"1000"`
			Since  time.Time `query:"since" doc:"rows from this time on; the first may be older by two minutes"`
			Last   int       `query:"last" minimum:"0" maximum:"1000" doc:"the newest rows alone, in order; not with after, since, limit and wait"`
			Before int64     `query:"before" minimum:"0" doc:"with last: the newest before this seq"`
			Waiting
		}) (*api.List[api.AuditEvent], error) {
			backward := in.Last > 0 || in.Before > 0
			if backward && (in.Last == 0 || in.After > 0 || in.Limit > 0 || in.Wait > 0 || !in.Since.IsZero()) {
				return nil, api.Errorf(api.Invalid, "last, and before with it, exclude after, since, limit and wait").WithHint("read forward or backward")
			}
			if backward {
				return i.Last(ctx, in.Before, in.Last)
			}
			if !in.Since.IsZero() {
				after, err := i.Since(ctx, in.Since)
				if err != nil {
					return nil, err
				}
				in.After = max(in.After, after)
			}
			return i.Audit(ctx, in.After, in.Limit, lookup.Wait(in.Wait))
		})
}
