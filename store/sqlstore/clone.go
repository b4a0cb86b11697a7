package sqlstore

import (
	"context"
	"fmt"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// beat judges the beat of a report of v, whose row is locked.
func (t *tx) beat(v store.Server, b *store.Beat) (store.Pulse, error) {
	var before store.Rhythm
	if b == nil || v.State == store.Held {
		return store.Pulse{}, nil
	}
	now := *b // the caller's stays as it is
	if err := one(t, []any{&before, &now.Epoch}, `SELECT s.rhythm, t.epoch FROM servers s CROSS JOIN team t WHERE s.id = ?`, v.ID); err != nil {
		return store.Pulse{}, err
	}
	after, verdict := before.Judge(now, t.now)
	switch verdict {
	case store.Copied:
		return t.hold(v, before, *b)
	case store.Doubtful:
		t.audit = nil // it tells of what may be over
		_, err := t.exec(`UPDATE servers SET rhythm = ? WHERE id = ?`, after, v.ID)
		return store.Pulse{Soon: true}, err
	}
	_, err := t.exec(`UPDATE servers SET rhythm = ? WHERE id = ?`, after, v.ID)
	return store.Pulse{Word: after.Word}, err
}

// hold stops everything for a server whose credential is in two places, and
// drops what this report would have told: it may be the copy's.
func (t *tx) hold(v store.Server, r store.Rhythm, b store.Beat) (store.Pulse, error) {
	other := r.Other(b)
	why := fmt.Sprintf("two hosts use its credential, one at %s and one at %s", other, b.Where)
	if other == b.Where {
		why = fmt.Sprintf("two hosts at %s use its credential, or its disk was put back to an older state", b.Where)
	}
	_, err := t.exec(`UPDATE servers SET state = ?, held = ? WHERE id = ?`, store.Held, why, v.ID)
	if err != nil {
		return store.Pulse{}, err
	}
	t.audit = [][]byte{audit.Encode(audit.Event{
		Time: t.now, Action: audit.ServerClone, Actor: v.ID, Server: v.ID, Project: v.Project,
		Outcome: audit.Denied, Reason: why, Detail: map[string]string{"name": v.Name, "address": b.Where, "other": other},
	})}
	if err := t.orderEnd(endServer, `server_id = ?`, v.ID); err != nil {
		return store.Pulse{}, err
	}
	return store.Pulse{Held: why}, t.markServer(v)
}

// ReleaseServer implements store.Enrolments.
func (s *Store) ReleaseServer(ctx context.Context, id string, m store.Meta) (store.Server, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Server, error) {
		v, err := server(t, id, "/*lock*/")
		if err != nil {
			return v, err
		}
		if v.State != store.Held {
			return v, fmt.Errorf("the server is not held: %w", store.ErrDenied)
		}
		v.State, v.Held = store.Active, ""
		if _, err := t.exec(`UPDATE servers SET state = ?, held = '', rhythm = '' WHERE id = ?`, v.State, id); err != nil {
			return v, err
		}
		return v, t.markServer(v)
	})
}
