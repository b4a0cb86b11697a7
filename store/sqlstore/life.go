package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// removedKept is for how long agents are told that an account is to be removed,
// and of one on demand that it is over. One that was away for longer only locks.
const removedKept = 180 * 24 * time.Hour

func rulesInto(r *store.AccountRules) []any {
	return []any{&r.Accounts, &r.AccountSeconds, &r.Removal, &r.RemovalHome, &r.RemovalSeconds, &r.SharedAccount, &r.SharedAdminAccount}
}

func rulesOf(r store.AccountRules) []any {
	return []any{r.Accounts, r.AccountSeconds, r.Removal, r.RemovalHome, r.RemovalSeconds, r.SharedAccount, r.SharedAdminAccount}
}

// leave notes that the access of these people may have ended now. The query
// gives project, user and server.
func (t *tx) leave(query string, vs ...any) error {
	values := append([]any{t.now, store.RemovalRemove, t.now}, vs...)
	_, err := t.exec(`INSERT INTO leavers (project_id, user_id, server_id, since, due, over)
		SELECT DISTINCT p.id, l.user_id, l.server_id, CAST(? AS BIGINT), CASE WHEN p.removal = ? THEN CAST(? AS BIGINT) + p.removal_seconds * 1000000 ELSE 0 END, false
		FROM (`+query+`) AS l JOIN projects p ON p.id = l.project_id WHERE true
		ON CONFLICT (project_id, user_id, server_id) DO UPDATE SET since = excluded.since, due = excluded.due, over = false`, values...)
	return err
}

// Who may lose access, for leave.
const (
	leaveGroup = `SELECT g.project_id AS project_id, m.user_id AS user_id, '' AS server_id
		FROM grants g JOIN members m ON m.group_id = g.group_id WHERE `
	leaveByMember  = leaveGroup + `m.group_id = ? AND m.user_id = ?`
	leaveByGrant   = leaveGroup + `g.id = ? AND g.project_id = ?`
	leaveByGroup   = leaveGroup + `g.group_id = ?`
	leaveByUser    = leaveGroup + `m.user_id = ?`
	leaveByProject = leaveGroup + `g.project_id = ?`
	leaveByServer  = `SELECT s.project_id AS project_id, m.user_id AS user_id, s.id AS server_id
		FROM servers s JOIN grants g ON g.project_id = s.project_id JOIN members m ON m.group_id = g.group_id WHERE s.id = ?`
	leaveByDemand = `SELECT d.project_id AS project_id, d.user_id AS user_id, d.server_id AS server_id
		FROM demands d WHERE d.server_id = ? AND d.user_id = ?`
)

// changeRules does what follows from other account rules of a project.
func (t *tx) changeRules(before, after store.Project) error {
	for _, name := range []string{after.SharedAccount, after.SharedAdminAccount} {
		if err := t.shareAccount(name); err != nil {
			return err
		}
	}
	if before.Removal != after.Removal || before.RemovalSeconds != after.RemovalSeconds {
		_, err := t.exec(`UPDATE leavers SET over = false, due = CASE WHEN ? = ? THEN since + CAST(? AS BIGINT) ELSE 0 END WHERE project_id = ?`,
			after.Removal, store.RemovalRemove, int64(after.RemovalSeconds)*int64(time.Second/time.Microsecond), after.ID)
		if err != nil {
			return err
		}
	}
	if before.Accounts != after.Accounts || before.SharedAccount != after.SharedAccount || before.SharedAdminAccount != after.SharedAdminAccount {
		return t.leave(leaveByProject, after.ID)
	}
	return nil
}

