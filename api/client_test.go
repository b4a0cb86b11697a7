package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/tcptest"
)

func TestClientProvesEveryCall(t *testing.T) {
	s := apitest.New(t)
	c := s.Client()
	s.Reply("POST", "/v1/users", api.User{ID: "usr_x"})

	var session api.Session
	if found, err := c.Get(t.Context(), "/v1/session", nil, &session); err != nil || !found || session.UserName != "alice" {
		t.Fatalf("session %+v, found %v, %v", session, found, err)
	}
	s.ForgetNonces()
	var user api.User
	if err := c.Send(t.Context(), "POST", "/v1/users", api.NewUser{Name: "bob"}, &user); err != nil || user.ID != "usr_x" {
		t.Fatalf("user %+v, %v; want the call repeated with the new nonce", user, err)
	}
	calls := s.Calls("POST", "/v1/users")
	if len(calls) != 1 {
		t.Fatalf("%d calls passed, want one", len(calls))
	}
	var in api.NewUser
	calls[0].Into(t, &in)
	if in.Name != "bob" || calls[0].Header.Get(api.HeaderIdempotency) == "" {
		t.Errorf("the repeated call has body %+v and idempotency key %q", in, calls[0].Header.Get(api.HeaderIdempotency))
	}
}

// One idempotency key serves both tries, else a server that did the first
// would do it twice.
func TestClientKeepsTheIdempotencyKeyOverARepeat(t *testing.T) {
	var keys []string
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get(api.HeaderIdempotency))
		w.Header().Set(api.HeaderNonce, "n")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"kind":"use-dpop-nonce","detail":"again"}`)
	}))
	defer hs.Close()
	c := &api.Client{URL: hs.URL}
	if err := c.Send(t.Context(), "POST", "/v1/users", nil, nil); api.KindOf(err) != api.UseNonce {
		t.Errorf("error %v; want the server's own after one repeat", err)
	}
	if len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("keys of the tries %q; want two tries with one key", keys)
	}
}

func TestClientRefusesATokenOfAnotherKey(t *testing.T) {
	s := apitest.New(t)
	stolen := s.Client()
	key, err := dpop.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	thief := &api.Client{URL: s.URL, Prover: key, Token: stolen.Token}
	if _, err := thief.Get(t.Context(), "/v1/session", nil, nil); api.KindOf(err) != api.SignIn {
		t.Errorf("error %v; want a sign-in to be needed", err)
	}
}

func TestClientReadsAnswers(t *testing.T) {
	long := strings.Repeat("x", api.MaxAnswer-2)
	for _, tc := range []struct {
		name   string
		status int
		body   string
		found  bool
		kind   api.Kind
		says   string
	}{
		{"200 with the value", 200, `{"id":"a"}`, true, "", ""},
		{"204 is nothing new", 204, "", false, "", ""},
		{"304 is nothing new", 304, "", false, "", ""},
		{"a problem keeps its kind, sentence and hint", 403, `{"kind":"denied","detail":"no grant","hint":"ask an administrator"}`, false, api.Denied, "no grant; ask an administrator"},
		{"an OAuth error becomes one of ours", 400, `{"error":"invalid_grant","error_description":"the code is over"}`, false, api.Gone, "the code is over"},
		{"one that says what to type gets no other hint", 400, `{"error":"invalid_grant","error_description":"no key; type: cardea x"}`, false, api.Gone, "no key; type: cardea x"},
		{"an unknown OAuth error is a refusal", 400, `{"error":"unauthorized_client"}`, false, api.Denied, "unauthorized_client"},
		{"a page of a proxy is not quoted", 502, "<html>secret</html>", false, api.Unavailable, "status 502"},
		{"a page of another program", 404, "<html>", false, api.Foreign, "not as a control plane"},
		{"a redirect is not followed", 302, "", false, api.Foreign, "status 302"},
		{"200 without JSON", 200, "<html>", false, api.Foreign, "not answer as a control plane"},
		{"200 with JSON that is cut off", 200, `{"id":"a`, false, api.Foreign, "not answer as a control plane"},
		{"an answer at the limit", 200, `"` + long + `"`, false, api.Foreign, "not answer as a control plane"},
		{"an answer over the limit", 200, `"` + long + `" `, false, api.Foreign, "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			}))
			defer hs.Close()
			c := &api.Client{URL: hs.URL + "/"}
			var out api.Named
			found, err := c.Get(t.Context(), "/v1/x", nil, &out)
			if found != tc.found || api.KindOf(err) != tc.kind {
				t.Fatalf("found %v, error %v of kind %q; want %v and %q", found, err, api.KindOf(err), tc.found, tc.kind)
			}
			if err != nil && (!strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret") || strings.Count(err.Error(), "type: cardea") > 1) {
				t.Errorf("error %q; want %q in it", err, tc.says)
			}
			if tc.found && out.ID != "a" {
				t.Errorf("value %+v", out)
			}
		})
	}
}

