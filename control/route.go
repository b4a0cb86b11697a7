package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
)

// Access says who may call a route. The zero value is nobody: such a route
// cannot be registered.
type Access int

const (
	// Public routes need nothing.
	Public Access = iota + 1
	// Proof routes need a proof of possession without a token: first contact.
	Proof
	// User routes need an active user, device and session.
	User
	// Admin routes need a User who administers the team.
	Admin
	// Agent routes need a server agent.
	Agent
	// Gateway routes need a gateway.
	Gateway
	// Scim routes need the token of a SCIM client, which comes without a proof: it opens
	// these, and nothing else opens these.
	Scim
	// Dashboard routes are pages for a person who is signed in to the dashboard: a cookie,
	// which opens these, and nothing else opens these.
	Dashboard
)

var accessNames = [...]string{"nobody", "public", "proof", "user", "admin", "agent", "gateway", "scim", "dashboard"}

func (a Access) String() string {
	if a < 0 || int(a) >= len(accessNames) {
		return fmt.Sprintf("access(%d)", int(a))
	}
	return accessNames[a]
}

// route is one entry of the table.
type route struct {
	Method, Path string
	Access       Access
	// Poll marks a GET that may wait up to api.LongPoll for something new: it is
	// counted apart from short calls and ends at once when the server stops.
	Poll bool
	// Seldom marks what a machine does every few minutes, and which leaves rows that
	// stay: one that was taken over could do it all day.
	Seldom bool
	// Begins marks what leaves a row of somebody whom nobody knows, until it expires.
	Begins bool
	// Bulk marks what sends megabytes, which may take minutes.
	Bulk bool
	// Background marks what programs call by themselves: for the idle limit of a
	// session that is no use of it. Nor is a Poll.
	Background bool
	// Doc is one line for the API's documentation.
	Doc string
}

func (r route) String() string { return r.Method + " " + r.Path }

// check refuses entries that would be open, unreachable or undocumented.
func (r route) check() error {
	switch {
	case r.Access < Public || r.Access > Dashboard:
		return fmt.Errorf("route %s has no access rule", r)
	case r.Doc == "":
		return fmt.Errorf("route %s has no documentation", r)
	case !strings.HasPrefix(r.Path, "/"):
		return fmt.Errorf("route %s has no absolute path", r)
	case r.Poll && r.Method != http.MethodGet:
		return fmt.Errorf("route %s polls, but is no GET", r)
	}
	return nil
}

// tag groups the routes of the documentation by what they are about.
func (r route) tag() string {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.Path, api.PathPrefix+"/"), "/")
	return first
}

// mutates reports whether a call may change something: then its proof is
// claimed once, and an idempotency key is honoured.
func (r route) mutates() bool { return r.Method != http.MethodGet }

// body is the input of a route that takes nothing but a JSON body.
type body[T any] struct{ Body T }

// optional is the input of a route whose JSON body older clients leave out.
type optional[T any] struct{ Body *T }

// value is the body, empty if there is none.
func (o *optional[T]) value() (v T) {
	if o.Body != nil {
		v = *o.Body
	}
	return v
}

// none is the input of a route that takes nothing.
type none struct{}

// answer is what huma writes: nothing but the body and its status.
type answer[Out any] struct {
	Status int
	Body   *Out
}

// table is the route table while it is being filled, and the HTTP server's
// parts that a route needs. Registering happens in New alone, so faults in it
// are collected for New to return.
type table struct {
	server *Server
	mux    *http.ServeMux
	routes []route
	errs   []error
	// described tells a framework of all routes that the documentation has.
	described []func(huma.API)
}

// handle adds a route. The package comment tells what In, Out and errors mean. The
// framework learns a route's types when it is first called, which for all of them would
// take longer than the rest of a start.
func handle[In, Out any](t *table, r route, do func(ctx context.Context, by caller.Caller, in *In) (*Out, error)) {
	if err := r.check(); err != nil {
		t.errs = append(t.errs, err)
		return
	}
	t.routes = append(t.routes, r)
	register := func(to huma.API) { huma.Register(to, operation(t.server, to, r), typed(t.server, r, do)) }
	t.described = append(t.described, register)
	made := sync.OnceValue(func() http.Handler {
		alone := http.NewServeMux()
		register(framework(t.server, alone))
		return alone
	})
	t.mux.HandleFunc(r.String(), func(w http.ResponseWriter, req *http.Request) { made().ServeHTTP(w, req) })
}

