package sqlstore

import (
	"context"

	"github.com/cardea-ssh/cardea/store"
)

const (
	teamColumns = "t.id, t.name, t.epoch, t.revision, t.created_at"
	keyColumns  = "k.id, k.scope, k.purpose, k.state, k.public, k.fingerprint, k.sealed, k.revision, k.created_at, k.changed_at"
)

func teamInto(t *store.Team) []any {
	return []any{&t.ID, &t.Name, &t.Epoch, &t.Revision, &t.CreatedAt}
}

func keyInto(k *store.Key) []any {
	return []any{&k.ID, &k.Scope, &k.Purpose, &k.State, &k.Public, &k.Fingerprint, &k.Sealed, &k.Revision, &k.CreatedAt, &k.ChangedAt}
}

// CreateTeam implements store.Teams. The single row of the table makes sure
// that there is one team, however many instances try.
func (s *Store) CreateTeam(ctx context.Context, team store.Team, keys []store.Key, admin store.User, passwordHash string, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (store.User, error) {
		_, err := t.exec(`INSERT INTO team (one, id, name, epoch, revision, created_at) VALUES (1, ?, ?, ?, ?, ?)`,
			team.ID, team.Name, max(team.Epoch, 1), team.Revision, created(team.CreatedAt, t))
		if err != nil {
			return store.User{}, err
		}
		if _, err := t.exec(`INSERT INTO counters (name, value) VALUES ('unix', ?)`, store.FirstID-1); err != nil {
			return store.User{}, err
		}
		for _, k := range keys {
			if err := t.insertKey(k); err != nil {
				return store.User{}, err
			}
		}
		return t.insertUser(admin, passwordHash)
	})
}

func (t *tx) insertKey(k store.Key) error {
	_, err := t.exec(`INSERT INTO keys (id, scope, purpose, state, public, fingerprint, sealed, revision, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.Scope, k.Purpose, k.State, k.Public, k.Fingerprint, k.Sealed, k.Revision, created(k.CreatedAt, t))
	return err
}

// Team implements store.Teams.
func (s *Store) Team(ctx context.Context) (store.Team, error) {
	var v store.Team
	err := one(s.reader(ctx), teamInto(&v), `SELECT `+teamColumns+` FROM team t`)
	return v, err
}

const settingsColumns = "t.session_seconds, t.idle_seconds, t.second_factor, t.device_code, t.device_approval"

func settingsInto(v *store.TeamSettings) []any {
	return []any{&v.SessionSeconds, &v.IdleSeconds, &v.SecondFactor, &v.DeviceCode, &v.DeviceApproval}
}

// TeamSettings implements store.Teams.
func (s *Store) TeamSettings(ctx context.Context) (store.TeamSettings, error) {
	var v store.TeamSettings
	err := one(s.reader(ctx), settingsInto(&v), `SELECT `+settingsColumns+` FROM team t`)
	return v, err
}

// UpdateTeam implements store.Teams.
func (s *Store) UpdateTeam(ctx context.Context, c store.TeamChange, m store.Meta) (store.TeamSettings, error) {
	return get(ctx, s, m, true, func(t *tx) (store.TeamSettings, error) {
		var v store.TeamSettings
		if err := one(t, settingsInto(&v), `SELECT `+settingsColumns+` FROM team t /*lock*/`); err != nil {
			return v, err
		}
		set(&v.SessionSeconds, c.SessionSeconds)
		set(&v.IdleSeconds, c.IdleSeconds)
		set(&v.SecondFactor, c.SecondFactor)
		set(&v.DeviceCode, c.DeviceCode)
		set(&v.DeviceApproval, c.DeviceApproval)
		_, err := t.exec(`UPDATE team SET session_seconds = ?, idle_seconds = ?, second_factor = ?, device_code = ?, device_approval = ?`,
			v.SessionSeconds, v.IdleSeconds, v.SecondFactor, v.DeviceCode, v.DeviceApproval)
		return v, err
	})
}

const selectKeys = `SELECT ` + keyColumns + ` FROM keys k WHERE k.state <> '` + store.KeyRetired + `'
	AND (CAST(? AS TEXT) = '' OR k.scope = ?) AND (CAST(? AS TEXT) = '' OR k.purpose = ?)
	ORDER BY CASE k.state WHEN 'active' THEN 0 ELSE 1 END, k.created_at DESC, k.id`

// Keys implements store.Teams.
func (s *Store) Keys(ctx context.Context, scope, purpose string) ([]store.Key, error) {
	return keys(s.reader(ctx), scope, purpose)
}

func keys(db querier, scope, purpose string) ([]store.Key, error) {
	return all(db, keyInto, selectKeys, scope, scope, purpose, purpose)
}
