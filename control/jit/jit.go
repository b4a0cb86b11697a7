// Package jit is access just in time: people ask for a membership in a group for a while,
// with a reason, and who a rule names says yes or no.
//
// What is given is a membership with an end. So certificates, desired states, catalogs and
// the end of sessions know nothing of requests, and nothing has to run for the access to be
// over. The store decides in one transaction who may ask, who may answer, and that nobody
// answers himself; what this package checks before is there to say it in better words.
package jit

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// Doors finds which requests would let somebody into what a name stands for.
type Doors interface {
	Openings(ctx context.Context, by caller.Caller, ref string) ([]lookup.Opening, error)
}

// Service works on one store. Store and Doors are needed.
type Service struct {
	Store store.Store
	Doors Doors
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// refuse audits a refusal and gives back why. If even that cannot be written down, the
// fault is what the caller hears of.
func (s *Service) refuse(ctx context.Context, e audit.Event, why *api.Error) error {
	return caller.Refuse(ctx, s.Store, e, why.Detail, why)
}

// checkText takes one line that moves no cursor; needed says that it may not be empty.
func checkText(text string, needed bool) error {
	if needed && text == "" || len(text) > api.MaxRequestReason || ident.Text(text) != text {
		return api.Errorf(api.Invalid, "a reason is one line of at most %d bytes, without control characters and backslashes", api.MaxRequestReason).
			WithHint("give another --reason")
	}
	return nil
}

// checkSpan takes whole seconds between the bounds.
func checkSpan(d, longest time.Duration) error {
	if d < api.MinRequest || d > longest {
		return api.Errorf(api.Invalid, "that may be %s to %s here, not %s", lookup.Span(api.MinRequest), lookup.Span(longest), lookup.Span(d)).
			WithHint("give another --for")
	}
	return nil
}

func (s *Service) group(ctx context.Context, ref string) (store.Group, error) {
	return lookup.Find(ctx, lookup.Kind[store.Group]{Name: "group", Prefix: ident.UserGroup, ByID: s.Store.Group, ByName: s.Store.GroupByName}, ref)
}

// rule finds one by its id, for who may know of it.
func (s *Service) rule(ctx context.Context, id string) (store.RequestRule, error) {
	r, err := store.RequestRule{}, store.ErrNotFound
	if ident.Check(id, ident.RequestRule) == nil {
		r, err = s.Store.RequestRule(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return r, noRule(id)
	}
	return r, err
}

func noRule(id string) *api.Error {
	return api.Errorf(api.NotFound, "there is no request rule %q", lookup.Shown(id)).WithHint("to see what there is type: cardea requests rules")
}

func noRequest(id string) *api.Error {
	return api.Errorf(api.NotFound, "there is no request %q", lookup.Shown(id)).
		WithHint("to see your own type: cardea requests list; to see those that you may answer type: cardea requests pending")
}
