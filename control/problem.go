package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
)

const problemType = "application/problem+json"

// Types that the documentation names outside of handle.
var (
	errorType      = reflect.TypeFor[api.Error]()
	signedInType   = reflect.TypeFor[api.SignedIn]()
	oauthErrorType = reflect.TypeFor[api.OAuthError]()
)

// public makes an error fit for the peer. What is not marked as readable stays
// here: the peer gets an id, the log the cause under the same id.
func (s *Server) public(ctx context.Context, by caller.Caller, err error) *api.Error {
	log := s.options.Logger.With("request", by.RequestID, "caller", by.ID(), "source", by.Source)
	var known *api.Error
	if !errors.As(caller.Explain(err, "such thing"), &known) {
		if ctx.Err() != nil {
			// The caller left or the server stops, which is nobody's fault; or it
			// took too long, which is.
			level := slog.LevelDebug
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				level = slog.LevelWarn
			}
			log.Log(ctx, level, "call given up", "error", err)
			return api.Errorf(api.Unavailable, "the control plane ended this call before it had an answer: it stops, or was too slow").WithHint("try again in a moment").WithRetry(time.Second)
		}
		log.Error("internal error", "error", err)
		known = api.Errorf(api.Internal, "internal error").
			WithHint("tell your administrator this id: %s", by.RequestID)
	} else if cause := errors.Unwrap(known); cause != nil {
		log.Log(ctx, causeLevel(known.Kind), "call refused", "kind", known.Kind, "detail", known.Detail, "error", cause)
	}
	out := *known
	out.ID = by.RequestID
	return &out
}

// causeLevel: what an operator must act on stands out from what a caller did.
func causeLevel(k api.Kind) slog.Level {
	if k == api.Internal || k == api.Unavailable {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// writeProblem answers with an error outside of huma.
func writeProblem(w http.ResponseWriter, e *api.Error) {
	problemHeaders(w.Header().Set, e)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(e.StatusCode)
	json.NewEncoder(w).Encode(e) // the peer may be gone; there is nobody to tell
}

// problemHeaders sets what HTTP itself says about an error.
func problemHeaders(set func(name, value string), e *api.Error) {
	if e.RetryAfter > 0 {
		set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	switch e.Kind { // RFC 9449 sections 7.1 and 9
	case api.UseNonce:
		set("WWW-Authenticate", `DPoP error="use_dpop_nonce", algs="ES256"`)
	case api.SignIn:
		set("WWW-Authenticate", `DPoP error="invalid_token", algs="ES256"`)
	}
}

// problemOf is the transformer that turns huma's own errors into ours, so that
// there is one shape of error on the wire.
func (s *Server) problemOf(ctx huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		v = s.refusal(ctx, m)
	}
	if e, ok := v.(*api.Error); ok {
		problemHeaders(ctx.SetHeader, e)
	}
	return v, nil
}

// maxFaults is how many faults of a request one answer lists.
const maxFaults = 5

// refusal describes a request that huma did not accept. Values are not
// repeated: one may be a password.
func (s *Server) refusal(ctx huma.Context, m *huma.ErrorModel) *api.Error {
	by, _ := caller.From(ctx.Context())
	if m.Status >= http.StatusInternalServerError {
		e := s.public(ctx.Context(), by, fmt.Errorf("%s: %v", m.Detail, m.Errors))
		e.StatusCode = m.Status
		return e
	}
	faults := make([]string, 0, maxFaults)
	for _, d := range m.Errors[:min(len(m.Errors), maxFaults)] {
		where := strings.TrimPrefix(strings.TrimPrefix(d.Location, "body."), "query.")
		faults = append(faults, where+": "+bound(where, d.Message))
	}
	detail := m.Detail
	if len(faults) > 0 {
		detail = "the request is not valid: " + strings.Join(faults, "; ")
	}
	e := api.Errorf(api.Invalid, "%s", detail)
	e.StatusCode, e.Title, e.ID = m.Status, http.StatusText(m.Status), by.RequestID
	return e
}

// bound says the limit of a time as people type it: what a schema knows is a number of
// seconds, which nobody typed.
func bound(where, message string) string {
	limit, ok := strings.CutPrefix(message, "expected number ")
	if !ok || !strings.HasSuffix(where, "seconds") {
		return message
	}
	sign, number, _ := strings.Cut(limit, " ")
	word := map[string]string{">=": "at least ", "<=": "at most "}[sign]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || word == "" {
		return message
	}
	return "give " + word + lookup.Span(time.Duration(n)*time.Second)
}
