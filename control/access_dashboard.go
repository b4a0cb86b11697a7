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
	if who.Kind != store.KindUser || who.Session.ID == "" || who.Session.User != who.User.ID {
		return s.signIn("this session is not known here")
	}
	return s.allowSession(who, now)
}

// seeDashboard notes that a person used the dashboard, as see does for other sessions.
func (s *Server) seeDashboard(ctx context.Context, by caller.Caller) {
	s.note(ctx, by.Session, s.options.Now(), s.options.Store.SeeDashboard)
}
