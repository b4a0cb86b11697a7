package sqlstore

import (
	"context"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const retiredKeyColumns = "r.key_id, r.user_id, r.thumbprint, r.next_id, r.retired_at"

func retiredKeyInto(r *store.RetiredServiceKey) []any {
	return []any{&r.ID, &r.User, &r.Thumbprint, &r.Next, &r.RetiredAt}
}

// NextServiceKey implements store.Machines.
func (s *Store) NextServiceKey(ctx context.Context, by string, k store.ServiceKey, m store.Meta) (store.ServiceKey, error) {
	return get(ctx, s, m, false, func(t *tx) (store.ServiceKey, error) {
		mine, keys, err := t.ownServiceKey(k.User, by)
		if err != nil {
			return k, err
		}
		k.Name, k.ExpiresAt, k.Replaces = mine.Name, mine.ExpiresAt, mine.ID
		for _, other := range keys {
			switch {
			case other.Thumbprint == k.Thumbprint && other.Replaces == mine.ID:
				return other, nil
			case other.Replaces == mine.ID && other.UsedAt.IsZero() && other.Thumbprint != k.Thumbprint:
				if err := t.giveWay(other); err != nil {
					return k, err
				}
			}
		}
		return t.addServiceKey(k)
	})
}

// ownServiceKey is the key by which an active service user, who is held until the commit,
// does something about his keys, with all of these.
func (t *tx) ownServiceKey(user, by string) (mine store.ServiceKey, keys []store.ServiceKey, err error) {
	if err := t.holdServiceUser(user); err != nil {
		return mine, nil, err
	}
	if _, err := t.activeUser(user); err != nil {
		return mine, nil, err
	}
	keys, err = all(t, serviceKeyInto, `SELECT `+serviceKeyColumns+` FROM service_keys k WHERE k.user_id = ? ORDER BY k.created_at, k.id`, user)
	if err != nil {
		return mine, nil, err
	}
	i := slices.IndexFunc(keys, func(k store.ServiceKey) bool { return k.Thumbprint == by })
	switch {
	case i < 0:
		return mine, nil, store.ErrNotFound
	case !keys[i].ExpiresAt.IsZero() && !t.now.Before(keys[i].ExpiresAt):
		return mine, nil, store.ErrDenied
	}
	return keys[i], keys, nil
}

// giveWay removes a key that was registered, and of which nobody ever heard again.
func (t *tx) giveWay(k store.ServiceKey) error {
	if err := t.must(store.ErrNotFound, `DELETE FROM service_keys WHERE id = ?`, k.ID); err != nil {
		return err
	}
	return t.retire(store.RetiredServiceKey{ID: k.ID, User: k.User, Thumbprint: k.Thumbprint})
}

// retire remembers a key that is over.
func (t *tx) retire(r store.RetiredServiceKey) error {
	_, err := t.exec(`INSERT INTO retired_service_keys (thumbprint, user_id, key_id, next_id, retired_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (thumbprint, user_id) DO NOTHING`, r.Thumbprint, r.User, r.ID, r.Next, t.now)
	return err
}

// RetireServiceKey implements store.Machines. The device of the key stays as it is: its
// sessions are over within the hour, and the connections that they began go on.
func (s *Store) RetireServiceKey(ctx context.Context, user, by string, m store.Meta) (store.RetiredServiceKey, error) {
	return get(ctx, s, m, false, func(t *tx) (store.RetiredServiceKey, error) {
		mine, _, err := t.ownServiceKey(user, by)
		if err != nil {
			return store.RetiredServiceKey{}, err
		}
		r := store.RetiredServiceKey{ID: mine.Replaces, User: user, Next: mine.ID, RetiredAt: moment(micros(t.now))}
		if err := one(t, []any{&r.Thumbprint}, `DELETE FROM service_keys WHERE id = ? AND user_id = ? RETURNING thumbprint`, mine.Replaces, user); err != nil {
			return r, err
		}
		return r, t.retire(r)
	})
}

// FormerServiceKey implements store.Machines.
func (s *Store) FormerServiceKey(ctx context.Context, thumbprint string) (r store.RetiredServiceKey, err error) {
	err = one(s.reader(ctx), retiredKeyInto(&r), `SELECT `+retiredKeyColumns+` FROM retired_service_keys r WHERE r.thumbprint = ? ORDER BY r.retired_at DESC LIMIT 1`, thumbprint)
	return r, err
}

// SetServiceKeyAge implements store.Machines.
func (s *Store) SetServiceKeyAge(ctx context.Context, user string, age time.Duration, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if err := t.holdServiceUser(user); err != nil {
			return err
		}
		return t.must(store.ErrNotFound, `UPDATE users SET key_age_seconds = ? WHERE id = ?`, int64(age/time.Second), user)
	})
}

// ServiceKeyAge implements store.Machines.
func (s *Store) ServiceKeyAge(ctx context.Context, user string) (time.Duration, error) {
	var seconds int64
	err := one(s.reader(ctx), []any{&seconds}, `SELECT key_age_seconds FROM users WHERE id = ? AND issuer = 'service'`, user)
	return time.Duration(seconds) * time.Second, err
}
