package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	recordingColumns = gatewaySessionColumns + ", r.required, r.state, r.keeper, r.segments, r.bytes, r.place, r.head, r.key_id, r.seconds, r.cause, r.fault, r.changed_at, r.overdue_at"
	recordingRows    = `SELECT ` + recordingColumns + ` FROM recordings r JOIN gateway_sessions h ON h.id = r.session_id WHERE `
)

func recordingInto(r *store.Recording) []any {
	return append(gatewaySessionInto(&r.GatewaySession),
		&r.Required, &r.State, &r.Keeper, &r.Segments, &r.Bytes, &r.Place, &r.Head, &r.Key, &r.Seconds, &r.EndCause, &r.Fault, &r.ChangedAt, &r.OverdueAt)
}

// beginRecording is part of a claim.
func (t *tx) beginRecording(session string, c store.ClaimedRecord) error {
	var used bool
	if err := one(t, []any{&used}, `SELECT EXISTS (SELECT 1 FROM issuances WHERE kind = '`+store.IssueTarget+`' AND public_key = ?)`, c.Target.PublicKey); err != nil {
		return err
	}
	if used {
		return fmt.Errorf("the key was certified before: %w", store.ErrUsed)
	}
	c.Target.GatewaySession, c.Host.GatewaySession = session, session
	if err := t.recordIssuance(c.Target); err != nil {
		return err
	}
	if err := t.recordIssuance(c.Host); err != nil {
		return err
	}
	// The session's row is there, or the command as a whole is refused.
	return t.mustLater(store.ErrDenied, `INSERT INTO recordings (session_id, required, state, keeper, segments, bytes, place, head, key_id, seconds, cause, fault, changed_at, overdue_at)
		SELECT h.id, ?, ?, h.gateway_id, 0, 0, '', '', '', 0, '', '', ?, 0 FROM gateway_sessions h WHERE h.id = ?`, c.Required, store.RecordingRunning, t.now, session)
}

// keepRecordingKeys adds those that are not kept yet. It reads first: a report comes
// each two minutes, and a key each day.
func (t *tx) keepRecordingKeys(gateway string, keys []store.RecordingKey) error {
	for _, k := range keys {
		var owner string
		var public []byte
		err := one(t, []any{&owner, &public}, `SELECT gateway_id, public FROM recording_keys WHERE id = ?`, k.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			_, err = t.exec(`INSERT INTO recording_keys (id, gateway_id, public, since) VALUES (?, ?, ?, ?)`, k.ID, gateway, k.Public, t.now)
		case err == nil && (owner != gateway || !bytes.Equal(public, k.Public)):
			err = fmt.Errorf("recording key %s is another's: %w", k.ID, store.ErrExists)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func recordingKeyInto(k *store.RecordingKey) []any {
	return []any{&k.ID, &k.Gateway, &k.Public, &k.Since}
}

const recordingKeyRows = `SELECT k.id, k.gateway_id, k.public, k.since FROM recording_keys k WHERE `

// RecordingKeys implements store.Recordings.
func (s *Store) RecordingKeys(ctx context.Context, p store.Page) ([]store.RecordingKey, string, error) {
	return list[store.RecordingKey]{
		query: recordingKeyRows + `true`, order: "k.since", id: "k.id", into: recordingKeyInto,
		key: func(k *store.RecordingKey) (any, string) { return k.Since, k.ID },
	}.page(ctx, s, p)
}

// RecordingKey implements store.Recordings.
func (s *Store) RecordingKey(ctx context.Context, id string) (store.RecordingKey, error) {
	var k store.RecordingKey
	err := one(s.reader(ctx), recordingKeyInto(&k), recordingKeyRows+`k.id = ?`, id)
	return k, err
}

// ReportRecording implements store.Recordings.
func (s *Store) ReportRecording(ctx context.Context, session string, v store.Recording, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		var old store.Recording
		if err := one(t, recordingInto(&old), recordingRows+`r.session_id = ? /*lock*/`, session); err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		if v.Keeper != old.Gateway {
			if heir, err := heirOf(t, old.Gateway, t.now); err != nil || heir != v.Keeper {
				return cmp.Or(err, fmt.Errorf("the recordings of its gateway were not handed over to this one: %w", store.ErrDenied))
			}
		}
		if told(old) == told(v) || older(old.State, v.State) {
			t.audit = nil
			return nil
		}
		if why := undoes(old, v); why != "" {
			return fmt.Errorf("%s: %w", why, store.ErrDenied)
		}
		if old.State == v.State && old.Fault == v.Fault {
			t.audit = nil // one segment more is nothing to tell
		}
		return t.must(store.ErrNotFound, `UPDATE recordings SET keeper = ?, state = ?, segments = ?, bytes = ?, place = ?, head = ?, key_id = ?, seconds = ?, cause = ?, fault = ?, changed_at = ?
			WHERE session_id = ?`, v.Keeper, v.State, v.Segments, v.Bytes, v.Place, v.Head, v.Key, v.Seconds, v.EndCause, v.Fault, t.now, session)
	})
}

// HandOver implements store.Recordings.
func (s *Store) HandOver(ctx context.Context, gateway, heir string, until time.Time, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if _, err := t.exec(`DELETE FROM recording_heirs WHERE gateway_id = ?`, gateway); err != nil || heir == "" {
			return err
		}
		return t.must(store.ErrNotFound, `INSERT INTO recording_heirs (gateway_id, heir_id, until) SELECT ?, w.id, ? FROM gateways w
			WHERE w.id = ? AND (EXISTS (SELECT 1 FROM gateways WHERE id = ?) OR EXISTS (SELECT 1 FROM recording_keys WHERE gateway_id = ?))`,
			gateway, until, heir, gateway, gateway)
	})
}

