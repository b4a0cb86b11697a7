package recordings

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// Late is how long after its session a recording may be on its way before somebody
	// should look: it is stored within minutes, and tried for ever while a bucket is away.
	Late = time.Hour
	// LateEvery is how often that is looked at.
	LateEvery = time.Hour
	// lateRows are looked at at a time.
	lateRows = 500
)

// NoteLate notes recordings that nobody stores, once each: their gateway has died, or was
// taken over, or cannot reach its bucket. A recording that was begun never vanishes
// without a word.
func (s *Service) NoteLate(ctx context.Context) error {
	for {
		now := s.now()
		rows, err := s.Store.LateRecordings(ctx, now.Add(-Late), lateRows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			e := audit.Event{
				Time: now, Action: audit.RecordingOverdue, Outcome: audit.Failed, User: r.User, Server: r.Server, Project: r.Project, Gateway: r.Gateway, Session: r.UserSession,
				Reason: "its session is over, and nobody stores the recording", Detail: map[string]string{"gateway_session": r.ID, "state": r.State, "keeper": r.Keeper},
			}
			if r.EndedAt.IsZero() {
				e.Reason = "its gateway has not been heard of, and nobody stores the recording"
			}
			if err := s.Store.NoteLate(ctx, r.ID, store.Meta{Now: now, Audit: audit.EncodeAll(e)}); err != nil {
				return err
			}
		}
		if len(rows) < lateRows {
			return nil
		}
	}
}
