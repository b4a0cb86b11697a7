package sqlstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// sweepRows of each kind go with one call: a sweep must not keep commands waiting.
const sweepRows = 1000

// requestTime is how long an auth request is kept that brought a session: so long a code
// that comes a second time still revokes that one. Others go with their end, for anybody
// can begin them.
const requestTime = 24 * time.Hour

// hostClock is how far the clock of a host may be behind ours: a revoked
// certificate is listed so long after its end.
const hostClock = 10 * time.Minute

// stale are the tables whose rows are kept for a time only, and how long after
// their end they still matter.
var stale = []struct {
	table, id, end string
	keep           time.Duration
}{
	{"proofs", "id", "expires_at", 0},
	{"nonces", "nonce", "expires_at", 0},
	{"auth_requests", "id", "expires_at", 0},
	{"device_grants", "id", "expires_at", 0},
	{"federations", "state_hash", "expires_at", 0},
	{"browser_sessions", "id", "expires_at", 0},
	{"dashboards", "id", "expires_at", dashboardsKept},
	{"attempts", "name", "ends_at", 0},
	{"known_browsers", "token_hash", "expires_at", 0},
	{"idempotency", "name", "expires_at", 0},
	{"access_requests", "id", "created_at", requestsKept},
	{"preauthorizations", "id", "until", 0},
	{"session_tokens", "token_hash", "expires_at", 0},
	{"workload_tokens", "token_hash", "expires_at", 0},
	{"invitations", "token_hash", "expires_at", 0},
	{"revoked_certificates", "serial", "until", hostClock},
}

// Sweep implements store.Store. It asks first: in most seconds nothing is over,
// and then nothing is written.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	r := s.reader(ctx)
	ended := false
	broken := false
	err := one(r, []any{&broken}, `SELECT EXISTS (SELECT 1 FROM break_glass WHERE ended_at = 0 AND until <= ?)`, now)
	if err == nil && broken { // before its grant is taken for one whose time was over
		err = s.doDirectory(ctx, store.Meta{Now: now}, (*tx).sweepGlass)
	}
	if err != nil {
		return err
	}
	err = one(r, []any{&ended}, `SELECT EXISTS (SELECT 1 FROM members WHERE until <> 0 AND until <= ?)
		OR EXISTS (SELECT 1 FROM grants WHERE until <> 0 AND until <= ?)`, now, now)
	if err == nil && ended {
		err = s.doDirectory(ctx, store.Meta{Now: now}, (*tx).sweepEnded)
	}
	if err != nil {
		return err
	}
	life, err := anyLife(r, now)
	if err == nil && life {
		err = s.doDirectory(ctx, store.Meta{Now: now}, (*tx).sweepLife)
	}
	if err != nil {
		return err
	}
	if err := s.sweepRequests(ctx, r, now); err != nil {
		return err
	}
	if err := s.sweepPrograms(ctx, r, now); err != nil {
		return err
	}
	for _, kind := range stale {
		where := ` FROM ` + kind.table + ` WHERE ` + kind.end + ` <= ?`
		before := now.Add(-kind.keep)
		found := false
		if err := one(r, []any{&found}, `SELECT EXISTS (SELECT 1`+where+`)`, before); err != nil {
			return err
		}
		if !found {
			continue
		}
		drop := `DELETE FROM ` + kind.table + ` WHERE ` + kind.end + ` <= ? AND ` + kind.id + ` IN (SELECT ` + kind.id + where + ` LIMIT ?)`
		err := s.do(ctx, store.Meta{Now: now}, func(t *tx) error {
			_, err := t.exec(drop, before, before, sweepRows)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// programsKept is how long the session of a program that is over can still be looked at.
// A busy CI begins thousands a day, and the audit has them all.
const programsKept = 24 * time.Hour

// programsOver are the sessions of programs that go. One whose connection still lives stays:
// by it the connection is found when its rule or its key is taken away.
const programsOver = ` FROM sessions x WHERE x.program AND x.expires_at <= ?
	AND NOT EXISTS (SELECT 1 FROM gateway_sessions h WHERE h.user_session = x.id AND h.ended_at = 0)`

// sweepPrograms forgets sessions of programs, and the devices of jobs, of which each token
// makes one. It is a command of the directory, as the sign-in of a program is: so no session
// begins on a device that goes.
func (s *Store) sweepPrograms(ctx context.Context, r querier, now time.Time) error {
	before, found := now.Add(-programsKept), false
	if err := one(r, []any{&found}, `SELECT EXISTS (SELECT 1`+programsOver+`)`, before); err != nil || !found {
		return err
	}
	return s.doDirectory(ctx, store.Meta{Now: now}, func(t *tx) error {
		const some = `(SELECT x.id` + programsOver + ` ORDER BY x.expires_at LIMIT ?)`
		if _, err := t.exec(`DELETE FROM session_tokens WHERE session_id IN `+some, before, sweepRows); err != nil {
			return err
		}
		devices, err := texts(t, `DELETE FROM sessions WHERE id IN `+some+`
			AND NOT EXISTS (SELECT 1 FROM session_tokens o WHERE o.session_id = sessions.id) RETURNING device_id`, before, sweepRows)
		slices.Sort(devices)
		for _, d := range slices.Compact(devices) {
			if err == nil {
				err = t.forgetDevice(d)
			}
		}
		return err
	})
}

// forgetDevice drops a device of a job that has no session left. That of a key stays as long
// as the key, and one that was revoked stays for ever, so that its key never comes back.
func (t *tx) forgetDevice(id string) error {
	_, err := t.exec(`DELETE FROM devices WHERE id = ? AND state = '`+store.Active+`' AND NOT EXISTS (SELECT 1 FROM sessions x WHERE x.device_id = devices.id)
		AND NOT EXISTS (SELECT 1 FROM service_keys k WHERE k.thumbprint = devices.thumbprint AND k.user_id = devices.user_id)`, id)
	return err
}

// sweepEnded removes memberships and grants whose time is over, as their
// removal by hand would.
func (t *tx) sweepEnded() error {
	members, err := all(t, func(m *store.Member) []any { return []any{&m.Group, &m.User} },
		`SELECT group_id, user_id FROM members WHERE until <> 0 AND until <= ? LIMIT ?`, t.now, sweepRows)
	if err != nil {
		return err
	}
	for _, m := range members {
		err := t.removeMember(m.Group, m.User)
		if errors.Is(err, store.ErrNotFound) {
			continue // another instance was first
		}
		if err != nil {
			return err
		}
		t.tell(audit.Event{Action: audit.MemberEnd, User: m.User, Detail: map[string]string{"group": m.Group}})
	}
	grants, err := all(t, func(g *store.Grant) []any { return []any{&g.Project, &g.ID, &g.Group} },
		`SELECT project_id, id, group_id FROM grants WHERE until <> 0 AND until <= ? LIMIT ?`, t.now, sweepRows)
	if err != nil {
		return err
	}
	for _, g := range grants {
		err := t.deleteGrant(g.Project, g.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		t.tell(audit.Event{Action: audit.GrantEnd, Project: g.Project, Detail: map[string]string{"grant": g.ID, "group": g.Group}})
	}
	return nil
}

// tell adds an audit event of the store's own: nobody asked for the end.
func (t *tx) tell(e audit.Event) {
	e.Time, e.Outcome, e.Reason = t.now, audit.Allowed, "its time was over"
	t.audit = append(t.audit, audit.Encode(e))
}