// operation is what the framework has to know of a route.
func operation(s *Server, to huma.API, r route) huma.Operation {
	return huma.Operation{
		OperationID: operationID(r),
		Method:      r.Method,
		Path:        r.Path,
		Summary:     r.Doc,
		Tags:        []string{r.tag()},
		Responses:   map[string]*huma.Response{"default": problemDoc(to)},
		Security:    security(r.Access),
		Extensions:  map[string]any{accessExtension: r.Access.String()},
		// The body is read and bounded before authentication is done with it.
		MaxBodyBytes: api.MaxBody + 1,
		Middlewares:  huma.Middlewares{s.gate(r)},
	}
}

// typed makes of a route's function the framework's.
func typed[In, Out any](s *Server, r route, do func(ctx context.Context, by caller.Caller, in *In) (*Out, error)) func(context.Context, *In) (*answer[Out], error) {
	return func(ctx context.Context, in *In) (*answer[Out], error) {
		by, ok := caller.From(ctx)
		if !ok { // cannot be: gate puts one there
			return nil, s.public(ctx, by, errors.New("no caller in context"))
		}
		out, err := do(ctx, by, in)
		if err != nil {
			s.replayed(ctx, r, by, err)
			return nil, s.public(ctx, by, err)
		}
		return &answer[Out]{Status: statusOf(r, out == nil), Body: out}, nil
	}
}

// plain adds a route that writes its own answers: pages, and what a standard
// gives another shape. Limits hold for it, but it goes through no gate; a
// handler whose Access is not Public calls enter itself. fail writes an error.
func (t *table) plain(r route, do func(http.ResponseWriter, *http.Request) error, fail func(http.ResponseWriter, *http.Request, error)) {
	if err := r.check(); err != nil {
		t.errs = append(t.errs, err)
		return
	}
	t.routes = append(t.routes, r)
	t.mux.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, req *http.Request) {
		err := t.server.within(w, req, r, func(ctx context.Context) error { return do(w, req.WithContext(ctx)) })
		if err != nil {
			fail(w, req, err)
		}
	})
}

// document describes a plain route: what it takes and answers.
func (t *table) document(r route, media string, in *huma.Schema, out, problem reflect.Type) {
	t.described = append(t.described, func(to huma.API) {
		registry := to.OpenAPI().Components.Schemas
		answer := func(description string, of reflect.Type) *huma.Response {
			return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
				"application/json": {Schema: registry.Schema(of, true, of.Name())},
			}}
		}
		to.OpenAPI().AddOperation(&huma.Operation{
			OperationID: operationID(r), Method: r.Method, Path: r.Path, Summary: r.Doc, Tags: []string{r.tag()},
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{media: {Schema: in}}},
			Responses:   map[string]*huma.Response{"200": answer("OK", out), "default": answer("what went wrong", problem)},
			Security:    security(r.Access), Extensions: map[string]any{accessExtension: r.Access.String()},
		})
	})
}

func statusOf(r route, empty bool) int {
	switch {
	case !empty:
		return http.StatusOK
	case r.mutates():
		return http.StatusNoContent
	default:
		return http.StatusNotModified
	}
}

// accessExtension tells in the OpenAPI document who may call.
const accessExtension = "x-cardea-access"

// operationID is a stable name for generated clients: "get-v1-users-user".
func operationID(r route) string {
	path := strings.NewReplacer("{", "", "}", "", "/", "-", ".", "-").Replace(r.Path)
	return strings.ToLower(r.Method) + path
}

// security is the documentation's word for Access.
func security(a Access) []map[string][]string {
	if a == Public || a == Proof {
		return []map[string][]string{}
	}
	return []map[string][]string{{"dpop": {a.String()}}}
}

// framework makes one that writes its routes to mux. Everything that huma
// would serve by itself (documents, schemas, docs from a CDN) is off; we serve
// our own.
func framework(s *Server, mux *http.ServeMux) huma.API {
	config := huma.DefaultConfig("Cardea", s.options.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // it would add $schema links to every answer
	config.Transformers = []huma.Transformer{s.problemOf}
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	// A query parameter that we do not know could be a misspelt restriction.
	config.RejectUnknownQueryParameters = true
	config.Servers = []*huma.Server{{URL: s.options.PublicURL}}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"dpop": {
		Type: "http", Scheme: "dpop",
		Description: "An access token in `Authorization: DPoP …` with a proof of possession in `DPoP` (RFC 9449).",
	}}
	return humago.New(mux, config)
}

// problemDoc describes error answers.
func problemDoc(to huma.API) *huma.Response {
	registry := to.OpenAPI().Components.Schemas
	return &huma.Response{
		Description: "what went wrong, as problem details (RFC 9457)",
		Content:     map[string]*huma.MediaType{problemType: {Schema: registry.Schema(errorType, true, "Error")}},
	}
}
