package sqlstore

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	userColumns = "u.id, u.issuer, u.subject, u.name, u.full_name, u.email, u.login, u.uid, u.status, u.admin, u.revision, u.created_at"
	// shownColumns are more of a user, which no decision about a connection waits for.
	shownColumns = userColumns + `, u.disabled_by, u.disabled_at, COALESCE((SELECT k.client_id FROM scim_users k WHERE k.user_id = u.id), ''),
		COALESCE((SELECT max(x.created_at) FROM sessions x WHERE x.user_id = u.id), 0)`
)

func userInto(u *store.User) []any {
	return []any{&u.ID, &u.Issuer, &u.Subject, &u.Name, &u.FullName, &u.Email, &u.Login, &u.UID, &u.Status, &u.Admin, &u.Revision, &u.CreatedAt}
}

func shownInto(u *store.User) []any {
	return append(userInto(u), &u.DisabledBy, &u.DisabledAt, &u.Keeper, &u.SignedInAt)
}

// localIssuer is the issuer of users who sign in with a password of ours.
const localIssuer = store.LocalIssuer

// created is when a row was made: the caller's word, else the command's time.
func created(at time.Time, t *tx) time.Time {
	if at.IsZero() {
		at = t.now
	}
	return moment(micros(at))
}

// unixID gives the next uid or gid.
func (t *tx) unixID() (int, error) {
	var id int
	err := one(t, []any{&id}, `UPDATE counters SET value = value + 1 WHERE name = 'unix' RETURNING value`)
	return id, err
}

