package caller

import (
	"context"
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

// Refuse audits the event of a call as refused for a reason, and gives back why. If even
// that cannot be written down, the fault is what the caller hears of.
func Refuse(ctx context.Context, log store.AuditLog, e audit.Event, reason string, why error) error {
	e.Outcome, e.Reason = audit.Denied, reason
	if err := log.AppendAudit(ctx, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)}); err != nil {
		return err
	}
	return why
}
