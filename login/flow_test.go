//go:build !windows

package login

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/dpop"
)

// flow is a sign-in at s with a browser that does as s.Browse does.
func flow(t *testing.T, s *apitest.Server) Flow {
	t.Helper()
	key, err := dpop.NewKey()
	must(t, err)
	return Flow{
		URL: s.URL, Key: key, HTTP: s.HTTP(), Patience: 10 * time.Second,
		Open: func(u string) error { _, err := s.Browse(u); return err },
	}
}

func TestSignInThroughTheBrowser(t *testing.T) {
	s := apitest.New(t)
	f := flow(t, s)
	var told, code string
	f.Tell = func(u, c string) { told, code = u, c }
	f.DeviceName = "alice's\x1b[31m laptop"
	pages := make(chan string, 1)
	f.Open = func(u string) error {
		page, err := s.Browse(u)
		pages <- page
		if err == nil && u != told {
			t.Errorf("the browser is sent to %s, the person to %s", u, told)
		}
		return err
	}
	saved, err := f.Run(t.Context())
	must(t, err)
	if saved.Session.UserName != "alice" || saved.URL != s.URL || saved.Team != "demo" || !s.Live(saved.Token) {
		t.Errorf("saved %+v", saved)
	}
	u, err := url.Parse(told)
	must(t, err)
	if want := api.ConfirmationCode(u.Query().Get("code_challenge"), f.Key.Thumbprint()); code != want {
		t.Errorf("code %s, want %s", code, want)
	}
	if got := u.Query().Get("device_name"); got != "alice's[31m laptop" {
		t.Errorf("device name %q", got)
	}
	if page := <-pages; !strings.Contains(page, "go back to the terminal") {
		t.Errorf("the browser ends at %q", page)
	}
	if _, style, _ := strings.Cut(pageDone, "<style>"); !strings.HasPrefix(style, pageStyle+"</style>") {
		t.Errorf("the style that browsers may apply is not that of the page: %q", style)
	}
	// The session is of use with this key.
	c := &api.Client{URL: s.URL, Prover: f.Key, Token: saved.Token}
	if _, err := c.Get(t.Context(), "/v1/session", nil, nil); err != nil {
		t.Error(err)
	}
}

// What the browser brings back is believed only from the server that was
// asked, about this very request.
func TestCallbacksThatAreNotOurs(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tamper func(url.Values)
	}{
		{"another state", func(v url.Values) { v.Set("state", "x") }},
		{"no state", func(v url.Values) { v.Del("state") }},
		{"the state twice", func(v url.Values) { v.Add("state", v.Get("state")) }},
		{"another issuer", func(v url.Values) { v.Set("iss", "https://evil.example.com") }},
		{"no issuer", func(v url.Values) { v.Del("iss") }},
		{"the issuer twice", func(v url.Values) { v.Add("iss", "https://evil.example.com") }},
		{"two codes", func(v url.Values) { v.Add("code", "x") }},
		{"no code", func(v url.Values) { v.Del("code") }},
		{"a code and an error", func(v url.Values) { v.Set("error", "access_denied") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := apitest.New(t)
			s.Tamper = tc.tamper
			f := flow(t, s)
			f.Patience = 150 * time.Millisecond
			if _, err := f.Run(t.Context()); api.KindOf(err) != api.SignIn || !strings.Contains(err.Error(), "nobody came back") {
				t.Errorf("error %v; want the callback ignored and the wait to end", err)
			}
			if n := len(s.Calls("POST", "/oauth/token")); n != 0 {
				t.Errorf("%d codes were redeemed", n)
			}
		})
	}
}

