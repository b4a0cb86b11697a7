package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const serviceKeyColumns = "k.id, k.user_id, k.name, k.thumbprint, k.created_at, k.expires_at, k.used_at, k.replaces"

func serviceKeyInto(k *store.ServiceKey) []any {
	return []any{&k.ID, &k.User, &k.Name, &k.Thumbprint, &k.CreatedAt, &k.ExpiresAt, &k.UsedAt, &k.Replaces}
}

// ServiceUsers implements store.Machines.
func (s *Store) ServiceUsers(ctx context.Context, p store.Page) ([]store.User, string, error) {
	return list[store.User]{
		query: `SELECT ` + userColumns + ` FROM users u WHERE u.issuer = 'service'`,
		order: "u.name", id: "u.id", into: userInto,
		key: func(u *store.User) (any, string) { return u.Name, u.ID },
	}.page(ctx, s, p)
}

// AddServiceKey implements store.Machines.
func (s *Store) AddServiceKey(ctx context.Context, k store.ServiceKey, m store.Meta) (store.ServiceKey, error) {
	return get(ctx, s, m, false, func(t *tx) (store.ServiceKey, error) {
		if err := t.holdServiceUser(k.User); err != nil {
			return k, err
		}
		k.Replaces = ""
		return t.addServiceKey(k)
	})
}

// addServiceKey is for who holds the user.
func (t *tx) addServiceKey(k store.ServiceKey) (store.ServiceKey, error) {
	var has int
	var removed bool
	err := one(t, []any{&has, &removed}, `SELECT (SELECT count(*) FROM service_keys WHERE user_id = ?),
		EXISTS (SELECT 1 FROM devices WHERE user_id = ? AND thumbprint = ? AND state = 'revoked')
		OR EXISTS (SELECT 1 FROM retired_service_keys WHERE user_id = ? AND thumbprint = ?)`, k.User, k.User, k.Thumbprint, k.User, k.Thumbprint)
	switch {
	case err != nil:
		return k, err
	case removed:
		return k, store.ErrDenied
	case has >= store.MaxServiceKeys:
		return k, store.ErrTooMany
	}
	k.CreatedAt, k.ExpiresAt, k.UsedAt = created(k.CreatedAt, t), moment(micros(k.ExpiresAt)), time.Time{}
	_, err = t.exec(`INSERT INTO service_keys (id, user_id, name, thumbprint, created_at, expires_at, used_at, replaces) VALUES (?, ?, ?, ?, ?, ?, 0, ?)`,
		k.ID, k.User, k.Name, k.Thumbprint, k.CreatedAt, k.ExpiresAt, k.Replaces)
	return k, err
}

// holdServiceUser locks a user who has to be a program, so that his keys are counted
// one command after the other.
func (t *tx) holdServiceUser(id string) error {
	var u store.User
	err := one(t, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.id = ? /*lock*/`, id)
	if err == nil && (u.Issuer != store.ServiceIssuer || u.Status == store.Deleted) {
		err = store.ErrDenied
	}
	return err
}

// ServiceKeys implements store.Machines.
func (s *Store) ServiceKeys(ctx context.Context, user string) ([]store.ServiceKey, error) {
	return all(s.reader(ctx), serviceKeyInto, `SELECT `+serviceKeyColumns+` FROM service_keys k WHERE k.user_id = ? ORDER BY k.created_at, k.id`, user)
}

// ServiceKeyOwner implements store.Machines.
func (s *Store) ServiceKeyOwner(ctx context.Context, thumbprint string) (user string, err error) {
	err = one(s.reader(ctx), []any{&user}, `SELECT user_id FROM service_keys WHERE thumbprint = ?`, thumbprint)
	return user, err
}

// RemoveServiceKey implements store.Machines. It holds the user, so that no key is registered
// by proof of one that goes. The devices stay revoked, so that the keys never come back.
func (s *Store) RemoveServiceKey(ctx context.Context, user, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if err := t.holdServiceUser(user); err != nil {
			return err
		}
		id := id // a batch may be done twice
		for found := false; ; found = true {
			k := store.RetiredServiceKey{User: user}
			err := one(t, []any{&k.ID, &k.Thumbprint}, `DELETE FROM service_keys WHERE user_id = ? AND `+line(found)+` = ? RETURNING id, thumbprint`, user, id)
			if found && errors.Is(err, store.ErrNotFound) {
				return t.endRetired(user)
			}
			if err == nil {
				err = t.retire(k)
			}
			if err != nil {
				return err
			}
			id = k.ID
		}
	})
}

// line is the column by which a key is found that goes: the first by its id, and then the one
// that was registered by its proof. Of these there is one at most, for a user has two keys.
func line(found bool) string {
	if found {
		return "replaces"
	}
	return "id"
}

// endRetired ends what was begun with keys of a user that are over: those that go now, and
// those in whose place they came, which whoever has a copy may have been the one to change.
func (t *tx) endRetired(user string) error {
	devices, err := texts(t, `SELECT d.id FROM devices d JOIN retired_service_keys r ON r.user_id = d.user_id AND r.thumbprint = d.thumbprint
		WHERE d.user_id = ? AND d.state <> 'revoked' ORDER BY d.id`, user)
	for _, d := range devices {
		if err == nil {
			_, err = t.setDeviceState(d, store.Revoked)
		}
	}
	return err
}

// SignInService implements store.Machines. It holds the user before the key, as whoever
// deletes the user and then his keys.
func (s *Store) SignInService(ctx context.Context, v store.ServiceSignIn, m store.Meta) (store.Subject, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Subject, error) {
		k, err := t.serviceKey(v, "")
		if err != nil {
			return store.Subject{}, err
		}
		if _, err := t.activeUser(k.User); err != nil {
			return store.Subject{}, err
		}
		if k, err = t.serviceKey(v, " /*lock*/"); err != nil {
			return store.Subject{}, err
		}
		if !k.ExpiresAt.IsZero() && !t.now.Before(k.ExpiresAt) {
			return store.Subject{}, store.ErrDenied
		}
		if v.Device.Name == "" {
			v.Device.Name = k.Name
		}
		who, err := t.beginSession(k.User, v.Thumbprint, v.Device, nil, v.Session)
		if err != nil {
			return who, err
		}
		_, err = t.exec(`UPDATE service_keys SET used_at = ? WHERE id = ?`, t.now, k.ID)
		return who, err
	})
}

func (t *tx) serviceKey(v store.ServiceSignIn, how string) (k store.ServiceKey, err error) {
	err = one(t, serviceKeyInto(&k), `SELECT `+serviceKeyColumns+` FROM service_keys k WHERE k.thumbprint = ? AND k.user_id = ?`+how, v.Thumbprint, v.User)
	return k, err
}

// forgetMachine drops the keys of a user who was deleted, and the rules by which jobs were he.
func (t *tx) forgetMachine(user string) error {
	if _, err := t.exec(`DELETE FROM workload_rules WHERE user_id = ?`, user); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM service_keys WHERE user_id = ?`, user)
	return err
}