// deaf takes every request and answers none.
type deaf struct{}

func (deaf) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// A person waits for as long as the control plane may work on a call, a poll for longer, and
// nobody for ever.
func TestACallThatNobodyAnswersEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		path  string
		bound time.Duration // of the caller
		waits time.Duration
	}{
		"a call": {"/v1/why", time.Hour, 30 * time.Second},
		"one of which the caller is sooner tired": {"/v1/why", 5 * time.Second, 5 * time.Second},
		"one of what somebody has called wait=":   {"/v1/servers/wait=1", time.Hour, 30 * time.Second},
		"a poll":                                  {"/v1/catalog?wait=55", 70 * time.Second, 70 * time.Second},
		"a poll that nobody bounds":               {"/v1/catalog?wait=55", time.Hour, 85 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.bound)
				defer cancel()
				began := time.Now()
				client := &api.Client{URL: "https://access.example.com", HTTP: &http.Client{Transport: deaf{}}}
				_, err := client.Get(ctx, tc.path, nil, nil)
				if want := "the control plane at https://access.example.com does not answer; check the network, then try again"; err == nil || err.Error() != want || api.KindOf(err) != api.Unavailable {
					t.Errorf("error %v, want %s", err, want)
				}
				if waited := time.Since(began); waited != tc.waits {
					t.Errorf("it took %v, want %v", waited, tc.waits)
				}
			})
		})
	}
}

// late answers after a while.
type late time.Duration

func (d late) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(time.Duration(d))
	return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func TestAPersonIsToldOfACallThatIsSlow(t *testing.T) {
	for name, tc := range map[string]struct {
		path  string
		takes time.Duration
		told  int
	}{
		"a quick one":     {"/v1/why", 2 * time.Second, 0},
		"a slow one":      {"/v1/why", 4 * time.Second, 1},
		"one that fails":  {"/v1/\x7f", 0, 0},
		"a poll may wait": {"/v1/catalog?wait=55", 50 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []time.Duration
				began := time.Now()
				client := &api.Client{URL: "https://access.example.com", HTTP: &http.Client{Transport: late(tc.takes)},
					Slow: func() { told = append(told, time.Since(began)) }}
				_, err := client.Get(t.Context(), tc.path, nil, nil)
				time.Sleep(time.Minute)
				if synctest.Wait(); (err != nil) != (tc.takes == 0) {
					t.Error(err)
				}
				if len(told) != tc.told || tc.told == 1 && told[0] != 3*time.Second {
					t.Errorf("told after %v", told)
				}
			})
		})
	}
}

// trickle answers at once, and then a byte each ten seconds, for ever.
type trickle struct{ ctx context.Context }

func (trickle) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: trickle{req.Context()}, Request: req}, nil
}

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(10 * time.Second):
		return copy(p, " "), nil
	}
}

func (trickle) Close() error { return nil }