// Heir implements store.Recordings.
func (s *Store) Heir(ctx context.Context, gateway string, now time.Time) (string, error) {
	return heirOf(s.reader(ctx), gateway, now)
}

func heirOf(db querier, gateway string, now time.Time) (heir string, err error) {
	err = one(db, []any{&heir}, `SELECT e.heir_id FROM recording_heirs e WHERE e.gateway_id = ? AND e.until > ?`, gateway, now)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return heir, err
}

// told is what a report says.
func told(v store.Recording) [9]any {
	return [9]any{v.State, v.Segments, v.Bytes, v.Place, v.Head, v.Key, v.Seconds, v.EndCause, v.Fault}
}

// older tells news that is older than what is known: it was under way for long, or
// another gateway has imported the spool meanwhile.
func older(old, v string) bool {
	order := []string{store.RecordingRunning, store.RecordingFinished, store.RecordingDamaged, store.RecordingStored}
	return slices.Index(order, v) < slices.Index(order, old) && v != store.RecordingDamaged
}

// undoes says what a report would take back of what is known, or nothing.
func undoes(old, v store.Recording) string {
	switch {
	case old.State == store.RecordingStored:
		return "a recording that is stored does not change"
	case old.Head != "" && v.Head != old.Head && old.State != store.RecordingDamaged && v.State != store.RecordingDamaged && old.State != store.RecordingRunning:
		return "the end of a recording does not change"
	case v.Segments < old.Segments && v.State != store.RecordingDamaged:
		return "what is stored does not become less"
	case old.Place != "" && v.Place != old.Place:
		return "a recording stays where it is"
	}
	return ""
}

// Recording implements store.Recordings.
func (s *Store) Recording(ctx context.Context, session string) (store.Recording, error) {
	var r store.Recording
	err := one(s.reader(ctx), recordingInto(&r), recordingRows+`r.session_id = ?`, session)
	return r, err
}

// Recordings implements store.Recordings.
func (s *Store) Recordings(ctx context.Context, of store.RecordingsOf, p store.Page) ([]store.Recording, string, error) {
	l := list[store.Recording]{
		query: recordingRows + `true`, order: "h.started_at", id: "h.id", newest: true, into: recordingInto,
		key: func(r *store.Recording) (any, string) { return r.StartedAt, r.ID },
	}
	var args []any
	if of.User != "" {
		l.query += ` AND h.user_id = ?`
		args = append(args, of.User)
	}
	if of.Server != "" {
		l.query += ` AND h.server_id = ?`
		args = append(args, of.Server)
	}
	return l.page(ctx, s, p, args...)
}

// LateRecordings implements store.Recordings.
func (s *Store) LateRecordings(ctx context.Context, before time.Time, limit int) ([]store.Recording, error) {
	return all(s.reader(ctx), recordingInto, recordingRows+`r.state IN ('recording', 'finished') AND r.overdue_at = 0 AND h.started_at < ?
		AND (h.ended_at <> 0 AND h.ended_at < ? OR h.ended_at = 0 AND NOT EXISTS (SELECT 1 FROM gateways w WHERE w.id = h.gateway_id AND w.reported_at >= ?))
		ORDER BY h.started_at, h.id LIMIT ?`, before, before, before, clamp(limit))
}

// NoteLate implements store.Recordings.
func (s *Store) NoteLate(ctx context.Context, session string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		n, err := t.exec(`UPDATE recordings SET overdue_at = ? WHERE session_id = ? AND overdue_at = 0 AND state IN ('recording', 'finished')`, t.now, session)
		if n == 0 {
			t.audit = nil
		}
		return err
	})
}
