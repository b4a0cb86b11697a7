package control

import (
	"context"
	"net/http"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// The inputs of the domains' routes are put together of small parts; the
// framework must find what is in them.
func TestInputsMadeOfPartsAreFilled(t *testing.T) {
	var got struct {
		MemberRef
		Waiting
		Body api.NewGroup
	}
	w := newWorld(t, func(t *table) {
		handle(t, route{Method: "PUT", Path: "/v1/x/{group}/{user}", Access: Admin, Doc: "x"},
			func(_ context.Context, _ caller.Caller, in *struct {
				MemberRef
				Waiting
				Body api.NewGroup
			}) (*api.Named, error) {
				got = *in
				return &api.Named{}, nil
			})
	})
	admin := w.join(store.KindUser, "t", func(s *store.Subject) { s.User.Admin = true })
	res := w.send(admin.request("PUT", "/v1/x/web%2Fdb/alice?wait=7", `{"name":"ops"}`))
	if res.StatusCode != http.StatusOK || got.Group != "web/db" || got.User != "alice" || got.Wait != 7 || got.Body.Name != "ops" {
		t.Errorf("status %d %s, got %+v", res.StatusCode, res.body, got)
	}
}