func TestAnAnswerThatNeverEndsIsGivenUp(t *testing.T) {
	for _, path := range []string{"/v1/why", "/v1/requests/rqs_a?wait=55"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			client := &api.Client{URL: "https://access.example.com", HTTP: &http.Client{Transport: trickle{}}}
			if _, err := client.Get(ctx, path, nil, nil); api.KindOf(err) != api.Unavailable {
				t.Errorf("%s: %v", path, err)
			}
			if waited := time.Since(began); waited != 2*time.Minute {
				t.Errorf("%s: it took %v", path, waited)
			}
		})
	}
}

func TestClientSaysWhyThereIsNoAnswer(t *testing.T) {
	secure := apitest.NewTLS(t)
	plain := apitest.New(t)
	ssh := greeter(t, "SSH-2.0-OpenSSH_10.0\r\n")
	for _, tc := range []struct {
		name, url string
		dial      error // in place of the network's answer
		kind      api.Kind
		says      string
	}{
		{"nobody listens", "http://127.0.0.1:1", nil, api.Unavailable, "nothing listens there; check the URL and its port"},
		{"no such host", "https://acess.example.com", &net.DNSError{Name: "acess.example.com", IsNotFound: true}, api.Unavailable, "there is no host acess.example.com; check the URL; to see whether the name is known type: nslookup acess.example.com"},
		{"no answer about the host", "https://access.example.com", &net.DNSError{Name: "access.example.com", IsTimeout: true}, api.Unavailable, "cannot be looked up now; check the network"},
		{"no way there", "https://access.example.com", syscall.ENETUNREACH, api.Unavailable, "cannot be reached; check the network"},
		{"the proxy is gone", "https://access.example.com", &net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}, api.Unavailable, "the proxy does not answer; check HTTPS_PROXY"},
		{"a certificate of an unknown root", secure.URL, nil, api.Unavailable, "is not one to trust; check the URL; a private root belongs to the roots of this system, or for cardea into --ca-file"},
		{"a certificate for another name", "https://access.example.com", &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "access.example.com"}}, api.Unavailable, "is for another name; check the URL"},
		{"a certificate that is over", "https://access.example.com", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, api.Unavailable, "clock of this machine"},
		{"https to a port without TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, api.Unavailable, "does not speak TLS; check the URL and its port; without TLS it answers at " + plain.URL},
		{"who listens hangs up", greeter(t, ""), nil, api.Unavailable, "what listens there ended the connection; check the URL and its port"},
		{"who listens hangs up before TLS", strings.Replace(greeter(t, ""), "http:", "https:", 1), nil, api.Unavailable, "what listens there ended the connection; check the URL and its port"},
		{"a reset", "https://access.example.com", syscall.ECONNRESET, api.Unavailable, "what listens there ended the connection; check the URL and its port"},
		{"https to an sshd", strings.Replace(ssh, "http:", "https:", 1), nil, api.Unavailable, "does not speak TLS"},
		{"http to an sshd", ssh, nil, api.Foreign, "did not answer as a control plane of Cardea does; check the URL; a browser at " + ssh},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := &api.Client{URL: tc.url}
			if tc.dial != nil {
				client.HTTP = &http.Client{Transport: broken{tc.dial}}
			}
			_, err := client.Get(t.Context(), "/v1/team", nil, nil)
			if api.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v of kind %q; want %q", err, api.KindOf(err), tc.says)
			}
		})
	}
	t.Run("the caller gave up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (&api.Client{URL: plain.URL}).Get(ctx, "/v1/team", nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v; want the cancellation itself", err)
		}
	})
	t.Run("the deadline passed", func(t *testing.T) {
		plain.On("GET", "/v1/team", func(apitest.Call) (any, error) { time.Sleep(200 * time.Millisecond); return nil, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := (&api.Client{URL: plain.URL}).Get(ctx, "/v1/team", nil, nil); api.KindOf(err) != api.Unavailable {
			t.Errorf("error %v; want unavailable", err)
		}
	})
}

func TestClientSpeaksHTTP2ToATrustedRoot(t *testing.T) {
	s := apitest.NewTLS(t)
	if _, err := s.Client().Get(t.Context(), "/v1/session", nil, nil); err != nil {
		t.Fatal(err)
	}
	res, err := s.HTTP().Get(s.URL + "/v1/team")
	if err != nil || res.ProtoMajor != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
}

func TestClientServesManyAtOnce(t *testing.T) {
	s := apitest.New(t)
	c := s.Client()
	c.HTTP = nil
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "/v1/session", nil, &api.Session{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCheckURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://access.example.com":       true,
		"https://access.example.com:8443":  true,
		"http://127.0.0.1:7080":            true,
		"http://[::1]:7080":                true,
		"http://localhost:7080":            true,
		"http://access.example.com":        false,
		"http://localhost.example.com":     false,
		"http://127.0.0.1.example.com":     false,
		"ftp://access.example.com":         false,
		"https://":                         false,
		"https://alice@access.example.com": false,
		"https://access.example.com/?a=b":  false,
		"https://access.example.com/#a":    false,
		"access.example.com":               false,
		"https://a b":                      false,
		"https://-oProxyCommand=x":         false,
		"https://-access.example.com":      false,
		"https://access$(id).example.com":  false,
		"https://аccess.example.com":       false, // a Cyrillic а
		"":                                 false,
	} {
		if err := api.CheckURL(raw); (err == nil) != ok {
			t.Errorf("CheckURL(%q) = %v, want ok %v", raw, err, ok)
		}
	}
}

func TestAllReadsEveryPage(t *testing.T) {
	s := apitest.New(t)
	s.On("GET", "/v1/groups", func(c apitest.Call) (any, error) {
		if c.Query.Get("limit") != strconv.Itoa(api.MaxPageSize) || c.Query.Get("project") != "web" {
			t.Errorf("query %v", c.Query)
		}
		n, _ := strconv.Atoi(c.Query.Get("cursor"))
		page := api.List[api.Group]{Items: []api.Group{{Name: strconv.Itoa(n)}}}
		if n < 2 {
			page.Next = strconv.Itoa(n + 1)
		}
		return page, nil
	})
	rows, err := api.All[api.Group](t.Context(), s.Client(), "/v1/groups", url.Values{"project": {"web"}})
	if err != nil || len(rows) != 3 || rows[2].Name != "2" {
		t.Fatalf("rows %v, %v", rows, err)
	}
	s.Reply("GET", "/v1/groups", api.List[api.Group]{Next: "again"})
	if _, err := api.All[api.Group](t.Context(), s.Client(), "/v1/groups", nil); api.KindOf(err) != api.Foreign {
		t.Errorf("a list without an end gives %v", err)
	}
}

// broken is a network that fails in one way.
type broken struct{ err error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

// greeter is a server of another kind: it speaks first.
func greeter(t *testing.T, line string) string {
	return "http://" + tcptest.Serve(t, func(c net.Conn) {
		io.WriteString(c, line)
		io.Copy(io.Discard, io.LimitReader(c, 1)) // until the client spoke
	})
}

func TestErrorCrossesTheWireWithoutItsCause(t *testing.T) {
	s := apitest.New(t)
	s.Fail("GET", "/v1/x", api.Errorf(api.Limited, "too many tries").WithRetry(90*time.Second).WithCause(errors.New("secret")))
	_, err := s.Client().Get(t.Context(), "/v1/x", nil, nil)
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != api.Limited || e.RetryAfter != 90 || e.StatusCode != http.StatusTooManyRequests || errors.Unwrap(e) != nil {
		t.Errorf("error %+v", err)
	}
	s.Fail("GET", "/v1/x", errors.New("secret"))
	if _, err := s.Client().Get(t.Context(), "/v1/x", nil, nil); api.KindOf(err) != api.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}
