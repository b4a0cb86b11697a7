package control

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/signin"
)

// ofUser is a list that may be of one user alone.
type ofUser struct {
	User string `query:"user" doc:"id or name; all if empty"`
	api.Page
}

// pageOnly is a list without a filter.
type pageOnly struct{ api.Page }

// signinRoutes are sessions and devices.
func signinRoutes(t *table) {
	s := t.server.signin
	handle(t, route{Method: "GET", Path: "/v1/session", Access: User, Doc: "The caller's own session"},
		func(ctx context.Context, by caller.Caller, _ *none) (*api.Session, error) { return s.Session(ctx, by) })
	handle(t, route{Method: "POST", Path: "/v1/logout", Access: User, Doc: "End the caller's own session"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Next string `query:"next" doc:"the session that has come in its place on the same device; its connections go on with that one"`
		}) (*api.Named, error) {
			return nil, s.Logout(ctx, by, in.Next)
		})
	handle(t, route{Method: "GET", Path: "/v1/sessions", Access: Admin, Doc: "Sessions of a user, or of all"},
		func(ctx context.Context, _ caller.Caller, in *ofUser) (*api.List[api.Session], error) {
			return s.Sessions(ctx, in.User, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/sessions/mine", Access: User, Doc: "The caller's own sessions"},
		func(ctx context.Context, by caller.Caller, in *pageOnly) (*api.List[api.Session], error) {
			return s.MySessions(ctx, by, in.Page)
		})
	handle(t, route{Method: "POST", Path: "/v1/sessions/{session}/revoke", Access: User, Doc: "End a session: one's own, or any by an administrator"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Session string `path:"session"`
		}) (*api.Named, error) {
			return nil, s.RevokeSession(ctx, by, in.Session)
		})
	handle(t, route{Method: "GET", Path: "/v1/devices", Access: Admin, Doc: "Devices of a user, or of all"},
		func(ctx context.Context, _ caller.Caller, in *ofUser) (*api.List[api.Device], error) {
			return s.Devices(ctx, in.User, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/devices/mine", Access: User, Doc: "The caller's own devices"},
		func(ctx context.Context, by caller.Caller, in *pageOnly) (*api.List[api.Device], error) {
			return s.Devices(ctx, by.User.ID, in.Page)
		})
	handle(t, route{Method: "POST", Path: "/v1/devices/{device}/approve", Access: Admin, Doc: "Approve a device that waits for it"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Device string `path:"device"`
		}) (*api.Device, error) {
			return s.ApproveDevice(ctx, by, in.Device)
		})
	handle(t, route{Method: "POST", Path: "/v1/devices/{device}/revoke", Access: User, Doc: "Revoke a device and its sessions: one's own, or any by an administrator"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Device string `path:"device"`
		}) (*api.Device, error) {
			return s.RevokeDevice(ctx, by, in.Device)
		})
	tokenRoute(t)
}

// tokenRoute is the token endpoint. It is apart from the rest because RFC 6749
// has it take a form and answer errors in a shape of its own.
func tokenRoute(t *table) {
	r := route{Method: "POST", Path: "/oauth/token", Access: Proof, Doc: "Trade a code for a session, or sign in as a program (RFC 6749 sections 4.1.3 and 4.4, RFC 7523, RFC 9449 section 5)"}
	oauthRoute(t, r, t.server.signin.Redeem)
	t.document(r, "application/x-www-form-urlencoded", &huma.Schema{
		Type: huma.TypeObject, Required: []string{"grant_type", "client_id"},
		Properties: map[string]*huma.Schema{
			"grant_type": {Type: huma.TypeString, Enum: []any{"authorization_code", api.DeviceGrantType, api.GrantServiceKey, api.GrantWorkload}}, "code": {Type: huma.TypeString}, "device_code": {Type: huma.TypeString}, "enrolment_token": {Type: huma.TypeString}, "replaces": {Type: huma.TypeString}, "replaces_key": {Type: huma.TypeString}, "device_report": {Type: huma.TypeString},
			"code_verifier": {Type: huma.TypeString}, "redirect_uri": {Type: huma.TypeString}, "client_id": {Type: huma.TypeString},
			"assertion": {Type: huma.TypeString}, "service_user": {Type: huma.TypeString},
		},
	}, signedInType, oauthErrorType)
}

// oauthRoute adds an endpoint that takes OAuth's forms and answers in OAuth's shape.
func oauthRoute[T any](t *table, r route, do func(ctx context.Context, by caller.Caller, form url.Values) (T, error)) {
	s := t.server
	t.plain(r, func(w http.ResponseWriter, req *http.Request) error {
		by, _ := caller.From(req.Context())
		form, err := s.oauthForm(w, req, r, &by)
		if err != nil {
			return err
		}
		out, err := do(req.Context(), by, form)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(out)
	}, s.oauthProblem)
}

// oauthForm reads the form of a call whose proof is checked.
func (s *Server) oauthForm(w http.ResponseWriter, req *http.Request, r route, by *caller.Caller) (url.Values, error) {
	raw, err := s.enter(req.Context(), w, req, r, by)
	if err != nil {
		return nil, err
	}
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, api.Errorf(api.Invalid, "the request is not a form")
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, api.Errorf(api.Invalid, "the form could not be read")
	}
	by.Idempotency = nil // a code is good once, whatever key comes with it
	return form, nil
}

// oauthProblem answers an error in the shape of RFC 6749 section 5.2 and, for
// proofs, with the codes of RFC 9449 sections 5 and 8.
func (s *Server) oauthProblem(w http.ResponseWriter, req *http.Request, err error) {
	by, _ := caller.From(req.Context())
	var o *signin.OAuthError
	status := http.StatusBadRequest
	if !errors.As(err, &o) {
		e := s.public(req.Context(), by, err)
		o = &signin.OAuthError{OAuthError: api.OAuthError{Code: "invalid_request", Description: e.Error()}}
		switch e.Kind {
		case api.UseNonce:
			o.Code = "use_dpop_nonce"
		case api.SignIn:
			o.Code = "invalid_dpop_proof"
		case api.Limited, api.Unavailable:
			o.Code, status = "temporarily_unavailable", e.StatusCode
		case api.Internal:
			o.Code, status = "server_error", e.StatusCode
		}
		problemHeaders(w.Header().Set, e)
		w.Header().Del("WWW-Authenticate") // section 8: with 400 the body says it
	} else if cause := errors.Unwrap(err); cause != nil {
		s.options.Logger.Debug("code not redeemed", "request", by.RequestID, "source", by.Source, "error", cause)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(o.OAuthError)
}