func (t *tx) insertUser(u store.User, passwordHash string) (store.User, error) {
	var err error
	if u.Issuer == store.ServiceIssuer && (u.Admin || passwordHash != "") {
		return u, store.ErrDenied
	}
	if u.Revision, err = t.revision(); err != nil {
		return u, err
	}
	if err := t.freeOfShared(u.Login); err != nil {
		return u, err
	}
	if u.UID, err = t.unixID(); err != nil {
		return u, err
	}
	if u.Status == "" {
		u.Status = store.Active
	}
	u.CreatedAt = created(u.CreatedAt, t)
	if u.DisabledBy != "" {
		u.DisabledAt = u.CreatedAt
	}
	_, err = t.exec(`INSERT INTO users (id, issuer, subject, name, full_name, email, login, uid, status, admin, password_hash, disabled_by, disabled_at, revision, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		u.ID, u.Issuer, u.Subject, u.Name, u.FullName, u.Email, u.Login, u.UID, u.Status, u.Admin, passwordHash, u.DisabledBy, u.DisabledAt, u.Revision, u.CreatedAt)
	t.touch(store.UserTopic(u.ID))
	return u, err
}

// CreateUser implements store.Directory.
func (s *Store) CreateUser(ctx context.Context, u store.User, passwordHash string, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (store.User, error) {
		return t.insertUser(u, passwordHash)
	})
}

// User implements store.Directory.
func (s *Store) User(ctx context.Context, id string) (store.User, error) {
	var u store.User
	err := one(s.reader(ctx), shownInto(&u), `SELECT `+shownColumns+` FROM users u WHERE u.id = ?`, id)
	return u, err
}

// UserByName implements store.Directory.
func (s *Store) UserByName(ctx context.Context, name string) (store.User, error) {
	var u store.User
	err := one(s.reader(ctx), shownInto(&u), `SELECT `+shownColumns+` FROM users u WHERE u.name = ? AND u.status <> 'deleted'`, name)
	return u, err
}

// Credential implements store.Directory.
func (s *Store) Credential(ctx context.Context, name string) (store.User, string, error) {
	var u store.User
	var hash string
	err := one(s.reader(ctx), append(userInto(&u), &hash), `SELECT `+userColumns+`, u.password_hash FROM users u
		WHERE u.name = ? AND u.status <> 'deleted' AND u.issuer = ?`, name, localIssuer)
	return u, hash, err
}

// Users implements store.Directory: by name, tombstones among them.
func (s *Store) Users(ctx context.Context, p store.Page) ([]store.User, string, error) {
	return list[store.User]{
		query: `SELECT ` + shownColumns + ` FROM users u WHERE true`,
		order: "u.name", id: "u.id", into: shownInto,
		key: func(u *store.User) (any, string) { return u.Name, u.ID },
	}.page(ctx, s, p)
}

// UpdateUser implements store.Directory.
func (s *Store) UpdateUser(ctx context.Context, id string, c store.UserChange, m store.Meta) (store.User, error) {
	return get(ctx, s, m, true, func(t *tx) (store.User, error) {
		return t.updateUser(id, c)
	})
}

func (t *tx) updateUser(id string, c store.UserChange) (store.User, error) {
	var u store.User
	if err := one(t, userInto(&u), `SELECT `+userColumns+` FROM users u WHERE u.id = ? /*lock*/`, id); err != nil {
		return u, err
	}
	if u.Status == store.Deleted {
		return u, store.ErrDenied
	}
	before := u
	set(&u.FullName, c.FullName)
	set(&u.Email, c.Email)
	set(&u.Status, c.Status)
	set(&u.Admin, c.Admin)
	if u.Issuer == store.ServiceIssuer && (u.Admin || c.PasswordHash != nil) {
		return u, store.ErrDenied
	}
	if before.FullName != u.FullName || before.Status != u.Status {
		if err := t.markUser(&u); err != nil {
			return u, err
		}
	}
	_, err := t.exec(`UPDATE users SET full_name = ?, email = ?, status = ?, admin = ?, revision = ? WHERE id = ?`,
		u.FullName, u.Email, u.Status, u.Admin, u.Revision, id)
	if err != nil {
		return u, err
	}
	if c.Status != nil {
		by, at := c.By, t.now
		if u.Status == store.Active {
			by, at = "", time.Time{}
		}
		if _, err := t.exec(`UPDATE users SET disabled_by = ?, disabled_at = ? WHERE id = ?`, by, at, id); err != nil {
			return u, err
		}
	}
	if err := t.afterUser(before, u, c.PasswordHash); err != nil {
		return u, err
	}
	t.touch(store.UserTopic(id))
	return u, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// markUser gives the user a new revision, and the projects of its groups.
func (t *tx) markUser(u *store.User) error {
	var err error
	if u.Revision, err = t.revision(); err != nil {
		return err
	}
	return t.mark(`SELECT g.project_id FROM grants g JOIN members m ON m.group_id = g.group_id WHERE m.user_id = ?`, u.ID)
}

// afterUser does what follows from a change: the last administrator stays, and
// who may not enter any more, or not with the old password, is thrown out.
func (t *tx) afterUser(before, after store.User, passwordHash *string) error {
	wasAdmin := before.Admin && before.Status == store.Active
	if isAdmin := after.Admin && after.Status == store.Active; wasAdmin && !isAdmin {
		var left int
		if err := one(t, []any{&left}, `SELECT count(*) FROM users WHERE admin AND status = 'active'`); err != nil {
			return err
		}
		if left == 0 {
			return store.ErrLastAdmin
		}
	}
	if passwordHash != nil {
		if _, err := t.exec(`UPDATE users SET password_hash = ? WHERE id = ?`, *passwordHash, after.ID); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM attempts WHERE name = ?`, store.FactorAttempts(after.ID)); err != nil {
			return err
		}
		// A code that is out would undo it.
		if _, err := t.exec(`DELETE FROM invitations WHERE user_id = ?`, after.ID); err != nil {
			return err
		}
	}
	if after.Status != store.Active && before.Status == store.Active {
		if err := t.leave(leaveByUser, after.ID); err != nil {
			return err
		}
	}
	if after.Status == store.Deleted {
		if err := t.forgetFactors(after.ID); err != nil {
			return err
		}
		if err := t.forgetMachine(after.ID); err != nil {
			return err
		}
		if err := t.forgetAdoption(after.ID); err != nil {
			return err
		}
	}
	if passwordHash != nil || after.Status != store.Active && before.Status != after.Status {
		return t.throwOut(after.ID)
	}
	return nil
}

// forgetBrowsers ends what a user began in browsers, and knows none of them any more.
func (t *tx) forgetBrowsers(user string) error {
	for _, q := range []string{`DELETE FROM browser_sessions WHERE user_id = ?`, `DELETE FROM known_browsers WHERE user_id = ?`} {
		if _, err := t.exec(q, user); err != nil {
			return err
		}
	}
	return t.closeDashboards(`user_id = ?`, user)
}

// throwOut ends all that a user's sign-ins began: pages, what he said yes to and no device has
// fetched yet, sessions of devices and connections. Who is let in again begins anew.
func (t *tx) throwOut(user string) error {
	if _, err := t.exec(`UPDATE auth_requests SET phase = ? WHERE user_id = ? AND phase = ?`, phaseRefused, user, phaseApproved); err != nil {
		return err
	}
	if err := t.forgetBrowsers(user); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM touches WHERE device_id IN (SELECT id FROM devices WHERE user_id = ?)`, user); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE sessions SET revoked_at = ? WHERE user_id = ? AND revoked_at = 0`, t.now, user); err != nil {
		return err
	}
	if err := t.revokeLive(`i.user_id = ?`, user); err != nil {
		return err
	}
	return t.orderEnd(endUser, `user_id = ?`, user)
}
