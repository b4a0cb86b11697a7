package caller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

func TestTheContextCarriesTheCaller(t *testing.T) {
	if _, ok := From(t.Context()); ok {
		t.Error("an empty context has a caller")
	}
	want := Caller{Source: "192.0.2.1", Subject: store.Subject{Kind: store.KindServer, Server: store.Server{ID: "srv_1"}}}
	got, ok := From(With(t.Context(), want))
	if !ok || got.ID() != "srv_1" || got.Source != want.Source {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyAPersonIsAnAdministrator(t *testing.T) {
	for _, kind := range []string{"", store.KindServer, store.KindGateway} {
		c := Caller{Subject: store.Subject{Kind: kind, User: store.User{Admin: true}}}
		if c.IsAdmin() {
			t.Errorf("a caller of kind %q is an administrator", kind)
		}
	}
}

func TestMetaForKeepsTheCallersKeyAsItWas(t *testing.T) {
	c := Caller{Idempotency: &store.Idempotency{Scope: "ses_1", Key: "k"}, Proof: &store.Proof{JTI: "j"}}
	m := c.MetaFor(time.Unix(1, 0), "usr_1", []byte("row"))
	if m.Idempotency.Ref != "usr_1" || m.Idempotency.Key != "k" || m.Proof.JTI != "j" || len(m.Audit) != 1 {
		t.Errorf("got %+v", m)
	}
	if c.Idempotency.Ref != "" {
		t.Error("the caller's own key was written to")
	}
}

func TestExplain(t *testing.T) {
	fault := errors.New("disk on fire")
	for _, c := range []struct {
		name string
		err  error
		want api.Kind
	}{
		{"nothing is nothing", nil, ""},
		{"an unknown row", fmt.Errorf("user: %w", store.ErrNotFound), api.NotFound},
		{"a taken name", store.ErrExists, api.Conflict},
		{"a row that others need", store.ErrInUse, api.Conflict},
		{"a used one-time value", store.ErrUsed, api.Gone},
		{"the last administrator", store.ErrLastAdmin, api.Conflict},
		{"a fact that does not hold", store.ErrDenied, api.Denied},
		{"a replayed proof", store.ErrReplayed, api.UseNonce},
		{"an idempotency key with another request", store.ErrMismatch, api.Conflict},
		{"one more than there may be", store.ErrTooMany, api.Limited},
		{"two users who are one person", store.ErrSamePerson, api.Denied},
		{"a busy engine", store.ErrBusy, api.Unavailable},
		{"a fault of the engine stays unmarked", fault, api.Internal},
		{"what is explained stays", api.Errorf(api.Limited, "later"), api.Limited},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := api.KindOf(Explain(c.err, "user alice")); got != c.want {
				t.Errorf("kind %q, want %q", got, c.want)
			}
		})
	}
	if err := Explain(context.Canceled, "x"); !errors.Is(err, context.Canceled) {
		t.Error("a cancelled call is not a fault")
	}
}
