package control

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

func TestAnybodyMayReadTheTeam(t *testing.T) {
	w := newWorld(t, teamRoutes)
	got := w.get("/v1/team")
	if got.StatusCode != 200 || !strings.Contains(got.body, `"name":"demo"`) || !strings.Contains(got.body, publicURL) {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	if strings.Contains(got.body, "$schema") {
		t.Error("the framework added a link of its own")
	}
	for _, h := range []string{api.HeaderNonce, "Content-Security-Policy", "X-Content-Type-Options", "Strict-Transport-Security"} {
		if got.Header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
}

func nothing(context.Context, caller.Caller, *none) (*api.Named, error) { return nil, nil }

func TestARouteThatIsNotWholeDoesNotRegister(t *testing.T) {
	for name, r := range map[string]route{
		"without access":        {Method: "GET", Path: "/v1/x", Doc: "x"},
		"with unknown access":   {Method: "GET", Path: "/v1/x", Doc: "x", Access: Dashboard + 1},
		"without documentation": {Method: "GET", Path: "/v1/x", Access: User},
		"with a relative path":  {Method: "GET", Path: "v1/x", Access: User, Doc: "x"},
		"polling by POST":       {Method: "POST", Path: "/v1/x", Access: User, Doc: "x", Poll: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := newWorld(t, teamRoutes).server.options
			if _, err := build(o, func(t *table) { handle(t, r, nothing) }); err == nil {
				t.Error("it registered")
			}
		})
	}
}

// failing is a world whose one route fails with err.
func failing(t *testing.T, err error) *world {
	return newWorld(t, func(t *table) {
		handle(t, route{Method: "GET", Path: "/v1/x", Access: Public, Doc: "x"},
			func(context.Context, caller.Caller, *none) (*api.Named, error) { return nil, err })
	})
}

func TestAnUnmarkedErrorStaysInTheLog(t *testing.T) {
	w := failing(t, errors.New("dial 10.1.2.3: secret detail"))
	got := w.get("/v1/x")
	if got.StatusCode != 500 || got.problem.Kind != api.Internal || got.problem.ID == "" || strings.Contains(got.body, "10.1.2.3") {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	if log := w.log.String(); !strings.Contains(log, "secret detail") || !strings.Contains(log, got.problem.ID) {
		t.Errorf("the log has not the cause under the id: %s", log)
	}
}

func TestMarkedErrorsCrossTheWire(t *testing.T) {
	w := failing(t, api.Errorf(api.Limited, "too many").WithHint("wait").WithRetry(7e9).WithCause(errors.New("hidden")))
	got := w.get("/v1/x")
	if got.StatusCode != 429 || got.problem.Detail != "too many" || got.problem.Hint != "wait" || got.Header.Get("Retry-After") != "7" || strings.Contains(got.body, "hidden") {
		t.Errorf("got %d %v %s", got.StatusCode, got.Header, got.body)
	}
	if got := failing(t, store.ErrNotFound).get("/v1/x"); got.StatusCode != 404 || got.problem.Kind != api.NotFound {
		t.Errorf("a sentinel of the store gives %d %s", got.StatusCode, got.body)
	}
}

func TestAPanicIsOneFailedCall(t *testing.T) {
	w := newWorld(t, func(t *table) {
		handle(t, route{Method: "GET", Path: "/v1/x", Access: Public, Doc: "x"},
			func(context.Context, caller.Caller, *none) (*api.Named, error) { panic("private") })
	})
	for range 2 {
		if got := w.get("/v1/x"); got.StatusCode != 500 || got.problem.Kind != api.Internal || strings.Contains(got.body, "private") {
			t.Errorf("got %d %s", got.StatusCode, got.body)
		}
	}
}

func TestAnEmptyAnswer(t *testing.T) {
	w := newWorld(t, func(t *table) {
		handle(t, route{Method: "GET", Path: "/v1/x", Access: User, Doc: "x"}, nothing)
		handle(t, route{Method: "POST", Path: "/v1/x", Access: User, Doc: "x"}, nothing)
	})
	alice := w.join(store.KindUser, "token", nil)
	for method, want := range map[string]int{"GET": 304, "POST": 204} {
		if got := w.send(alice.request(method, "/v1/x", "")); got.StatusCode != want || got.body != "" {
			t.Errorf("%s: %d %q, want %d", method, got.StatusCode, got.body, want)
		}
	}
}

func TestARequestThatIsNotValid(t *testing.T) {
	w := newWorld(t, func(t *table) {
		handle(t, route{Method: "POST", Path: "/v1/x", Access: User, Doc: "x"},
			func(context.Context, caller.Caller, *body[api.NewUser]) (*api.Named, error) {
				return &api.Named{ID: "ok"}, nil
			})
	})
	alice := w.join(store.KindUser, "token", nil)
	for _, c := range []struct {
		name, typ, body string
		want            int
	}{
		{"a good one passes", "application/json", `{"name":"bob"}`, 200},
		{"a field that we do not know might be a misspelt restriction", "application/json", `{"name":"bob","amdin":true}`, 422},
		{"a needed field is missing", "application/json", `{"password":"hunter2"}`, 422},
		{"a field of another type", "application/json", `{"name":["hunter2"]}`, 422},
		{"two values", "application/json", `{"name":"bob"}{"admin":true}`, 400},
		{"no JSON", "application/json", `hunter2`, 400},
		{"nothing", "application/json", ``, 400},
		{"JSON as text, as a form of another site could send it", "text/plain", `{"name":"bob"}`, 415},
		{"a form", "application/x-www-form-urlencoded", `name=bob`, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := alice.request("POST", "/v1/x", c.body)
			req.Header.Set("Content-Type", c.typ)
			got := w.send(req)
			if got.StatusCode != c.want || c.want != 200 && got.problem.Kind != api.Invalid {
				t.Errorf("got %d %s, want %d", got.StatusCode, got.body, c.want)
			}
			if strings.Contains(got.body, "hunter2") {
				t.Errorf("the answer repeats a value: %s", got.body)
			}
		})
	}
	if got := w.send(alice.request("POST", "/v1/x?dry_run=1", `{"name":"bob"}`)); got.StatusCode != 422 {
		t.Errorf("an unknown query parameter gives %d", got.StatusCode)
	}
}

func TestTheBodyIsBounded(t *testing.T) {
	w := newWorld(t, func(t *table) {
		handle(t, route{Method: "POST", Path: "/v1/x", Access: User, Doc: "x"},
			func(context.Context, caller.Caller, *body[api.NewUser]) (*api.Named, error) {
				return &api.Named{ID: "ok"}, nil
			})
	})
	alice := w.join(store.KindUser, "token", nil)
	for _, c := range []struct {
		size, want int
	}{{api.MaxBody, 200}, {api.MaxBody + 1, http.StatusRequestEntityTooLarge}} {
		const frame = len(`{"name":""}`)
		got := w.send(alice.request("POST", "/v1/x", `{"name":"`+strings.Repeat("a", c.size-frame)+`"}`))
		if got.StatusCode != c.want {
			t.Errorf("%d bytes: %d %.200s, want %d", c.size, got.StatusCode, got.body, c.want)
		}
	}
}

func TestAWrongMethodIsToldFromAPathThatThereIsNot(t *testing.T) {
	s := newStack(t)
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"PUT", "/v1/users", 405, "GET, HEAD, POST"},
		{"POST", "/v1/users/alice", 405, "GET, HEAD, PATCH, DELETE"},
		{"GET", "/v1/connect", 405, "POST"},
		{"GET", "/oauth/token", 405, "POST"},
		{"DELETE", "/signin", 405, "GET, HEAD, POST"},
		{"PUT", "/", 405, "GET, HEAD"},
		{"BREW", "/v1/users", 405, "GET, HEAD, POST"},
		{"GET", "/v1/nothing", 404, ""},
		{"PUT", "/nothing", 404, ""},
	} {
		req, err := http.NewRequest(tc.method, publicURL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := s.send(0, req)
		if got.StatusCode != tc.status || got.Header.Get("Allow") != tc.allow || tc.path != "/" && strings.HasPrefix(tc.path, "/v1/") && !strings.Contains(got.body, `"kind":"not-found"`) {
			t.Errorf("%s %s: %d, Allow %q, %s", tc.method, tc.path, got.StatusCode, got.Header.Get("Allow"), got.body)
		}
	}
}
