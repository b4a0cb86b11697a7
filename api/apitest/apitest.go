// Package apitest is a control plane for the tests of its clients: in this
// process, on loopback, with the real rules of authentication (tokens bound to
// keys, proofs with the server's nonce) and scripted answers. It decides
// nothing and remembers every call.
package apitest

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
)

// Call is one request that passed authentication.
type Call struct {
	Method, Path string // Path is as sent, still escaped
	Query        url.Values
	Header       http.Header
	Body         []byte
	Thumbprint   string // of the key that proved it
	Token        string
}

// Into reads the body of a call as JSON.
func (c Call) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(c.Body, v); err != nil {
		t.Fatalf("body of %s %s: %v: %s", c.Method, c.Path, err, c.Body)
	}
}

// Handler answers a call: with a value that becomes JSON, with nil for 204 No
// Content, or with an error, an *api.Error as a rule.
type Handler func(Call) (any, error)

// Server is the control plane. URL is its public URL.
type Server struct {
	URL string
	// Who is the session that signing in gives; its id, device and times are
	// filled in. Set it before the first call.
	Who api.Session
	// Tamper changes what the browser is sent back with, before it is sent.
	// Set it before the first call.
	Tamper func(callback url.Values)

	t      testing.TB
	http   *httptest.Server
	nonces *nonces

	mu       sync.Mutex // guards what follows
	answers  map[string]Handler
	calls    []Call
	sessions map[string]bound      // by token
	codes    map[string]url.Values // the authorization request, by code
}

// bound is a token's key and session.
type bound struct {
	thumbprint string
	session    api.Session
}

// New starts a control plane that ends with the test.
func New(t testing.TB) *Server { return start(t, httptest.NewUnstartedServer(nil), false) }

// NewTLS is New with TLS; HTTP returns a client that trusts it, CA its root.
func NewTLS(t testing.TB) *Server { return start(t, httptest.NewUnstartedServer(nil), true) }

func start(t testing.TB, hs *httptest.Server, tls bool) *Server {
	t.Helper()
	s := &Server{
		t: t, http: hs, nonces: newNonces(t),
		Who:      api.Session{User: "usr_aaaaaaaaaaaaaaaaaaaa", UserName: "alice", Login: "alice"},
		answers:  map[string]Handler{},
		sessions: map[string]bound{}, codes: map[string]url.Values{},
	}
	hs.Config.Handler = s
	hs.EnableHTTP2 = tls
	if tls {
		hs.StartTLS()
	} else {
		hs.Start()
	}
	t.Cleanup(hs.Close)
	s.URL = hs.URL
	s.Reply("GET", "/v1/team", api.Team{Name: "demo", URL: s.URL, Version: "test"})
	s.On("GET", "/v1/session", func(c Call) (any, error) { return s.SessionOf(c.Token), nil })
	s.Reply("POST", "/oauth/device", api.DeviceCode{DeviceCode: deviceCode, UserCode: "BCDF-GHJK", VerificationURI: s.URL + "/device", ExpiresIn: 600, Interval: 1})
	s.On("POST", "/v1/logout", func(c Call) (any, error) { s.Revoke(c.Token); return nil, nil })
	return s
}

// On sets the answer to a method and an escaped path, in place of an older one. What it returns
// is sent as JSON, but for a []byte, which is sent as it is.
func (s *Server) On(method, path string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[method+" "+path] = h
}

// Reply is On with an answer that is always the same.
func (s *Server) Reply(method, path string, v any) {
	s.On(method, path, func(Call) (any, error) { return v, nil })
}

// Fail is On with an error.
func (s *Server) Fail(method, path string, err error) {
	s.On(method, path, func(Call) (any, error) { return nil, err })
}

// Calls are those of a method and path so far, the oldest first; every call for
// two empty strings.
func (s *Server) Calls(method, path string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, c := range s.calls {
		if method+path == "" || c.Method == method && c.Path == path {
			found = append(found, c)
		}
	}
	return found
}

// Stop takes the control plane away before the test is over.
func (s *Server) Stop() { s.http.Close() }

// HTTP is a client that trusts the server's TLS.
func (s *Server) HTTP() *http.Client { return s.http.Client() }

// Client is one that is signed in with a key of its own.
func (s *Server) Client() *api.Client {
	s.t.Helper()
	key, err := dpop.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	token, _ := s.SignIn(key.Thumbprint())
	return &api.Client{URL: s.URL, Prover: key, Token: token, HTTP: s.HTTP()}
}

// ServeHTTP is for net/http.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(api.HeaderNonce, s.nonces.issue())
	if r.URL.Path == "/oauth/authorize" {
		s.authorize(w, r)
		return
	}
	call, err := s.admit(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	h := s.answers[call.Method+" "+call.Path]
	s.mu.Unlock()
	if h == nil && r.URL.Path == "/oauth/token" {
		h = s.redeem
	}
	if h == nil {
		s.fail(w, r, api.Errorf(api.NotFound, "the test has no answer to %s %s", call.Method, call.Path))
		return
	}
	v, err := h(call)
	if object, raw := v.([]byte); raw && err == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(object)
		return
	}
	switch {
	case err != nil:
		s.fail(w, r, err)
	case v == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.write(w, http.StatusOK, "application/json", v)
	}
}

// read takes the request apart; authentication comes after.
func read(r *http.Request) (Call, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, api.MaxBody+1))
	if err != nil || len(body) > api.MaxBody {
		return Call{}, api.Errorf(api.Invalid, "the body cannot be read or is too large")
	}
	return Call{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}, nil
}

// fail answers the token endpoint in its own shape, and all else with problem
// details.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *api.Error
	if !errors.As(err, &e) {
		e = api.Errorf(api.Internal, "internal error").WithCause(err)
	}
	if !strings.HasPrefix(r.URL.Path, "/oauth/") {
		s.write(w, e.StatusCode, e.ContentType(""), e)
		return
	}
	code := map[api.Kind]string{api.UseNonce: "use_dpop_nonce", api.Gone: "invalid_grant", api.Denied: "access_denied", api.Unavailable: "temporarily_unavailable"}[e.Kind]
	code = cmp.Or(e.OAuth, code, "invalid_request")
	s.write(w, http.StatusBadRequest, "application/json", api.OAuthError{Code: code, Description: e.Detail})
}

func (s *Server) write(w http.ResponseWriter, status int, mediaType string, v any) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Logf("apitest: answer: %v", err)
	}
}

// Life is how long a session of the fake lasts.
const Life = 12 * time.Hour
