package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// CAs implements store.Trust.
func (s *Store) CAs(ctx context.Context) ([]store.Key, error) {
	found, err := all(s.reader(ctx), keyInto, `SELECT `+keyColumns+` FROM keys k WHERE k.purpose IN (?, ?, ?)
		ORDER BY k.scope, k.purpose, k.created_at DESC, k.id`, userCAPurpose, hostCAPurpose, gatewayCAPurpose)
	for i := range found {
		found[i].Sealed = nil
	}
	return found, err
}

// Key implements store.Trust.
func (s *Store) Key(ctx context.Context, id string) (store.Key, error) {
	var k store.Key
	err := one(s.reader(ctx), keyInto(&k), `SELECT `+keyColumns+` FROM keys k WHERE k.id = ?`, id)
	return k, err
}

// Rotation implements store.Trust.
func (s *Store) Rotation(ctx context.Context, scope, purpose string, now time.Time) (store.Rotation, error) {
	var v store.Rotation
	err := s.snapshot(ctx, func(r reader) (err error) {
		v, err = rotation(r, scope, purpose, now)
		return err
	})
	return v, err
}

// rotation reads it, inside a snapshot or a command.
func rotation(db querier, scope, purpose string, now time.Time) (v store.Rotation, err error) {
	found, err := keys(db, scope, purpose)
	if err != nil {
		return v, err
	}
	for _, k := range found {
		switch k.State {
		case store.KeyNext:
			v.Next = k
		case store.Active:
			v.Active = k
		case store.KeyPrevious:
			v.Previous = k
		}
	}
	if scope == "" || purpose == "" || v.Active.ID == "" {
		return v, fmt.Errorf("CA: %w", store.ErrNotFound)
	}
	newest, leaving := v.Active, v.Previous
	if v.Next.ID != "" {
		newest, leaving = v.Next, v.Next
	}
	if err := one(db, []any{&v.Servers}, `SELECT count(*) FROM servers s WHERE `+concerned, concerns(scope, purpose)...); err != nil {
		return v, err
	}
	if v.Behind, err = behind(db, scope, purpose, newest.Revision); err != nil {
		return v, err
	}
	if purpose == hostCAPurpose {
		v.OldHost, err = laggards(db, `s.host_ca <> ?`, scope, purpose, v.Active.Fingerprint)
		return v, err
	}
	err = one(db, []any{&v.LiveUntil}, `SELECT coalesce(max(i.not_after), 0) FROM issuances i WHERE i.not_after > ? AND i.ca = ?`, now, leaving.ID)
	return v, err
}

// concerned are the active servers that a CA is for: none for that of gateways.
const concerned = `s.state = 'active' AND (s.project_id = ? OR CAST(? AS TEXT) = '` + hostCAPurpose + `')`

func concerns(scope, purpose string) []any { return []any{scope, purpose} }

func laggards(db querier, condition, scope, purpose string, vs ...any) ([]store.Laggard, error) {
	return all(db, func(l *store.Laggard) []any { return []any{&l.ID, &l.Project, &l.Name, &l.LastSeen} },
		`SELECT s.id, s.project_id, s.name, s.last_seen FROM servers s WHERE `+concerned+` AND `+condition+` ORDER BY s.name, s.id`,
		append(concerns(scope, purpose), vs...)...)
}

// behind are those that have not confirmed a state of this revision. One of an
// earlier epoch tells nothing: a backup was restored since.
func behind(db querier, scope, purpose string, revision int64) ([]store.Laggard, error) {
	return laggards(db, `(s.confirmed_epoch <> (SELECT epoch FROM team) OR s.confirmed_counter < ?)`, scope, purpose, revision)
}

// besides leaves out those that are named.
func besides(all []store.Laggard, w store.Without) []store.Laggard {
	if w.All {
		return nil
	}
	named := map[string]bool{}
	for _, id := range w.Servers {
		named[id] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(l store.Laggard) bool { return named[l.ID] })
}

// PublishCA implements store.Trust.
func (s *Store) PublishCA(ctx context.Context, k store.Key, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		v, err := rotation(t, k.Scope, k.Purpose, t.now)
		if err != nil {
			return err
		}
		if v.Next.ID != "" || v.Previous.ID != "" {
			return fmt.Errorf("a rotation runs: %w", store.ErrExists)
		}
		next := k // the caller's stays as it is
		next.State = store.KeyNext
		if next.Revision, err = t.revision(); err != nil {
			return err
		}
		if err := t.insertKey(next); err != nil {
			return err
		}
		return t.markTrust(k.Scope)
	})
}