func TestAForeignCallbackDoesNotDisturbTheRightOne(t *testing.T) {
	s := apitest.New(t)
	f := flow(t, s)
	f.Open = func(u string) error {
		redirect := redirectOf(t, u)
		for _, bad := range []string{"?code=evil&state=guess&iss=" + url.QueryEscape(s.URL), "?error=access_denied", ""} {
			res, err := http.Get(redirect + bad)
			if err != nil {
				return err
			}
			res.Body.Close()
			if res.StatusCode != http.StatusNotFound {
				t.Errorf("callback %q is answered %d", bad, res.StatusCode)
			}
		}
		_, err := s.Browse(u)
		return err
	}
	if _, err := f.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusalInTheBrowser(t *testing.T) {
	s := apitest.New(t)
	s.Tamper = func(v url.Values) { v.Del("code"); v.Set("error", "access_denied") }
	if _, err := flow(t, s).Run(t.Context()); api.KindOf(err) != api.Denied {
		t.Errorf("error %v; want denied", err)
	}
	s.Tamper = func(v url.Values) {
		v.Del("code")
		v.Set("error", "invalid_request")
		v.Set("error_description", "device_name is too long")
	}
	if _, err := flow(t, s).Run(t.Context()); api.KindOf(err) != api.Foreign || !strings.Contains(err.Error(), "device_name is too long") {
		t.Errorf("error %v; want the reason", err)
	}
	s.Tamper = func(v url.Values) {
		v.Del("code")
		v.Set("error", api.NoSuchDevice)
		v.Set("error_description", "you have no device old; type: cardea device replace ID")
	}
	var e *api.Error
	if _, err := flow(t, s).Run(t.Context()); !errors.As(err, &e) || e.Kind != api.Invalid || e.Detail != "you have no device old" || e.Hint != "type: cardea device replace ID" {
		t.Errorf("error %v; want the reason, and what to type", err)
	}
}

func TestTheServerMustBeTheOneThatWasMeant(t *testing.T) {
	s := apitest.New(t)
	for _, tc := range []struct {
		name string
		team any
		says string
	}{
		{"it calls itself otherwise", api.Team{Name: "demo", URL: "https://access.example.com"}, "type: cardea login https://access.example.com"},
		{"it is something else", map[string]string{"hello": "world"}, "did not answer as a control plane"},
		{"its URL is no URL", api.Team{Name: "demo", URL: "-oProxyCommand=x"}, "did not answer as a control plane"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Reply("GET", "/v1/team", tc.team)
			f := flow(t, s)
			f.Open = func(string) error { t.Error("a browser was opened"); return nil }
			if _, err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v; want %q", err, tc.says)
			}
		})
	}
}

func TestABrowserThatDoesNotStart(t *testing.T) {
	s := apitest.New(t)
	f := flow(t, s)
	f.Open = func(string) error { return errors.New("no browser") }
	if _, err := f.Run(t.Context()); err == nil || err.Error() != "no browser" {
		t.Errorf("error %v; want the browser's, at once", err)
	}
	// A person at a terminal may open the URL elsewhere on this machine.
	f.Tell = func(u, _ string) { go s.Browse(u) }
	f.Unopened = func(error) {}
	if _, err := f.Run(t.Context()); err != nil {
		t.Errorf("error %v; want the flow to wait for the person", err)
	}
}

func TestInterruptedSignIn(t *testing.T) {
	s := apitest.New(t)
	f := flow(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	f.Open = func(string) error { cancel(); return nil }
	if _, err := f.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want the cancellation", err)
	}
}

