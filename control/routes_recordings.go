package control

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/recordings"
)

// SessionRef is the path of a gateway session.
type SessionRef struct {
	Session string `path:"session"`
}

func recordingRoutes(t *table, s *recordings.Service) {
	handle(t, route{Method: "GET", Path: "/v1/recording-keys", Access: User, Doc: "Public halves of all keys that ever signed recordings, oldest first"},
		func(ctx context.Context, _ caller.Caller, in *api.Page) (*api.List[api.RecordingKey], error) {
			return s.Keys(ctx, *in)
		})
	handle(t, route{Method: "GET", Path: "/v1/recordings", Access: User, Doc: "What is known of recorded sessions, newest first; others than administrators see their own"},
		func(ctx context.Context, by caller.Caller, in *struct {
			Mine bool   `query:"mine" doc:"only those of one's own sessions"`
			User string `query:"user" doc:"id or name; all if empty"`
			// Older ones do not know it, and list those of all servers.
			Server string `query:"server" doc:"id; those on all servers if empty"`
			api.Page
		}) (*api.List[api.Recording], error) {
			return s.List(ctx, by, in.Mine, in.User, in.Server, in.Page)
		})
	handle(t, route{Method: "GET", Path: "/v1/recordings/{session}", Access: User, Doc: "What is known of the recording of a session"},
		func(ctx context.Context, by caller.Caller, in *SessionRef) (*api.Recording, error) {
			return s.Recording(ctx, by, in.Session)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway/sessions/{session}/recording", Access: Gateway, Doc: "Tell how far the recording of a session is"},
		func(ctx context.Context, by caller.Caller, in *struct {
			SessionRef
			Body api.RecordingReport
		}) (*api.Named, error) {
			return s.Report(ctx, by, in.Session, in.Body)
		})
	handle(t, route{Method: "GET", Path: "/v1/gateway/sessions/{session}/recording", Access: Gateway, Doc: "What is known of a recording, for the gateway that may tell of it"},
		func(ctx context.Context, by caller.Caller, in *SessionRef) (*api.HeldRecording, error) {
			return s.Held(ctx, by, in.Session)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateways/{gateway}/hand-over", Access: Admin, Doc: "Let another gateway tell of the recordings of one that is gone"},
		func(ctx context.Context, by caller.Caller, in *struct {
			GatewayRef
			Body api.HandOver
		}) (*api.HandedOver, error) {
			return s.HandOver(ctx, by, in.Gateway, in.Body)
		})
	handle(t, route{Method: "POST", Path: "/v1/gateway/sessions/{session}/refusals", Access: Gateway, Doc: "Tell what was refused within a session"},
		func(ctx context.Context, by caller.Caller, in *struct {
			SessionRef
			Body api.SessionRefusals
		}) (*api.Named, error) {
			return s.Refused(ctx, by, in.Session, in.Body)
		})
	objectRoute(t, s, route{Method: "GET", Path: "/v1/recordings/{session}/segments/{segment}", Access: User, Bulk: true, Doc: "A segment of a recording, from 1, as it is stored: sealed; for administrators"})
	objectRoute(t, s, route{Method: "GET", Path: "/v1/recordings/{session}/manifest", Access: User, Bulk: true, Doc: "The signed list of a recording's segments; for administrators"})
}

// objectRoute passes an object of the bucket on. It is bytes that only its reader
// understands, so it is never shown as anything else.
func objectRoute(t *table, s *recordings.Service, r route) {
	t.plain(r, func(w http.ResponseWriter, req *http.Request) error {
		by, _ := caller.From(req.Context())
		if _, err := t.server.enter(req.Context(), w, req, r, &by); err != nil {
			return err
		}
		number := recordings.Manifest
		if text := req.PathValue("segment"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				n = -1 // which there is not
			}
			number = n
		}
		o, err := s.Open(req.Context(), by, req.PathValue("session"), number)
		if err != nil {
			return err
		}
		defer o.Close()
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.FormatInt(o.Size, 10))
		h.Set("Cache-Control", "no-store")
		if _, err := io.Copy(w, o); err != nil {
			// The answer has begun: the client sees that it is short of its length.
			t.server.options.Logger.Warn("send a stored object", "session", req.PathValue("session"), "name", o.Name, "error", err)
		}
		return nil
	}, func(w http.ResponseWriter, req *http.Request, err error) {
		by, _ := caller.From(req.Context())
		writeProblem(w, t.server.public(req.Context(), by, err))
	})
	t.documentObject(r)
}

// documentObject describes a plain route that answers with bytes.
func (t *table) documentObject(r route) {
	var parameters []*huma.Param
	for _, name := range []string{"session", "segment"} {
		if strings.Contains(r.Path, "{"+name+"}") {
			parameters = append(parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	t.described = append(t.described, func(to huma.API) {
		to.OpenAPI().AddOperation(&huma.Operation{
			OperationID: operationID(r), Method: r.Method, Path: r.Path, Summary: r.Doc, Tags: []string{r.tag()}, Parameters: parameters,
			Responses: map[string]*huma.Response{
				"200":     {Description: "OK", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
				"default": problemDoc(to),
			},
			Security: security(r.Access), Extensions: map[string]any{accessExtension: r.Access.String()},
		})
	})
}
