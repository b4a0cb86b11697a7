package jit

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/store"
)

// fresh demands of who lets others into a project what the project demands of those who
// enter it: that he showed lately who he is. What counts is the sign-in that the call comes
// by, or what was shown on its device for this project since. e is the event of the answer.
func (s *Service) fresh(ctx context.Context, by caller.Caller, project string, e audit.Event) error {
	p, err := s.Store.Project(ctx, project)
	if errors.Is(err, store.ErrNotFound) {
		return nil // with the project its rules are gone, and nothing can be given
	}
	age := time.Duration(p.ReauthSeconds) * time.Second
	if err != nil || age == 0 {
		return err
	}
	shown := by.Session.AuthenticatedAt
	if by.Device.ID != "" {
		at, err := s.Store.ShownAt(ctx, by.Device.ID, p.ID)
		if err != nil {
			return err
		}
		if at.After(shown) {
			shown = at
		}
	}
	if s.now().Before(shown.Add(age)) {
		return nil
	}
	why := api.Errorf(api.SignIn, "project %s asks who you are each %s, also to let others in", p.Name, lookup.Span(age)).
		WithHint("type: cardea login --project %s", p.Name)
	why.Reauth = p.Name
	return s.refuse(ctx, e, why)
}