// markTrust raises the revision of the project, or of all.
func (t *tx) markTrust(scope string) error {
	if scope == teamScope {
		return t.mark(`SELECT id FROM projects`)
	}
	return t.mark(`?`, scope)
}

func (t *tx) setKey(id, state string) error {
	return t.must(store.ErrNotFound, `UPDATE keys SET state = ?, changed_at = ? WHERE id = ?`, state, t.now, id)
}

// destroyKey retires a key and leaves nothing of its private part.
func (t *tx) destroyKey(id string) error {
	return t.destroyKeys(`id = ?`, id)
}

// destroyKeys has SQLite overwrite in the file what the rows held. For all
// statements that would cost a third of all issuances.
func (t *tx) destroyKeys(condition string, vs ...any) error {
	if t.w.eng.postgres == nil {
		if _, err := t.exec(`PRAGMA secure_delete = FAST`); err != nil {
			return err
		}
		defer t.exec(`PRAGMA secure_delete = OFF`)
	}
	return t.must(store.ErrNotFound, `UPDATE keys SET state = ?, sealed = ?, changed_at = ? WHERE `+condition, append([]any{store.KeyRetired, []byte{}, t.now}, vs...)...)
}

// rotate runs one step of a rotation, behind the lock that every directory
// command takes.
func (s *Store) rotate(ctx context.Context, scope, purpose string, m store.Meta, step func(*tx, store.Rotation) error) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := t.revision(); err != nil { // the lock, on either engine
			return err
		}
		v, err := rotation(t, scope, purpose, t.now)
		if err != nil {
			return err
		}
		if err := step(t, v); err != nil {
			return err
		}
		return t.markTrust(scope)
	})
}

// SwitchCA implements store.Trust.
func (s *Store) SwitchCA(ctx context.Context, scope, purpose string, w store.Without, m store.Meta) error {
	return s.rotate(ctx, scope, purpose, m, func(t *tx, v store.Rotation) error {
		if v.Next.ID == "" {
			return fmt.Errorf("next key: %w", store.ErrNotFound)
		}
		if n := len(besides(v.Behind, w)); n > 0 {
			return fmt.Errorf("%d servers do not know the next key yet: %w", n, store.ErrInUse)
		}
		return errors.Join(t.setKey(v.Active.ID, store.KeyPrevious), t.setKey(v.Next.ID, store.Active))
	})
}

// RetireCA implements store.Trust.
func (s *Store) RetireCA(ctx context.Context, scope, purpose string, w store.Without, m store.Meta) error {
	return s.rotate(ctx, scope, purpose, m, func(t *tx, v store.Rotation) error {
		if v.Previous.ID == "" {
			return fmt.Errorf("previous key: %w", store.ErrNotFound)
		}
		if t.now.Before(v.Previous.ChangedAt.Add(store.KeySettle)) {
			return fmt.Errorf("the switch has not settled: %w", store.ErrInUse)
		}
		if n := len(besides(v.Behind, w)); n > 0 {
			return fmt.Errorf("%d servers do not know the active key yet: %w", n, store.ErrInUse)
		}
		if n := len(besides(v.OldHost, w)); n > 0 {
			return fmt.Errorf("%d servers show another host certificate: %w", n, store.ErrInUse)
		}
		if err := t.unused(v.Previous.ID, w); err != nil {
			return err
		}
		return t.destroyKey(v.Previous.ID)
	})
}

// unused is store.ErrInUse while somebody may hold a certificate of the key with
// which he could enter a server that is not named.
func (t *tx) unused(key string, w store.Without) error {
	if w.All {
		return nil
	}
	servers, err := texts(t, `SELECT DISTINCT i.server_id FROM issuances i WHERE i.not_after > ? AND i.ca = ? AND i.kind IN ('`+store.IssueUser+`', '`+store.IssueTarget+`', '`+store.IssueGatewayHost+`')`, t.now, key)
	if err != nil {
		return err
	}
	for _, id := range servers {
		if !slices.Contains(w.Servers, id) {
			return fmt.Errorf("certificates of it are not over: %w", store.ErrInUse)
		}
	}
	return nil
}

