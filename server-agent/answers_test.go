package serveragent

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
)

// knownAgent is an enrolled agent that reaches its control plane by a
// transport.
func knownAgent(t *testing.T, p *plane, url string, tune func(*http.Transport)) *Agent {
	t.Helper()
	a := agentIn(t, url)
	key, err := dpop.LoadOrCreate(a.path(identityFile))
	if err != nil {
		t.Fatal(err)
	}
	a.opt.HTTP = api.NewHTTP(tune)
	if err := a.use(credential{ControlURL: url, Token: "cardea_srv_test", Server: p.server, PolicyKey: p.policy.Public().(ed25519.PublicKey)}, key); err != nil {
		t.Fatal(err)
	}
	return a
}

// An answer that comes in bytes, one each ten seconds, costs a call of limited
// length, and the next one is asked for.
func TestAnAnswerThatDripsEnds(t *testing.T) {
	p := newPlane(t)
	synctest.Test(t, func(t *testing.T) {
		drip := func(server net.Conn) {
			defer server.Close()
			req, err := http.ReadRequest(bufio.NewReader(server))
			if err != nil {
				return
			}
			go io.Copy(io.Discard, req.Body)
			text := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat(" ", 1000)
			for i := range len(text) {
				if _, err := io.WriteString(server, text[i:i+1]); err != nil {
					return
				}
				time.Sleep(10 * time.Second)
			}
		}
		a := knownAgent(t, p, "http://127.0.0.1:7080", func(tr *http.Transport) {
			tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go drip(server)
				return client, nil
			}
		})
		for range 3 {
			began := time.Now()
			_, newer, err := a.poll(t.Context(), p.state.Version)
			if took := time.Since(began); err == nil || newer || took > api.LongPoll+pollSlack {
				t.Errorf("after %s: %v %v", took, newer, err)
			}
		}
		a.opt.HTTP.CloseIdleConnections()
		time.Sleep(time.Minute) // until the drips have noticed
	})
}

// For days nobody answers, seven in a soak: the agent asks on, at a bearable pace, and takes
// up the state within two minutes of the return of the control plane.
func TestDaysWithoutAControlPlane(t *testing.T) {
	p := newPlane(t)
	days := 1
	if soaking() {
		days = 7
	}
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var back atomic.Bool
		a := knownAgent(t, p, "http://127.0.0.1:7080", func(tr *http.Transport) {
			tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				calls.Add(1)
				if !back.Load() {
					return nil, fmt.Errorf("no route to host")
				}
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
						rec := httptest.NewRecorder()
						answer(rec, p.sign(p.state, p.policy))
						res := rec.Result()
						res.ContentLength, res.Close = int64(rec.Body.Len()), true
						res.Write(server)
					}
				}()
				return client, nil
			}
		})
		a.opt.backoff = backoff
		ctx, cancel := context.WithCancel(t.Context())
		news := make(chan api.DesiredState, 1)
		done := make(chan error, 1)
		go func() { done <- a.fetch(ctx, api.StateVersion{}, news) }()
		time.Sleep(time.Duration(days) * 24 * time.Hour)
		if n := int(calls.Load()); n < days*24*60/2 || n > days*24*60*3 {
			t.Errorf("%d tries in %d days", n, days)
		}
		if len(news) > 0 {
			t.Error("there is news from nobody")
		}
		back.Store(true)
		time.Sleep(2 * time.Minute)
		select {
		case d := <-news:
			if d.Version != p.state.Version {
				t.Errorf("got %+v", d.Version)
			}
		default:
			t.Error("the agent has not come back")
		}
		cancel()
		<-done
		a.opt.HTTP.CloseIdleConnections()
	})
}

// Whoever gets the name of the control plane for himself, by DNS or a stolen
// route, has no certificate for it; and what he says is not signed.
func TestAnotherHostIsNotTheControlPlane(t *testing.T) {
	p := newPlane(t)
	asked := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		answer(w, p.sign(p.state, p.policy))
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	addr := srv.Listener.Addr().String()
	toServer := func(tr *http.Transport) {
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	for name, tc := range map[string]struct {
		url  string
		pool *x509.CertPool
		ok   bool
	}{
		"the one of that name":              {"https://example.com", trusted, true},
		"one with a certificate of another": {"https://access.example.org", trusted, false},
		"one of a CA that nobody knows":     {"https://example.com", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked = 0
			a := knownAgent(t, p, tc.url, func(tr *http.Transport) {
				toServer(tr)
				tr.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				tr.TLSClientConfig.RootCAs = tc.pool
			})
			if _, newer, err := a.poll(t.Context(), api.StateVersion{}); newer != tc.ok || (err == nil) != tc.ok {
				t.Errorf("newer %v, %v", newer, err)
			}
			if asked > 0 != tc.ok {
				t.Errorf("it was asked %d times", asked)
			}
		})
	}
}
