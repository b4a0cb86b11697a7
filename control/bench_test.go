package control

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
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