// shareAccount gives a shared account its uid. Its name is no user's login: that
// one's account would be another's here.
func (t *tx) shareAccount(name string) error {
	if name == "" {
		return nil
	}
	found := ""
	err := one(t, []any{&found}, `SELECT name FROM shared_accounts WHERE name = ?`, name)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := t.revision(); err != nil { // no user comes in between
		return err
	}
	taken := false
	if err := one(t, []any{&taken}, `SELECT EXISTS (SELECT 1 FROM users WHERE login = ?) OR EXISTS (SELECT 1 FROM user_groups WHERE name = ?)`, name, name); err != nil {
		return err
	}
	if taken {
		return store.ErrExists
	}
	uid, err := t.unixID()
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO shared_accounts (name, uid, created_at) VALUES (?, ?, ?)`, name, uid, t.now)
	return err
}

// freeOfShared: a login or a group is not called as a shared account.
func (t *tx) freeOfShared(name string) error {
	taken := false
	if err := one(t, []any{&taken}, `SELECT EXISTS (SELECT 1 FROM shared_accounts WHERE name = ?)`, name); err != nil {
		return err
	}
	if taken {
		return store.ErrExists
	}
	return nil
}

// SharedAccount implements store.Life.
func (s *Store) SharedAccount(ctx context.Context, name string) (v store.Shared, err error) {
	err = one(s.reader(ctx), sharedInto(&v), `SELECT name, uid FROM shared_accounts WHERE name = ?`, name)
	return v, err
}

func sharedInto(v *store.Shared) []any { return []any{&v.Name, &v.UID} }

func demandInto(d *store.Demand) []any { return []any{&d.User, &d.Until, &d.Over, &d.Revision} }

const demandColumns = "d.user_id, d.until, d.over, d.revision"

// Demand implements store.Life.
func (s *Store) Demand(ctx context.Context, server, user string) (store.Demand, error) {
	return demand(s.reader(ctx), server, user, "")
}

func demand(db querier, server, user, lock string) (d store.Demand, err error) {
	err = one(db, demandInto(&d), `SELECT `+demandColumns+` FROM demands d WHERE d.server_id = ? AND d.user_id = ? `+lock, server, user)
	return d, err
}

// DemandAccount implements store.Life.
func (s *Store) DemandAccount(ctx context.Context, id, user string, until time.Time, m store.Meta) (store.Demand, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Demand, error) {
		status := "" // people before servers, as RecordIssuance holds them
		if err := one(t, []any{&status}, `SELECT status FROM users WHERE id = ? /*share*/`, user); err != nil {
			return store.Demand{}, err
		}
		v, err := server(t, id, "/*lock*/") // whoever else demands of it waits
		if err != nil {
			return store.Demand{}, err
		}
		d, err := demand(t, id, user, "")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return d, err
		}
		until = moment(micros(until))
		if err == nil && !d.Over && d.Until.After(t.now) {
			if until.After(d.Until) {
				d.Until = until
				_, err = t.exec(`UPDATE demands SET until = ? WHERE server_id = ? AND user_id = ?`, until, id, user)
			}
			return d, err
		}
		if status != store.Active {
			return d, store.ErrDenied
		}
		d = store.Demand{User: user, Until: until}
		if d.Revision, err = t.markState(id); err != nil {
			return d, err
		}
		_, err = t.exec(`INSERT INTO demands (server_id, user_id, project_id, until, over, revision) VALUES (?, ?, ?, ?, false, ?)
			ON CONFLICT (server_id, user_id) DO UPDATE SET until = excluded.until, over = false, revision = excluded.revision`,
			id, user, v.Project, d.Until, d.Revision)
		return d, err
	})
}

// markState gives one server a new revision of its own.
func (t *tx) markState(id string) (int64, error) {
	rev, err := t.revision()
	if err != nil {
		return 0, err
	}
	t.touch(store.StateTopic(id))
	_, err = t.exec(`UPDATE servers SET revision = ? WHERE id = ?`, rev, id)
	return rev, err
}

// ServerFacts implements store.Life.
func (s *Store) ServerFacts(ctx context.Context, id string) (f store.ServerFacts, err error) {
	err = s.snapshot(ctx, func(r reader) (err error) {
		if f.Server, err = server(r, id, ""); err != nil {
			return err
		}
		f.Demands, err = all(r, demandInto, `SELECT `+demandColumns+` FROM demands d WHERE d.server_id = ? ORDER BY d.user_id`, id)
		return err
	})
	return f, err
}

// lifeFacts adds to a project's facts who left and what is shared, and the users
// who left and are in no group of it any more.
func lifeFacts(r reader, f *store.ProjectFacts) (err error) {
	id := f.Project.ID
	if f.Project.Removal == store.RemovalRemove {
		into := func(l *store.Leaver) []any { return []any{&l.User, &l.Server, &l.Over} }
		f.Leavers, err = all(r, into, `SELECT l.user_id, l.server_id, l.over FROM leavers l WHERE l.project_id = ? ORDER BY l.user_id, l.server_id`, id)
		if err != nil {
			return err
		}
		f.Left, err = all(r, userInto, `SELECT `+userColumns+` FROM users u WHERE u.id IN (SELECT user_id FROM leavers WHERE project_id = ? AND over) ORDER BY u.uid`, id)
		if err != nil {
			return err
		}
	}
	if f.Project.SharedAccount+f.Project.SharedAdminAccount != "" {
		f.Shared, err = all(r, sharedInto, `SELECT name, uid FROM shared_accounts WHERE name = ? OR name = ? ORDER BY name`, f.Project.SharedAccount, f.Project.SharedAdminAccount)
	}
	return err
}

// anyLife asks whether sweepLife has anything to do.
func anyLife(r reader, now time.Time) (found bool, err error) {
	err = one(r, []any{&found}, `SELECT EXISTS (SELECT 1 FROM leavers WHERE due <> 0 AND due <= ? AND NOT over)
		OR EXISTS (SELECT 1 FROM leavers WHERE due <> 0 AND due <= ?)
		OR EXISTS (SELECT 1 FROM demands WHERE until <= ? AND NOT over)
		OR EXISTS (SELECT 1 FROM demands WHERE until <= ?)`, now, now.Add(-removedKept), now, now.Add(-removedKept))
	return found, err
}

// sweepLife ends demands whose time is over and has accounts removed whose
// delay is, and forgets both when everybody has had time to hear of them.
func (t *tx) sweepLife() error {
	type row struct{ server, user, project string }
	into := func(d *row) []any { return []any{&d.server, &d.user, &d.project} }
	ended, err := all(t, into, `SELECT server_id, user_id, project_id FROM demands WHERE until <= ? AND NOT over ORDER BY until LIMIT ? /*lock*/`, t.now, sweepRows)
	if err != nil {
		return err
	}
	for _, d := range ended {
		if _, err := t.exec(`UPDATE demands SET over = true WHERE server_id = ? AND user_id = ?`, d.server, d.user); err != nil {
			return err
		}
		if err := t.leave(leaveByDemand, d.server, d.user); err != nil {
			return err
		}
		if _, err := t.markState(d.server); err != nil {
			return err
		}
		t.tell(audit.Event{Action: audit.AccountEnd, User: d.user, Server: d.server, Project: d.project})
	}
	due, err := all(t, into, `SELECT server_id, user_id, project_id FROM leavers WHERE due <> 0 AND due <= ? AND NOT over ORDER BY due LIMIT ? /*lock*/`, t.now, sweepRows)
	if err != nil {
		return err
	}
	for _, l := range due {
		if _, err := t.exec(`UPDATE leavers SET over = true WHERE project_id = ? AND user_id = ? AND server_id = ?`, l.project, l.user, l.server); err != nil {
			return err
		}
		if err := t.mark(`?`, l.project); err != nil {
			return err
		}
	}
	old := t.now.Add(-removedKept)
	if _, err := t.exec(`DELETE FROM leavers WHERE due <> 0 AND due <= ? AND over`, old); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM demands WHERE until <= ? AND over`, old)
	return err
}
