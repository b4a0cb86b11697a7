package caller

import (
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// Event begins the audit event of what this call did: who, from where, when,
// allowed. The domain adds what it was about, or that it was refused.
func (c Caller) Event(now time.Time, action string) audit.Event {
	e := audit.Event{Time: now, Action: action, Outcome: audit.Allowed, Source: c.Source}
	switch c.Kind {
	case store.KindUser:
		e.Actor, e.Session = c.User.ID, c.Session.ID
	case store.KindServer:
		e.Actor, e.Server, e.Project = c.Server.ID, c.Server.ID, c.Server.Project
	case store.KindGateway:
		e.Actor, e.Gateway = c.Gateway.ID, c.Gateway.ID
	}
	return e
}
