package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

const (
	scimClientColumns = "c.id, c.name, c.provider, c.link_claim, c.token_hash, c.old_hash, c.old_until, c.state, c.paused_until, c.why, c.free_until, c.created_at, c.used_at"
	scimCounts        = ", (SELECT count(*) FROM scim_users u WHERE u.client_id = c.id), (SELECT count(*) FROM scim_groups g WHERE g.client_id = c.id)"
)

func scimClientInto(c *store.ScimClient) []any {
	return []any{&c.ID, &c.Name, &c.Provider, &c.LinkClaim, &c.TokenHash, &c.OldHash, &c.OldUntil, &c.State, &c.PausedUntil, &c.Why, &c.FreeUntil, &c.CreatedAt, &c.UsedAt}
}

func countedClientInto(c *store.ScimClient) []any {
	return append(scimClientInto(c), &c.Users, &c.Groups)
}

// CreateScimClient implements store.Provisioning. It is a directory command so that its
// provider is not deleted meanwhile.
func (s *Store) CreateScimClient(ctx context.Context, c store.ScimClient, m store.Meta) (store.ScimClient, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimClient, error) {
		if err := t.roomFor(store.MaxScimClients, `SELECT count(*) FROM scim_clients`); err != nil {
			return c, err
		}
		if err := t.knownSource(c.Provider); err != nil {
			return c, err
		}
		c.State, c.CreatedAt = store.Active, created(c.CreatedAt, t)
		_, err := t.exec(`INSERT INTO scim_clients (id, name, provider, link_claim, token_hash, old_hash, old_until, state, paused_until, why, free_until, created_at, used_at)
			VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0, '', 0, ?, 0)`, c.ID, c.Name, c.Provider, c.LinkClaim, c.TokenHash, []byte{}, c.State, c.CreatedAt)
		return c, err
	})
}

func (s *Store) scimClient(ctx context.Context, condition string, v any) (c store.ScimClient, err error) {
	err = one(s.reader(ctx), countedClientInto(&c), `SELECT `+scimClientColumns+scimCounts+` FROM scim_clients c WHERE `+condition, v)
	return c, err
}

// ScimClient implements store.Provisioning.
func (s *Store) ScimClient(ctx context.Context, id string) (store.ScimClient, error) {
	return s.scimClient(ctx, `c.id = ?`, id)
}

// ScimClientByName implements store.Provisioning.
func (s *Store) ScimClientByName(ctx context.Context, name string) (store.ScimClient, error) {
	return s.scimClient(ctx, `c.name = ?`, name)
}

// ScimClients implements store.Provisioning.
func (s *Store) ScimClients(ctx context.Context, p store.Page) ([]store.ScimClient, string, error) {
	return list[store.ScimClient]{
		query: `SELECT ` + scimClientColumns + scimCounts + ` FROM scim_clients c WHERE true`,
		order: "c.name", id: "c.id", into: countedClientInto,
		key: func(c *store.ScimClient) (any, string) { return c.Name, c.ID },
	}.page(ctx, s, p)
}

// AuthenticateScim implements store.Provisioning.
func (s *Store) AuthenticateScim(ctx context.Context, tokenHash []byte, now time.Time) (c store.ScimClient, err error) {
	err = one(s.reader(ctx), scimClientInto(&c), `SELECT `+scimClientColumns+` FROM scim_clients c WHERE c.token_hash = ?
		UNION ALL SELECT `+scimClientColumns+` FROM scim_clients c WHERE c.old_until <> 0 AND c.old_hash = ? AND c.old_until > ?`, tokenHash, tokenHash, now)
	return c, err
}

// SeenScimClient implements store.Provisioning.
func (s *Store) SeenScimClient(ctx context.Context, id string, now time.Time) error {
	return s.do(ctx, store.Meta{Now: now}, func(t *tx) error {
		_, err := t.exec(`UPDATE scim_clients SET used_at = ? WHERE id = ? AND used_at < ?`, now, id, now)
		return err
	})
}

// lockScimClient locks one whatever its state.
func (t *tx) lockScimClient(id string) (c store.ScimClient, err error) {
	err = one(t, scimClientInto(&c), `SELECT `+scimClientColumns+` FROM scim_clients c WHERE c.id = ? /*lock*/`, id)
	return c, err
}

