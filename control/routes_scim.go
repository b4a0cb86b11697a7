package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/provision"
	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/store"
)

// ScimRef names a SCIM client.
type ScimRef struct {
	Client string `path:"client" doc:"id or name"`
}

// scimRoutes are what identity providers' connectors call, and what administrators do with them.
func scimRoutes(t *table, s *provision.Service) {
	handle(t, route{Method: "POST", Path: "/v1/scim-clients", Access: Admin, Doc: "Let an identity provider keep users and groups; tells a token once"},
		func(ctx context.Context, by caller.Caller, in *body[api.NewScimClient]) (*api.ScimToken, error) {
			return s.CreateClient(ctx, by, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/scim-clients", Access: Admin, Doc: "List SCIM clients"},
		func(ctx context.Context, _ caller.Caller, in *pageOnly) (*api.List[api.ScimClient], error) {
			return s.Clients(ctx, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/scim-clients/{client}", Access: Admin, Doc: "One SCIM client"},
		func(ctx context.Context, _ caller.Caller, in *ScimRef) (*api.ScimClient, error) {
			return s.Client(ctx, in.Client)
		})
	handle(t, route{Method: "PATCH", Path: "/v1/scim-clients/{client}", Access: Admin, Doc: "Disable or enable a SCIM client"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ScimRef
			Body api.ScimClientPatch
		}) (*api.ScimClient, error) {
			return s.UpdateClient(ctx, by, in.Client, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/scim-clients/{client}/rotate", Access: Admin, Doc: "Give a SCIM client a new token; the old one is good for an hour"},
		func(ctx context.Context, by caller.Caller, in *ScimRef) (*api.ScimToken, error) {
			return s.Rotate(ctx, by, in.Client)
		})
	handle(t, route{Method: "POST", Path: "/v1/scim-clients/{client}/resume", Access: Admin, Doc: "Let a SCIM client that is paused take access from many people"},
		func(ctx context.Context, by caller.Caller, in *ScimRef) (*api.ScimClient, error) {
			return s.Resume(ctx, by, in.Client)
		})
	adoptionRoutes(t, s)
	handle(t, route{Method: "DELETE", Path: "/v1/scim-clients/{client}", Access: Admin, Doc: "Delete a SCIM client; its users and groups stay"},
		func(ctx context.Context, by caller.Caller, in *ScimRef) (*api.Named, error) {
			return s.DeleteClient(ctx, by, in.Client)
		})
	c := &scimCalls{server: t.server, provision: s}
	for kind, name := range map[string]string{"Users": "user", "Groups": "group"} {
		do := c.resources(kind, name)
		c.add(t, "GET", "/"+kind, "List "+name+"s (RFC 7644 section 3.4.2)", do)
		c.add(t, "POST", "/"+kind, "Make a "+name+" (section 3.3)", do)
		c.add(t, "GET", "/"+kind+"/{"+name+"}", "One "+name+" (section 3.4.1)", do)
		c.add(t, "PUT", "/"+kind+"/{"+name+"}", "Replace a "+name+" (section 3.5.1)", do)
		c.add(t, "PATCH", "/"+kind+"/{"+name+"}", "Change a "+name+" (section 3.5.2)", do)
		c.add(t, "DELETE", "/"+kind+"/{"+name+"}", "Delete a "+name+" (section 3.6)", do)
	}
	c.add(t, "POST", "/Bulk", "Several operations (section 3.7)", c.bulk)
	c.add(t, "GET", "/ServiceProviderConfig", "What is supported (section 4)", func(context.Context, provision.From, *http.Request, []byte) (*provision.Answer, error) {
		return &provision.Answer{Status: http.StatusOK, Body: scim.Config(s.Base())}, nil
	})
	c.about(t, "/ResourceTypes", "kind", scim.ResourceTypes(s.Base()))
	c.about(t, "/Schemas", "schema", scim.Schemas(s.Base()))
}

// adoptionRoutes are about users who were there before a client.
func adoptionRoutes(t *table, s *provision.Service) {
	handle(t, route{Method: "GET", Path: "/v1/scim-clients/{client}/waiting", Access: Admin, Doc: "List whom a SCIM client could not make, with users who may be meant"},
		func(ctx context.Context, _ caller.Caller, in *struct {
			ScimRef
			api.Page
		}) (*api.List[api.ScimWaiting], error) {
			return s.Waiting(ctx, in.Client, in.Page)
		})
	handle(t, route{Method: "POST", Path: "/v1/scim-clients/{client}/adopt", Access: Admin, Doc: "Have a SCIM client keep a user who was there before it"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ScimRef
			Body api.ScimAdopt
		}) (*api.ScimAdoption, error) {
			return s.Adopt(ctx, by, in.Client, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/scim-clients/{client}/release", Access: Admin, Doc: "Take a user from a SCIM client; he stays, and is kept by hand"},
		func(ctx context.Context, by caller.Caller, in *struct {
			ScimRef
			Body api.ScimRelease
		}) (*api.Named, error) {
			return s.Release(ctx, by, in.Client, in.Body)
		})
}

// scimCalls are the routes of SCIM.
type scimCalls struct {
	server    *Server
	provision *provision.Service
}

type scimCall = func(context.Context, provision.From, *http.Request, []byte) (*provision.Answer, error)

// add registers a route that only a client's token opens.
func (c *scimCalls) add(t *table, method, path, doc string, do scimCall) {
	r := route{Method: method, Path: api.ScimPath + path, Access: Scim, Doc: doc}
	t.plain(r, func(w http.ResponseWriter, req *http.Request) error {
		from, err := c.enter(req)
		if err != nil {
			return err
		}
		var raw []byte
		if r.mutates() && method != "DELETE" {
			if raw, err = readScim(w, req); err != nil {
				return err
			}
		}
		a, err := do(req.Context(), from, req, raw)
		if err != nil {
			return err
		}
		answerScim(w, a)
		return nil
	}, c.fail)
}

// about registers the lists of what there is, and each of them.
func (c *scimCalls) about(t *table, path, name string, all []scim.Tree) {
	c.add(t, "GET", path, "What there is (section 4)", func(context.Context, provision.From, *http.Request, []byte) (*provision.Answer, error) {
		return &provision.Answer{Status: http.StatusOK, Body: scim.NewList(len(all), 1, all)}, nil
	})
	c.add(t, "GET", path+"/{"+name+"}", "One of them (section 4)", func(_ context.Context, _ provision.From, req *http.Request, _ []byte) (*provision.Answer, error) {
		for _, one := range all {
			if one["id"] == req.PathValue(name) {
				return &provision.Answer{Status: http.StatusOK, Body: one}, nil
			}
		}
		return nil, &scim.Error{Status: http.StatusNotFound, Detail: "there is no such thing"}
	})
}

func (c *scimCalls) resources(kind, name string) scimCall {
	return func(ctx context.Context, from provision.From, req *http.Request, raw []byte) (*provision.Answer, error) {
		return c.provision.Do(ctx, from, provision.Request{
			Method: req.Method, Type: kind, ID: req.PathValue(name), Query: req.URL.Query(),
			IfMatch: req.Header.Get("If-Match"), IfNoneMatch: req.Header.Get("If-None-Match"), Body: raw,
		})
	}
}

func (c *scimCalls) bulk(ctx context.Context, from provision.From, _ *http.Request, raw []byte) (*provision.Answer, error) {
	return c.provision.Bulk(ctx, from, raw)
}

// errUnknownToken is for who comes with none, or one that is none: nobody learns which.
var errUnknownToken = &scim.Error{Status: http.StatusUnauthorized, Detail: "this needs the token of a SCIM client; an administrator of Cardea makes one; type: cardea admin scim create --help"}

// enter authenticates the client, and counts its calls. The body is read after that.
func (c *scimCalls) enter(req *http.Request) (from provision.From, err error) {
	by, _ := caller.From(req.Context())
	from.Source = by.Source
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	err = store.ErrNotFound
	if strings.EqualFold(scheme, "Bearer") {
		from.Client, err = c.provision.Authenticate(req.Context(), strings.TrimSpace(token))
	}
	now := c.server.options.Now()
	if errors.Is(err, store.ErrNotFound) {
		if token != "" {
			c.server.limits.failures.take(sourceKey(by.Source), now)
		}
		return from, errUnknownToken
	}
	if err != nil {
		return from, err
	}
	if from.Client.State != store.Active {
		return from, &scim.Error{Status: http.StatusForbidden, Detail: "this client is disabled"}
	}
	if !c.server.limits.scim.take(from.Client.ID, now) {
		return from, tooMany("too many calls of this client")
	}
	return from, nil
}

// readScim reads a body within the deadline that around set.
func readScim(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, scim.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &scim.Error{Status: http.StatusRequestEntityTooLarge, Detail: "the request is larger than 1 MiB; send it in several"}
	case err != nil:
		return nil, &scim.Error{Status: http.StatusBadRequest, Type: scim.InvalidSyntax, Detail: "the request ended early"}
	}
	bodyRead(w)
	return raw, nil
}

func answerScim(w http.ResponseWriter, a *provision.Answer) {
	h := w.Header()
	if a.Version > 0 {
		h.Set("ETag", provision.ETag(a.Version))
	}
	if a.Location != "" && a.Status == http.StatusCreated {
		h.Set("Location", a.Location)
	}
	if a.Body == nil {
		w.WriteHeader(a.Status)
		return
	}
	h.Set("Content-Type", scim.MediaType)
	w.WriteHeader(a.Status)
	json.NewEncoder(w).Encode(a.Body) // the peer may be gone; there is nobody to tell
}

// fail writes an error as the protocol has it.
func (c *scimCalls) fail(w http.ResponseWriter, req *http.Request, err error) {
	var e *scim.Error
	if !errors.As(err, &e) {
		by, _ := caller.From(req.Context())
		known := c.server.public(req.Context(), by, err)
		detail := known.Detail
		if known.Hint != "" {
			detail += "; " + known.Hint
		}
		e = &scim.Error{Status: known.StatusCode, Detail: detail, RetryAfter: known.RetryAfter}
	}
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="scim"`)
	}
	h.Set("Content-Type", scim.MediaType)
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(e) // the peer may be gone; there is nobody to tell
}
