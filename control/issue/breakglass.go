package issue

import (
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// underBreakGlass has the audit tell of a break-glass that made or refused a connection.
func underBreakGlass(e *audit.Event, t target) {
	if t.decision.BreakGlass == "" && t.decision.Reason != policy.Suspended {
		return
	}
	b := store.LatestBreakGlass(t.facts.BreakGlass, t.facts.Project.ID)
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	e.Detail["break_glass"], e.Detail["break_glass_reason"] = b.ID, b.Reason
}

// shownBreakGlass is what the user's catalog says of it; nil if there is none in force.
func shownBreakGlass(b policy.BreakGlass, d policy.Decision) *api.CatalogBreakGlass {
	switch {
	case d.BreakGlass != "":
		return &api.CatalogBreakGlass{ID: b.ID, Reason: b.Reason, Until: b.Until}
	case d.Reason == policy.Suspended:
		return &api.CatalogBreakGlass{ID: b.ID, Reason: b.Reason, Until: b.Until, Suspended: true}
	}
	return nil
}