// The listener is reachable for every program of every local user.
func TestListenerSurvivesStrangers(t *testing.T) {
	c, err := listen("right-state", "https://access.example.com")
	must(t, err)
	if host, _, _ := net.SplitHostPort(c.host); host != "127.0.0.1" {
		t.Fatalf("listens on %s", c.host)
	}
	good := callbackPath + "?code=c0de&state=right-state&iss=" + url.QueryEscape("https://access.example.com")
	got := make(chan outcome, 1)
	go func() {
		o, err := c.wait(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- o
	}()
	for _, tc := range []struct{ name, request string }{
		{"HEAD", "HEAD " + good + " HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"POST", "POST " + good + " HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"},
		{"OPTIONS", "OPTIONS " + good + " HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"PUT with a body that never comes", "PUT " + good + " HTTP/1.1\r\nHost: HOST\r\nContent-Length: 99999999\r\n\r\n"},
		{"a name rebound to this machine", "GET " + good + " HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"},
		{"localhost, which is not what was registered", "GET " + good + " HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"another port in Host", "GET " + good + " HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"},
		{"no Host", "GET " + good + " HTTP/1.0\r\n\r\n"},
		{"a longer path", "GET /callback/" + strings.TrimPrefix(good, callbackPath) + " HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"an encoded path", "GET /%63allback" + strings.TrimPrefix(good, callbackPath) + " HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"another path", "GET /favicon.ico HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"a head above the limit", "GET /" + strings.Repeat("x", maxCallback+8192) + " HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"a broken query", "GET /callback?%zz HTTP/1.1\r\nHost: HOST\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := dial(t, c.host)
			defer conn.Close()
			io.WriteString(conn, strings.ReplaceAll(tc.request, "HOST", c.host))
			res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
			if err == nil && res.StatusCode < 400 {
				t.Errorf("answered %s", res.Status)
			}
			select {
			case o := <-got:
				t.Fatalf("taken as the callback: %+v", o)
			default:
			}
		})
	}
	t.Run("ten thousand requests", func(t *testing.T) { storm(t, c.host, 10_000) })
	// Slow-loris: more connections than are held, each with half a request.
	for range 3 * maxOpen {
		conn := dial(t, c.host)
		defer conn.Close()
		io.WriteString(conn, "GET /callback?code=")
	}
	began := time.Now()
	res, err := http.Get("http://" + c.host + good)
	must(t, err)
	res.Body.Close()
	if o := <-got; o.code != "c0de" || res.StatusCode != http.StatusOK {
		t.Errorf("the right callback gives %+v, status %d", o, res.StatusCode)
	}
	if took := time.Since(began); took > callbackRead {
		t.Errorf("the right callback took %s", took)
	}
	if _, err := net.Dial("tcp", c.host); err == nil {
		t.Error("the listener is still open after the one callback")
	}
}

func storm(t *testing.T, host string, n int) {
	t.Helper()
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range work {
				conn, err := net.Dial("tcp", host)
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(conn, "GET /callback?code=x&state=guess HTTP/1.1\r\nHost: %s\r\n\r\n", host)
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
	}
	wg.Wait()
}

func TestListenerClosesWhenNobodyComes(t *testing.T) {
	c, err := listen("s", "i")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if _, err := net.Dial("tcp", c.host); err == nil {
		t.Error("the listener is still open")
	}
}

func TestHalfRequestsEnd(t *testing.T) {
	c, err := listen("s", "i")
	must(t, err)
	c.server.ReadTimeout = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.wait(ctx); close(ended) }()
	conn := dial(t, c.host)
	defer conn.Close()
	io.WriteString(conn, "GET /call")
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection is still open after the read limit: %v", err)
	}
	cancel()
	<-ended
}

func TestCleanURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://access.example.com":      "https://access.example.com",
		"https://Access.Example.com/":     "https://access.example.com",
		"https://access.example.com:443/": "https://access.example.com",
		"access.example.com":              "https://access.example.com",
		" access.example.com:8443 ":       "https://access.example.com:8443",
		"http://127.0.0.1:7080/":          "http://127.0.0.1:7080",
		"http://access.example.com":       "",
		"":                                "",
		"-oProxyCommand=x y":              "",
		"javascript://alert(1)":           "",
		"-oProxyCommand=x":                "",
	} {
		got, err := CleanURL(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("CleanURL(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestHTTPTrustsTheGivenRootAlone(t *testing.T) {
	s := apitest.NewTLS(t)
	hc, err := HTTP(s.CA())
	must(t, err)
	if _, err := (&api.Client{URL: s.URL, HTTP: hc}).Get(t.Context(), "/v1/team", nil, nil); err != nil {
		t.Error(err)
	}
	empty := t.TempDir() + "/empty.pem"
	write(t, empty, "", 0o600)
	pem, err := os.ReadFile(s.CA())
	must(t, err)
	large, fifo := t.TempDir()+"/large.pem", t.TempDir()+"/fifo"
	write(t, large, string(pem)+strings.Repeat("\n", maxRoot-len(pem)), 0o600)
	if _, err := HTTP(large); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	must(t, os.Truncate(large, maxRoot+1))
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, bad := range []string{empty, large, fifo, t.TempDir(), t.TempDir() + "/missing.pem"} {
		if _, err := HTTP(bad); err == nil || !strings.Contains(err.Error(), "--ca-file") {
			t.Errorf("HTTP(%s): %v", bad, err)
		}
	}
}

func TestOpenBrowserRunsTheCommand(t *testing.T) {
	script := t.TempDir() + "/browser"
	write(t, script, "#!/bin/sh\necho noise\necho \"$@\" >\"$(dirname \"$0\")/got\"\n", 0o700)
	must(t, OpenBrowser(script+" --new-tab", "https://x/?a=b&c=$(id)"))
	got, err := readAll(script[:len(script)-len("browser")] + "got")
	if err != nil || got != "--new-tab https://x/?a=b&c=$(id)\n" {
		t.Errorf("the command got %q, %v", got, err)
	}
	if err := OpenBrowser("/nonexistent/browser", "https://x"); err == nil || !strings.Contains(err.Error(), BrowserVariable) {
		t.Errorf("error %v", err)
	}
}

func redirectOf(t *testing.T, authorize string) string {
	t.Helper()
	u, err := url.Parse(authorize)
	must(t, err)
	return u.Query().Get("redirect_uri")
}

func dial(t *testing.T, host string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	must(t, err)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}
