package control

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// allowDashboard decides whether who holds the token of a session of the dashboard may use
// it at now, as allowUser does for that of a device. A nil error is yes.
func (s *Server) allowDashboard(who store.Subject, now time.Time) *api.Error {
	since, unused := idle(who, now)
	switch {
	case who.Kind != store.KindUser || who.Session.ID == "" || who.Session.User != who.User.ID:
		return s.signIn("this session is not known here")
	case !who.Session.RevokedAt.IsZero():
		return s.signIn("this session was ended at %s", stamp(who.Session.RevokedAt))
	case !now.Before(who.Session.ExpiresAt):
		return s.over(who, who.Session.ExpiresAt)
	case unused:
		return s.signIn("this session was not used since %s, which is longer than the team allows", stamp(since))
	case who.User.Status != store.Active:
		return api.Errorf(api.Denied, "your account is %s", who.User.Status).WithHint("ask your administrator")
	}
	return nil
}

// seeDashboard notes that a person used the dashboard, as see does for other sessions.
func (s *Server) seeDashboard(ctx context.Context, by caller.Caller) {
	now := s.options.Now()
	if now.Sub(by.Session.SeenAt) < seeEvery || !s.sightings.first(by.Session.ID, now) {
		return
	}
	if err := s.options.Store.SeeDashboard(ctx, by.Session.ID, store.Meta{Now: now}); err != nil {
		// With an idle limit the session ends early, so nothing is opened by this.
		s.options.Logger.Error("note the use of a session", "session", by.Session.ID, "error", err)
		s.sightings.forget(by.Session.ID)
	}
}
