package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	scimUserColumns = userColumns + ", u.disabled_by, s.client_id, s.external_id, s.user_name, s.active, s.resource, s.version, s.created_at, s.changed_at"
	// scimUsersFrom has no tombstones: a user whom an administrator deleted is gone for the client.
	scimUsersFrom = ` FROM scim_users s JOIN users u ON u.id = s.user_id WHERE u.status <> 'deleted' AND s.client_id = ?`
)

func scimUserInto(v *store.ScimUser) []any {
	return append(userInto(&v.User), &v.User.DisabledBy, &v.Client, &v.ExternalID, &v.UserName, &v.Active, &blob{&v.Resource}, &v.Version, &v.CreatedAt, &v.ChangedAt)
}

// blob reads JSON that is kept as text, as it is.
type blob struct{ to *[]byte }

// Scan implements sql.Scanner.
func (b *blob) Scan(src any) error {
	*b.to = []byte(text(src))
	return nil
}

// nameKey tells names apart as SCIM does: by any but the case of their letters.
func nameKey(s string) string { return strings.ToLower(s) }

// CreateScimUser implements store.Provisioning.
func (s *Store) CreateScimUser(ctx context.Context, v store.ScimUser, m store.Meta) (store.ScimUser, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimUser, error) {
		v := v // a batch may be done twice
		c, err := t.scimClient(v.Client)
		if err != nil {
			return v, err
		}
		if err := t.freeIdentity(c, v.ExternalID); err != nil {
			return v, err
		}
		u := v.User
		u.Issuer, u.Subject, u.Admin, u.Status = store.ScimIssuer(v.Client), u.ID, false, store.Active
		if !v.Active {
			u.Status, u.DisabledBy = store.Disabled, v.Client
		}
		if err := t.freeOfGroups(u.Login); err != nil {
			return v, err
		}
		if v.User, err = t.insertUser(u, ""); err != nil {
			return v, err
		}
		v.User.DisabledAt, v.CreatedAt = time.Time{}, v.User.CreatedAt
		return t.insertScimUser(v, "", "")
	})
}

// insertScimUser has a client keep a user, who was somebody else before if it did not make him.
func (t *tx) insertScimUser(v store.ScimUser, wasIssuer, wasSubject string) (store.ScimUser, error) {
	v.Version, v.ChangedAt = 1, v.CreatedAt
	_, err := t.exec(`INSERT INTO scim_users (user_id, client_id, external_id, user_name, name_key, active, resource, version, created_at, changed_at, was_issuer, was_subject)
		VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)`,
		v.User.ID, v.Client, v.ExternalID, v.UserName, nameKey(v.UserName), v.Active, string(v.Resource), v.CreatedAt, v.ChangedAt, wasIssuer, wasSubject)
	if err == nil {
		_, err = t.exec(`DELETE FROM scim_waiting WHERE client_id = ? AND name_key = ?`, v.Client, nameKey(v.UserName))
	}
	return v, err
}

// freeOfGroups: an account brings a Unix group of its own name.
func (t *tx) freeOfGroups(login string) error {
	taken := false
	if err := one(t, []any{&taken}, `SELECT EXISTS (SELECT 1 FROM user_groups WHERE name = ?)`, login); err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("a group has the name: %w", store.ErrExists)
	}
	return nil
}

// ScimUser implements store.Provisioning.
func (s *Store) ScimUser(ctx context.Context, client, id string) (store.ScimUser, error) {
	return scimUser(s.reader(ctx), client, id, "")
}

func scimUser(db querier, client, id, lock string) (v store.ScimUser, err error) {
	err = one(db, scimUserInto(&v), `SELECT `+scimUserColumns+scimUsersFrom+` AND s.user_id = ?`+lock, client, id)
	return v, err
}