// AbortCA implements store.Trust.
func (s *Store) AbortCA(ctx context.Context, scope, purpose string, w store.Without, m store.Meta) error {
	return s.rotate(ctx, scope, purpose, m, func(t *tx, v store.Rotation) error {
		switch {
		case v.Previous.ID != "":
			return errors.Join(t.setKey(v.Active.ID, store.KeyNext), t.setKey(v.Previous.ID, store.Active))
		case v.Next.ID == "":
			return fmt.Errorf("rotation: %w", store.ErrNotFound)
		}
		if !v.Next.ChangedAt.IsZero() { // it has been the active one
			if t.now.Before(v.Next.ChangedAt.Add(store.KeySettle)) || len(besides(v.OldHost, w)) > 0 {
				return fmt.Errorf("the next key has signed what is not over: %w", store.ErrInUse)
			}
			if err := t.unused(v.Next.ID, w); err != nil {
				return err
			}
		}
		return t.destroyKey(v.Next.ID)
	})
}

// RevokeKey implements store.Trust.
func (s *Store) RevokeKey(ctx context.Context, k store.RevokedKey, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		var used bool
		if err := one(t, []any{&used}, `SELECT EXISTS (SELECT 1 FROM keys WHERE fingerprint = ? AND state <> '`+store.KeyRetired+`')`, k.Fingerprint); err != nil {
			return err
		}
		if used {
			return store.ErrInUse
		}
		if _, err := t.exec(`INSERT INTO revoked_keys (fingerprint, reason, created_at) VALUES (?, ?, ?)`, k.Fingerprint, k.Reason, created(k.CreatedAt, t)); err != nil {
			return err
		}
		return t.markTrust(teamScope)
	})
}

// RevokedKeys implements store.Trust: oldest first.
func (s *Store) RevokedKeys(ctx context.Context, p store.Page) ([]store.RevokedKey, string, error) {
	return list[store.RevokedKey]{
		query: `SELECT r.fingerprint, r.reason, r.created_at FROM revoked_keys r WHERE true`,
		order: "r.created_at", id: "r.fingerprint",
		into: func(k *store.RevokedKey) []any { return []any{&k.Fingerprint, &k.Reason, &k.CreatedAt} },
		key:  func(k *store.RevokedKey) (any, string) { return k.CreatedAt, k.Fingerprint },
	}.page(ctx, s, p)
}

// UnrevokeKey implements store.Trust.
func (s *Store) UnrevokeKey(ctx context.Context, fingerprint string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if err := t.must(store.ErrNotFound, `DELETE FROM revoked_keys WHERE fingerprint = ?`, fingerprint); err != nil {
			return err
		}
		return t.markTrust(teamScope)
	})
}

// revokeLive revokes the certificates of users that a condition on issuances i
// names and that are not over, and tells their servers of it.
func (t *tx) revokeLive(condition string, vs ...any) error {
	projects, err := texts(t, `INSERT INTO revoked_certificates (serial, project_id, until)
		SELECT i.serial, i.project_id, i.not_after FROM issuances i WHERE i.not_after > ? AND i.kind IN ('`+store.IssueUser+`', '`+store.IssueTarget+`') AND `+condition+`
		ON CONFLICT (serial) DO NOTHING RETURNING project_id`, append([]any{t.now}, vs...)...)
	if err != nil {
		return err
	}
	slices.Sort(projects)
	for _, p := range slices.Compact(projects) {
		if err := t.mark(`?`, p); err != nil {
			return err
		}
	}
	return nil
}

// maxRevoked bounds the lists of one project, newest first: more than its agents
// take would be no list at all.
const maxRevoked = 20_000

func revocations(db querier, project string) (v store.Revocations, err error) {
	byHand, err := texts(db, `SELECT r.fingerprint FROM revoked_keys r ORDER BY r.created_at DESC, r.fingerprint LIMIT ?`, maxRevoked)
	if err != nil {
		return v, err
	}
	retired, err := texts(db, `SELECT k.fingerprint FROM keys k WHERE k.scope = ? AND k.purpose = ? AND k.state = '`+store.KeyRetired+`'
		ORDER BY k.changed_at DESC, k.id LIMIT ?`, project, userCAPurpose, store.MaxRetired)
	if err != nil {
		return v, err
	}
	v.Keys = append(byHand, retired...)
	v.Serials, err = all(db, func(r *store.RevokedSerial) []any { return []any{&r.Serial, &r.Server, &r.Until} },
		`SELECT r.serial, i.server_id, r.until FROM revoked_certificates r JOIN issuances i ON i.serial = r.serial WHERE r.project_id = ? ORDER BY r.until DESC, r.serial LIMIT ?`, project, maxRevoked)
	return v, err
}
