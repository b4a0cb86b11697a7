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
// enter it: an approved device, and that he showed lately who he is. What counts for that is
// the sign-in that the call comes by, or what was shown on its device for this project since.
// e is the event of the answer.
func (s *Service) fresh(ctx context.Context, by caller.Caller, project string, e audit.Event) error {
	p, err := s.Store.Project(ctx, project)
	if errors.Is(err, store.ErrNotFound) {
		return nil // with the project its rules are gone, and nothing can be given
	}
	if err == nil {
		err = s.approved(ctx, by, p, e)
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

// approved refuses who comes by a device that nobody approved, where that is demanded.
func (s *Service) approved(ctx context.Context, by caller.Caller, p store.Project, e audit.Event) error {
	why, err := s.unapproved(ctx, by, p)
	if why == nil || err != nil {
		return err
	}
	return s.refuse(ctx, e, why)
}

// unapproved says why nobody is let into a project by the device that the caller comes by; nil
// if it is good for that. A browser with the dashboard is no device: whoever has the password
// could open it anywhere.
func (s *Service) unapproved(ctx context.Context, by caller.Caller, p store.Project) (*api.Error, error) {
	demands, err := s.Store.TeamSettings(ctx)
	switch {
	case err != nil:
		return nil, err
	case by.Device.ID == "" && (demands.DeviceApproval || p.DeviceApproval):
		return api.Errorf(api.Denied, "devices are approved here, and a browser is none: others are let in from an approved device alone").
			WithHint("on one of yours type: cardea requests"), nil
	case by.Device.ID != "" && p.DeviceApproval && by.Device.ApprovedAt.IsZero():
		return api.Errorf(api.Denied, "project %s demands approved devices, also of who lets others in", p.Name).
			WithHint("ask an administrator to type: cardea admin devices approve %s", by.Device.ID), nil
	}
	return nil, nil
}

// NotFromHere says why the caller can let nobody into a project by the device, or the browser,
// that he comes by; nil if he can. So a page need not offer what it would refuse.
func (s *Service) NotFromHere(ctx context.Context, by caller.Caller, project string) (*api.Error, error) {
	p, err := s.Store.Project(ctx, project)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.unapproved(ctx, by, p)
}