// ScimUsers implements store.Provisioning.
func (s *Store) ScimUsers(ctx context.Context, client string, q store.ScimQuery) ([]store.ScimUser, int, error) {
	from, vs := narrow(scimUsersFrom, q, "s.user_id")
	return scimPage(ctx, s, scimUserInto, `SELECT `+scimUserColumns, from, "s.user_id", q, append([]any{client}, vs...))
}

// narrow adds what a query asks for to conditions. The tables have the same columns.
func narrow(from string, q store.ScimQuery, id string) (string, []any) {
	var vs []any
	for _, c := range []struct{ column, value string }{{id, q.ID}, {"s.external_id", q.ExternalID}, {"s.name_key", nameKey(q.Name)}} {
		if c.value != "" {
			from += ` AND ` + c.column + ` = ?`
			vs = append(vs, c.value)
		}
	}
	return from, vs
}

// scimPage reads one page and counts all, at one instant.
func scimPage[T any](ctx context.Context, s *Store, into func(*T) []any, columns, from, id string, q store.ScimQuery, vs []any) (rows []T, total int, err error) {
	err = s.snapshot(ctx, func(r reader) error {
		if err := one(r, []any{&total}, `SELECT count(*)`+from, vs...); err != nil || total == 0 {
			return err
		}
		rows, err = all(r, into, columns+from+` ORDER BY `+id+` LIMIT ? OFFSET ?`, append(vs, clamp(q.Limit), max(0, q.Offset))...)
		return err
	})
	return rows, total, err
}

// PutScimUser implements store.Provisioning.
func (s *Store) PutScimUser(ctx context.Context, v store.ScimUser, m store.Meta) (store.ScimUser, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimUser, error) {
		v := v // a batch may be done twice
		c, err := t.scimClient(v.Client)
		if err != nil {
			return v, err
		}
		old, err := scimUser(t, v.Client, v.User.ID, " /*lock*/")
		if err != nil {
			return v, err
		}
		if old.Version != v.Version {
			return v, store.ErrChanged
		}
		change := store.UserChange{FullName: &v.User.FullName, Email: &v.User.Email}
		status := store.Active
		switch {
		case !v.Active && old.User.Status == store.Active: // also who was let in by hand since
			status = store.Disabled
			if err := t.brake(c, v.User.ID); err != nil {
				return v, err
			}
			change.Status, change.By = &status, v.Client
		case v.Active && !old.Active && old.User.DisabledBy != v.User.DisabledBy:
			return v, store.ErrChanged // what the caller says of it in the audit would be wrong
		case v.Active && !old.Active && old.User.DisabledBy == v.Client:
			change.Status = &status
		}
		if v.User, err = t.updateUser(v.User.ID, change); err != nil {
			return v, err
		}
		if v.User.DisabledBy = old.User.DisabledBy; change.Status != nil {
			v.User.DisabledBy = change.By
		}
		v.Version, v.CreatedAt, v.ChangedAt = old.Version+1, old.CreatedAt, moment(micros(t.now))
		_, err = t.exec(`UPDATE scim_users SET external_id = ?, user_name = ?, name_key = ?, active = ?, resource = ?, version = ?, changed_at = ? WHERE user_id = ? AND client_id = ?`,
			v.ExternalID, v.UserName, nameKey(v.UserName), v.Active, string(v.Resource), v.Version, v.ChangedAt, v.User.ID, v.Client)
		return v, err
	})
}

// DeleteScimUser implements store.Provisioning.
func (s *Store) DeleteScimUser(ctx context.Context, client, id string, version int64, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		c, err := t.scimClient(client)
		if err != nil {
			return err
		}
		v, err := scimUser(t, client, id, " /*lock*/")
		if err != nil {
			return err
		}
		if version != 0 && v.Version != version {
			return store.ErrChanged
		}
		if v.Active || v.User.Status == store.Active {
			if err := t.brake(c, id); err != nil {
				return err
			}
		}
		status := store.Deleted
		if _, err := t.updateUser(id, store.UserChange{Status: &status, By: client}); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM scim_users WHERE user_id = ? AND client_id = ?`, id, client)
		return err
	})
}
