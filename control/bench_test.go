package control

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

// BenchmarkTheDoor is what every call costs before its domain begins: headers,
// limits, proof of possession, access, and the answer. The store here answers
// from memory; a real one adds its read.
func BenchmarkTheDoor(b *testing.B) {
	w := newWorld(b, func(t *table) {
		handle(t, route{Method: "GET", Path: "/v1/x", Access: User, Doc: "x"}, nothing)
		handle(t, route{Method: "POST", Path: "/v1/x", Access: User, Doc: "x"},
			func(context.Context, caller.Caller, *body[api.Connect]) (*api.Named, error) {
				return &api.Named{ID: "x"}, nil
			})
		handle(t, route{Method: "GET", Path: "/v1/open", Access: Public, Doc: "x"}, nothing)
	}, func(o *Options) { o.Logger = nil })
	alice := w.join(store.KindUser, "t", nil)
	const connect = `{"server":"web-1","login":"alice","public_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0eyC3yvvpvyyZGyFxH0aWrTPvrbIDOvtmpGUJyDNCy"}`
	for _, c := range []struct{ name, method, path, body string }{
		{"read", "GET", "/v1/x", ""}, {"mutation", "POST", "/v1/x", connect},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := alice.request(c.method, c.path, c.body)
			b.ReportAllocs()
			for b.Loop() {
				r := req.Clone(req.Context())
				r.RemoteAddr = "192.0.2.1:1"
				if c.body != "" {
					r.Body, _ = req.GetBody()
				}
				rec := httptest.NewRecorder()
				w.server.Handler().ServeHTTP(rec, r)
				if rec.Code >= 400 {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

// BenchmarkConnect is the whole call as eight clients see it: over HTTP, with
// their proofs and fresh keys, on a durable SQLite file. Both ends share the
// machine.
func BenchmarkConnect(b *testing.B) {
	s := newStack(b)
	admin := s.admin()
	s.machines(admin)
	alice := s.signIn("alice")
	for _, c := range []struct {
		method, path string
		in           any
	}{
		{"POST", "/v1/groups", api.NewGroup{Name: "ops"}},
		{"PUT", "/v1/groups/ops/members/alice", api.NewMember{}},
		{"POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "user"}},
		{"PATCH", "/v1/projects/web", map[string]string{"gateway": "none"}},
	} {
		if err := admin.api(0).Send(b.Context(), c.method, c.path, c.in, nil); err != nil {
			b.Fatal(err)
		}
	}
	s.confirm("web-1")
	const clients = 8
	s.client(0).(*http.Transport).MaxIdleConnsPerHost = clients // warm, as an agent's is
	var wait sync.WaitGroup
	jobs := make(chan struct{})
	for range clients {
		wait.Go(func() {
			client := alice.api(0)
			for range jobs {
				public, _, _ := ed25519.GenerateKey(nil)
				key, _ := ssh.NewPublicKey(public)
				err := client.Send(context.Background(), "POST", "/v1/connect",
					api.Connect{Server: "web-1", PublicKey: string(ssh.MarshalAuthorizedKey(key))}, nil)
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		jobs <- struct{}{}
	}
	close(jobs)
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connect/s")
}

// confirm says that a server has the newest state in force, as its agent would.
func (s *stack) confirm(name string) {
	s.t.Helper()
	servers, err := s.store.ServersByName(s.t.Context(), name)
	if err != nil || len(servers) != 1 {
		s.t.Fatal(servers, err)
	}
	team, err := s.store.Team(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	report := store.ServerReport{ConfirmedEpoch: team.Epoch, ConfirmedCounter: team.Revision}
	if _, err := s.store.ReportServer(s.t.Context(), servers[0].ID, report, store.Meta{Now: s.now()}); err != nil {
		s.t.Fatal(err)
	}
}
