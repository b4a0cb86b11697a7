package sqlstore

import (
	"fmt"

	"github.com/cardea-ssh/cardea/store"
)

func recordRulesInto(r *store.RecordRules) []any {
	return []any{&r.Recording, &r.Recipients, &r.RecordInput, &r.X11Forwarding}
}

func recordRulesOf(r store.RecordRules) []any {
	return []any{r.Recording, r.Recipients, r.RecordInput, r.X11Forwarding}
}

// checkRecord looks at what is about to be written, since two changes at a time may
// each be good: without a gateway that is required nobody records, and without
// recipients nobody could read it.
func checkRecord(p store.Project) error {
	if p.Records() && (p.Gateway != store.GatewayRequired || len(p.Recipients) == 0) {
		return fmt.Errorf("a recorded project needs a required gateway and recipients: %w", store.ErrDenied)
	}
	return nil
}
