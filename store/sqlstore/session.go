package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const (
	sessionTexts   = "x.id, x.user_id, x.device_id, x.thumbprint, x.authenticated_at, x.created_at, x.expires_at, x.revoked_at, x.seen_at"
	sessionColumns = sessionTexts + ", x.token_hash"
	deviceColumns  = "d.id, d.user_id, d.name, d.thumbprint, d.state, d.created_at, d.report, d.reported_at, d.approved_at"
)

func sessionInto(x *store.Session) []any { return append(sessionTextsInto(x), &x.TokenHash) }

func sessionTextsInto(x *store.Session) []any {
	return []any{&x.ID, &x.User, &x.Device, &x.Thumbprint, &x.AuthenticatedAt, &x.CreatedAt, &x.ExpiresAt, &x.RevokedAt, &x.SeenAt}
}

func deviceInto(d *store.Device) []any {
	return []any{&d.ID, &d.User, &d.Name, &d.Thumbprint, &d.State, &d.CreatedAt, &d.Report, &d.ReportedAt, &d.ApprovedAt}
}

const browserColumns = "b.id, b.user_id, b.token_hash, b.authenticated_at, b.expires_at, b.provider, b.amr, b.needs, b.challenge"

func browserInto(b *store.BrowserSession) []any {
	return []any{&b.ID, &b.User, &b.TokenHash, &b.AuthenticatedAt, &b.ExpiresAt, &b.Provider, &b.AMR, &b.Needs, &b.Challenge}
}

// CreateBrowserSession implements store.SignIn: who was disabled, or whose
// password was changed a moment ago, gets no new page.
func (s *Store) CreateBrowserSession(ctx context.Context, b store.BrowserSession, passwordHash string, m store.Meta) (store.BrowserSession, error) {
	return get(ctx, s, m, false, func(t *tx) (store.BrowserSession, error) {
		u, err := t.activeUser(b.User)
		if err != nil {
			return b, err
		}
		var now string
		if err := one(t, []any{&now}, `SELECT password_hash FROM users WHERE id = ?`, b.User); err != nil {
			return b, err
		}
		if now != passwordHash {
			return b, store.ErrDenied
		}
		if b.Needs, err = t.needs(u); err != nil {
			return b, err
		}
		return b, t.insertBrowserSession(b)
	})
}