// scimClient locks one that may change something.
func (t *tx) scimClient(id string) (store.ScimClient, error) {
	c, err := t.lockScimClient(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && c.State != store.Active {
		err = fmt.Errorf("client: %w", store.ErrDenied)
	}
	return c, err
}

// UpdateScimClient implements store.Provisioning.
func (s *Store) UpdateScimClient(ctx context.Context, id string, v store.ScimClientChange, m store.Meta) (store.ScimClient, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimClient, error) {
		c, err := t.lockScimClient(id)
		if err != nil {
			return c, err
		}
		set(&c.State, v.State)
		if len(v.TokenHash) > 0 {
			c.OldHash, c.OldUntil, c.TokenHash = c.TokenHash, v.OldUntil, v.TokenHash
		}
		if v.Resume {
			c.PausedUntil, c.Why, c.FreeUntil = time.Time{}, "", moment(micros(t.now.Add(store.BrakeRelease)))
			if _, err := t.exec(`DELETE FROM scim_removals WHERE client_id = ?`, id); err != nil {
				return c, err
			}
		}
		_, err = t.exec(`UPDATE scim_clients SET state = ?, token_hash = ?, old_hash = ?, old_until = ?, paused_until = ?, why = ?, free_until = ? WHERE id = ?`,
			c.State, c.TokenHash, c.OldHash, c.OldUntil, c.PausedUntil, c.Why, c.FreeUntil, id)
		return c, err
	})
}

// DeleteScimClient implements store.Provisioning.
func (s *Store) DeleteScimClient(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := t.lockScimClient(id); err != nil {
			return err
		}
		if err := t.restoreIdentities(id); err != nil {
			return err
		}
		for _, q := range []string{
			`UPDATE user_groups SET source = '', external = '' WHERE source = ?`,
			`DELETE FROM scim_groups WHERE client_id = ?`,
			`DELETE FROM scim_users WHERE client_id = ?`,
			`DELETE FROM scim_removals WHERE client_id = ?`,
			`DELETE FROM scim_waiting WHERE client_id = ?`,
			`DELETE FROM scim_released WHERE client_id = ?`,
			`DELETE FROM scim_clients WHERE id = ?`,
		} {
			if _, err := t.exec(q, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// brake counts users who are about to lose something, and refuses where that would be too
// many. Commands of the directory go one after the other, so nothing is counted past it.
func (t *tx) brake(c store.ScimClient, users ...string) error {
	if len(users) == 0 || t.now.Before(c.FreeUntil) {
		return nil
	}
	if c.Paused(t.now) {
		return store.ErrBraked
	}
	if _, err := t.exec(`DELETE FROM scim_removals WHERE client_id = ? AND at <= ?`, c.ID, t.now.Add(-store.BrakeWindow)); err != nil {
		return err
	}
	counted, active := 0, 0
	if err := one(t, []any{&counted, &active}, `SELECT (SELECT count(*) FROM scim_removals WHERE client_id = ?), (SELECT count(*) FROM scim_users WHERE client_id = ? AND active)`, c.ID, c.ID); err != nil {
		return err
	}
	for _, u := range users {
		again := false
		if err := one(t, []any{&again}, `SELECT EXISTS (SELECT 1 FROM scim_removals WHERE client_id = ? AND user_id = ?)`, c.ID, u); err != nil {
			return err
		}
		if !again {
			counted++
		}
	}
	if counted >= store.BrakeLeast && counted*store.BrakeShare > active {
		// Who was locked out within the window was one of them when it began.
		gone := 0
		if err := one(t, []any{&gone}, `SELECT count(*) FROM scim_removals r WHERE r.client_id = ?
			AND NOT EXISTS (SELECT 1 FROM scim_users u WHERE u.user_id = r.user_id AND u.active)`, c.ID); err != nil {
			return err
		}
		if of := active + gone; counted*store.BrakeShare > of {
			return t.pause(c, counted, of)
		}
	}
	for _, u := range users {
		if _, err := t.exec(`INSERT INTO scim_removals (client_id, user_id, at) VALUES (?, ?, ?)
			ON CONFLICT (client_id, user_id) DO UPDATE SET at = excluded.at`, c.ID, u, t.now); err != nil {
			return err
		}
	}
	return nil
}

// pause stops a client, and raises the alarm. What it wanted does not happen.
func (t *tx) pause(c store.ScimClient, counted, of int) error {
	why := fmt.Sprintf("it was about to take access from %d of %d users within %d minutes", counted, of, int(store.BrakeWindow.Minutes()))
	if _, err := t.exec(`UPDATE scim_clients SET paused_until = ?, why = ? WHERE id = ?`, t.now.Add(store.BrakePause), why, c.ID); err != nil {
		return err
	}
	return kept{error: store.ErrBraked, audit: [][]byte{audit.Encode(audit.Event{
		Time: t.now, Action: audit.ScimBrake, Outcome: audit.Denied, Reason: why, Actor: c.ID,
		Detail: map[string]string{"client": c.ID, "name": c.Name, "users": strconv.Itoa(counted), "of": strconv.Itoa(of)},
	})}}
}
