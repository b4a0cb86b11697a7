package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const grantDeviceColumns = "g.id, g.code_hash, g.user_code_hash, g.thumbprint, g.device_name, g.source, g.wait_seconds, g.replaces, g.replaces_key, g.created_at, g.expires_at"

func grantDeviceInto(g *store.DeviceGrant) []any {
	return []any{&g.ID, &g.CodeHash, &g.UserCodeHash, &g.Thumbprint, &g.DeviceName, &g.Source, &g.Wait, &g.Replaces, &g.ReplacesKey, &g.CreatedAt, &g.ExpiresAt}
}

// byCode holds the team's word on devices without a browser until the commit.
func (t *tx) byCode() error {
	var on bool
	if err := one(t, []any{&on}, `SELECT t.device_code FROM team t /*share*/`); err != nil {
		return err
	}
	if !on {
		return store.ErrDenied
	}
	return nil
}

// CreateDeviceGrant implements store.DeviceGrants.
func (s *Store) CreateDeviceGrant(ctx context.Context, g store.DeviceGrant, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		if err := t.byCode(); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO device_grants (id, code_hash, user_code_hash, thumbprint, device_name, source, wait_seconds, replaces, replaces_key, polled_at, created_at, expires_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
			g.ID, g.CodeHash, g.UserCodeHash, g.Thumbprint, g.DeviceName, g.Source, g.Wait, g.Replaces, g.ReplacesKey, created(g.CreatedAt, t), g.ExpiresAt)
		return err
	})
}

// TypeUserCode implements store.DeviceGrants.
func (s *Store) TypeUserCode(ctx context.Context, userCodeHash []byte, r store.AuthRequest, m store.Meta) (store.AuthRequest, error) {
	return get(ctx, s, m, false, func(t *tx) (store.AuthRequest, error) {
		if err := t.byCode(); err != nil {
			return r, err
		}
		var g store.DeviceGrant
		err := one(t, grantDeviceInto(&g), `SELECT `+grantDeviceColumns+` FROM device_grants g WHERE g.user_code_hash = ? AND g.expires_at > ? /*lock*/`, userCodeHash, t.now)
		if err != nil {
			return r, err
		}
		var before store.AuthRequest
		err = one(t, requestInto(&before), `SELECT `+requestColumns+` FROM auth_requests r WHERE r.grant_id = ?`, g.ID)
		switch {
		case err == nil && bytes.Equal(before.BrowserHash, r.BrowserHash):
			return before, nil
		case err == nil:
			return r, store.ErrNotFound
		case !errors.Is(err, store.ErrNotFound):
			return r, err
		}
		r.RedirectURI, r.State, r.Challenge, r.User, r.Project = "", "", "", "", ""
		r.Thumbprint, r.DeviceName, r.Grant, r.Origin, r.ExpiresAt = g.Thumbprint, g.DeviceName, g.ID, g.Source, g.ExpiresAt
		r.Replaces, r.ReplacesKey = g.Replaces, g.ReplacesKey
		r.CreatedAt = created(r.CreatedAt, t)
		return r, t.insertRequest(r)
	})
}

// ApproveDeviceGrant implements store.DeviceGrants.
func (s *Store) ApproveDeviceGrant(ctx context.Context, r store.Redemption, a store.Approval, m store.Meta) (store.AuthRequest, error) {
	return get(ctx, s, m, true, func(t *tx) (store.AuthRequest, error) {
		c, u, _, err := t.shown(r)
		if err != nil {
			return store.AuthRequest{}, err
		}
		waits, err := t.openRequest(a.Request, a.BrowserHash)
		if err != nil {
			return waits, err
		}
		if err := t.byCode(); err != nil {
			return waits, err
		}
		var at time.Time
		if err := one(t, []any{&at}, `SELECT shown_at FROM auth_requests WHERE id = ?`, c.request.ID); err != nil {
			return waits, err
		}
		if waits.Grant == "" || u.ID != a.User || u.Admin || at.Before(waits.CreatedAt) {
			return waits, t.spoil(c)
		}
		waits.User = u.ID
		_, err = t.exec(`UPDATE auth_requests SET phase = ?, user_id = ?, shown_at = ? WHERE id = ?`, phaseApproved, u.ID, at, waits.ID)
		if err == nil {
			_, err = t.exec(`UPDATE auth_requests SET phase = ? WHERE id = ?`, phaseUsed, c.request.ID)
		}
		return waits, err
	})
}