func (t *tx) insertBrowserSession(b store.BrowserSession) error {
	_, err := t.exec(`INSERT INTO browser_sessions (id, user_id, token_hash, authenticated_at, expires_at, provider, amr, needs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		b.ID, b.User, b.TokenHash, b.AuthenticatedAt, b.ExpiresAt, b.Provider, b.AMR, b.Needs)
	return err
}

// ChangePassword implements store.SignIn.
func (s *Store) ChangePassword(ctx context.Context, c store.PasswordChange, m store.Meta) (store.BrowserSession, error) {
	return get(ctx, s, m, true, func(t *tx) (store.BrowserSession, error) {
		b, u, err := t.lockLogin(c.Login)
		if err == nil && (b.Needs == store.NeedsFactor || b.AuthenticatedAt.Before(c.Since) || u.Issuer != localIssuer) {
			err = store.ErrDenied
		}
		if err != nil {
			return b, err
		}
		var now string
		if err := one(t, []any{&now}, `SELECT password_hash FROM users WHERE id = ?`, u.ID); err != nil {
			return b, err
		}
		if now == "" || now != c.Old {
			return b, store.ErrDenied
		}
		if _, err := t.updateUser(u.ID, store.UserChange{PasswordHash: &c.New}); err != nil {
			return b, err
		}
		b.ID, b.TokenHash, b.Challenge = c.Session.ID, c.Session.TokenHash, ""
		return b, t.insertBrowserSession(b)
	})
}

// BrowserSession implements store.SignIn. ErrNotFound for one that is over.
func (s *Store) BrowserSession(ctx context.Context, tokenHash []byte, now time.Time) (store.BrowserSession, store.User, error) {
	var b store.BrowserSession
	var u store.User
	into := append(browserInto(&b), userInto(&u)...)
	err := one(s.reader(ctx), into, `SELECT `+browserColumns+`, `+userColumns+`
		FROM browser_sessions b JOIN users u ON u.id = b.user_id WHERE b.token_hash = ? AND b.expires_at > ?`, tokenHash, now)
	return b, u, err
}

// DeleteBrowserSession implements store.SignIn.
func (s *Store) DeleteBrowserSession(ctx context.Context, tokenHash []byte, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		return t.must(store.ErrNotFound, `DELETE FROM browser_sessions WHERE token_hash = ?`, tokenHash)
	})
}

// Attempt implements store.SignIn.
func (s *Store) Attempt(ctx context.Context, key string, window time.Duration, now time.Time) (int, time.Time, error) {
	type count struct {
		tries int
		ends  time.Time
	}
	c, err := get(ctx, s, store.Meta{Now: now}, false, func(t *tx) (c count, err error) {
		err = one(t, []any{&c.tries, &c.ends}, `INSERT INTO attempts (name, tries, ends_at) VALUES (?, 1, ?)
			ON CONFLICT (name) DO UPDATE SET
				tries = CASE WHEN attempts.ends_at <= ? THEN 1 ELSE attempts.tries + 1 END,
				ends_at = CASE WHEN attempts.ends_at <= ? THEN excluded.ends_at ELSE attempts.ends_at END
			RETURNING tries, ends_at`, key, now.Add(window), now, now)
		return c, err
	})
	return c.tries, c.ends, err
}

// ForgiveAttempts implements store.SignIn.
func (s *Store) ForgiveAttempts(ctx context.Context, key string) error {
	return s.do(ctx, store.Meta{}, func(t *tx) error {
		_, err := t.exec(`DELETE FROM attempts WHERE name = ?`, key)
		return err
	})
}

// Sessions implements store.SignIn: oldest first.
func (s *Store) Sessions(ctx context.Context, user string, p store.Page) ([]store.Session, string, error) {
	l := list[store.Session]{
		query: `SELECT ` + sessionColumns + ` FROM sessions x WHERE true`,
		order: "x.created_at", id: "x.id", into: sessionInto,
		key: func(x *store.Session) (any, string) { return x.CreatedAt, x.ID },
	}
	if user == "" {
		return l.page(ctx, s, p)
	}
	l.query += ` AND x.user_id = ?`
	return l.page(ctx, s, p, user)
}

// Session implements store.SignIn.
func (s *Store) Session(ctx context.Context, id string) (store.Session, error) {
	var x store.Session
	err := one(s.reader(ctx), sessionInto(&x), `SELECT `+sessionColumns+` FROM sessions x WHERE x.id = ?`, id)
	return x, err
}

// RevokeSession implements store.SignIn. One that is revoked stays as it is.
func (s *Store) RevokeSession(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error { return t.revokeSession(id) })
}

func (t *tx) revokeSession(id string) error {
	var user string
	err := one(t, []any{&user}, `UPDATE sessions SET revoked_at = CASE WHEN revoked_at = 0 THEN ? ELSE revoked_at END WHERE id = ? RETURNING user_id`, t.now, id)
	if err != nil {
		return err
	}
	t.touch(store.UserTopic(user))
	// One in whose place this came by RenewSession is over and on the same device; its
	// certificates were left.
	const came = `SELECT o.id FROM sessions x JOIN sessions o ON o.user_id = x.user_id AND o.device_id = x.device_id WHERE x.id = ? AND o.revoked_at <> 0`
	if err := t.revokeLive(`i.session_id IN (`+came+`)`, id); err != nil {
		return err
	}
	return t.orderEnd(endSession, `user_session = ?`, id)
}

// RenewSession implements store.SignIn. The row of next is held until the commit: who ends that
// one at the same time finds what it has been given.
func (s *Store) RenewSession(ctx context.Context, id, next string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		var user, device, thumbprint, rule string
		err := one(t, []any{&user, &device, &thumbprint, &rule}, `UPDATE sessions SET revoked_at = revoked_at WHERE id = ? AND id <> ? AND revoked_at = 0 AND expires_at > ?
			RETURNING user_id, device_id, thumbprint, rule_id`, next, id, t.now)
		if err == nil {
			err = one(t, []any{&user}, `UPDATE sessions SET revoked_at = ? WHERE id = ? AND user_id = ? AND device_id = ? AND thumbprint = ? AND rule_id = ? AND revoked_at = 0 AND expires_at > ?
				RETURNING user_id`, t.now, id, user, device, thumbprint, rule, t.now)
		}
		if errors.Is(err, store.ErrNotFound) {
			return store.ErrDenied
		}
		if err != nil {
			return err
		}
		t.touch(store.UserTopic(user))
		_, err = t.exec(`UPDATE gateway_sessions SET user_session = ? WHERE user_session = ? AND ended_at = 0`, next, id)
		return err
	})
}

// Devices implements store.SignIn: oldest first.
func (s *Store) Devices(ctx context.Context, user string, p store.Page) ([]store.Device, string, error) {
	l := list[store.Device]{
		query: `SELECT ` + deviceColumns + ` FROM devices d WHERE true`,
		order: "d.created_at", id: "d.id", into: deviceInto,
		key: func(d *store.Device) (any, string) { return d.CreatedAt, d.ID },
	}
	if user == "" {
		return l.page(ctx, s, p)
	}
	l.query += ` AND d.user_id = ?`
	return l.page(ctx, s, p, user)
}

// Device implements store.SignIn.
func (s *Store) Device(ctx context.Context, id string) (store.Device, error) {
	var d store.Device
	err := one(s.reader(ctx), deviceInto(&d), `SELECT `+deviceColumns+` FROM devices d WHERE d.id = ?`, id)
	return d, err
}

// DeviceByKey implements store.SignIn.
func (s *Store) DeviceByKey(ctx context.Context, user, thumbprint string) (store.Device, error) {
	return deviceByKey(s.reader(ctx), user, thumbprint, "")
}

// ApproveDevice implements store.SignIn.
func (s *Store) ApproveDevice(ctx context.Context, id string, m store.Meta) (store.Device, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Device, error) {
		var d store.Device
		if err := one(t, deviceInto(&d), `SELECT `+deviceColumns+` FROM devices d WHERE d.id = ? /*lock*/`, id); err != nil {
			return d, err
		}
		if d.State != store.Pending && (d.State != store.Active || !d.ApprovedAt.IsZero()) {
			return d, store.ErrDenied
		}
		d.State, d.ApprovedAt = store.Active, moment(micros(t.now))
		_, err := t.exec(`UPDATE devices SET state = ?, approved_at = ? WHERE id = ?`, d.State, d.ApprovedAt, id)
		t.touch(store.UserTopic(d.User))
		return d, err
	})
}

// SetDeviceState implements store.SignIn.
func (s *Store) SetDeviceState(ctx context.Context, id, state string, m store.Meta) (store.Device, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Device, error) { return t.setDeviceState(id, state) })
}

func (t *tx) setDeviceState(id, state string) (store.Device, error) {
	var d store.Device
	if err := one(t, deviceInto(&d), `SELECT `+deviceColumns+` FROM devices d WHERE d.id = ? /*lock*/`, id); err != nil {
		return d, err
	}
	d.State = state
	if _, err := t.exec(`UPDATE devices SET state = ? WHERE id = ?`, state, id); err != nil {
		return d, err
	}
	t.touch(store.UserTopic(d.User))
	if state != store.Revoked {
		return d, nil
	}
	if _, err := t.exec(`UPDATE sessions SET revoked_at = ? WHERE device_id = ? AND revoked_at = 0`, t.now, id); err != nil {
		return d, err
	}
	if err := t.revokeLive(`i.device_id = ?`, id); err != nil {
		return d, err
	}
	return d, t.orderEnd(endDevice, `user_session IN (SELECT id FROM sessions WHERE device_id = ?)`, id)
}