// RefuseDeviceGrant implements store.DeviceGrants.
func (s *Store) RefuseDeviceGrant(ctx context.Context, id string, browserHash []byte, user string, m store.Meta) (store.AuthRequest, error) {
	return get(ctx, s, m, false, func(t *tx) (store.AuthRequest, error) {
		r, err := t.openRequest(id, browserHash)
		if err == nil && r.Grant == "" {
			err = store.ErrDenied
		}
		if err != nil {
			return r, err
		}
		r.User = user
		_, err = t.exec(`UPDATE auth_requests SET phase = ?, user_id = ? WHERE id = ?`, phaseRefused, user, id)
		return r, err
	})
}

// DeviceGrantRequest implements store.DeviceGrants.
func (s *Store) DeviceGrantRequest(ctx context.Context, codeHash []byte) (store.AuthRequest, error) {
	var r store.AuthRequest
	err := one(s.reader(ctx), requestInto(&r), `SELECT `+requestColumns+` FROM device_grants g JOIN auth_requests r ON r.grant_id = g.id WHERE g.code_hash = ?`, codeHash)
	return r, err
}

// PollDeviceGrant implements store.DeviceGrants.
func (s *Store) PollDeviceGrant(ctx context.Context, r store.DeviceRedemption, m store.Meta) (store.Subject, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Subject, error) {
		if err := t.byCode(); err != nil {
			return store.Subject{}, err
		}
		c, err := t.poll(r)
		if err != nil {
			return store.Subject{}, err
		}
		u, err := t.activeUser(c.request.User)
		if err == nil && u.Admin { // since he said yes
			err = store.ErrDenied
		}
		if err != nil {
			return store.Subject{}, err
		}
		r.Session.AuthenticatedAt = c.shown
		return t.trade(c.code, store.Redemption{Thumbprint: r.Thumbprint, Session: r.Session, Device: r.Device, Enrolment: r.Enrolment, Replaces: r.Replaces})
	})
}

// polled is a request that somebody said yes to.
type polled struct {
	code
	shown time.Time
}

// poll finds what somebody said to a grant.
func (t *tx) poll(r store.DeviceRedemption) (polled, error) {
	var g store.DeviceGrant
	var last time.Time
	var p polled
	err := one(t, append(grantDeviceInto(&g), &last), `SELECT `+grantDeviceColumns+`, g.polled_at FROM device_grants g WHERE g.code_hash = ? /*lock*/`, r.CodeHash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, store.ErrUsed
	case err != nil:
		return p, err
	case g.Thumbprint != r.Thumbprint:
		return p, store.ErrDenied // and the device that has the key goes on
	case !t.now.Before(g.ExpiresAt):
		return p, store.ErrUsed
	}
	early := !last.IsZero() && t.now.Before(last.Add(time.Duration(g.Wait)*time.Second))
	if early {
		g.Wait += store.SlowDown
	}
	if _, err := t.exec(`UPDATE device_grants SET polled_at = ?, wait_seconds = ? WHERE id = ?`, t.now, g.Wait, g.ID); err != nil {
		return p, err
	}
	if early {
		return p, kept{error: store.ErrTooSoon}
	}
	into := append(requestInto(&p.request), &p.phase, &p.session, &p.shown)
	err = one(t, into, `SELECT `+requestColumns+`, r.phase, r.session_id, r.shown_at FROM auth_requests r WHERE r.grant_id = ? /*lock*/`, g.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, kept{error: store.ErrPending}
	case err != nil:
		return p, err
	}
	switch {
	case p.phase == phaseApproved && p.request.User == r.User:
		return p, nil
	case p.phase == phaseApproved, p.phase == phaseOpen:
		return p, kept{error: store.ErrPending}
	case p.phase == phaseRefused:
		return p, kept{error: store.ErrRefused}
	}
	return p, kept{error: store.ErrUsed}
}
