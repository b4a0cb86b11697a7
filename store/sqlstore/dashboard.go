package sqlstore

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// dashboardsKept is how long one that is over still tells whose browser it was: as long
// as the requests are kept that he may have answered in it.
const dashboardsKept = requestsKept

const dashboardColumns = "o.id, o.user_id, o.token_hash, o.browser_hash, o.browser, o.source, o.provider, o.authenticated_at, o.created_at, o.expires_at, o.revoked_at, o.seen_at"

func dashboardInto(o *store.Dashboard) []any {
	return []any{&o.ID, &o.User, &o.TokenHash, &o.BrowserHash, &o.Browser, &o.Source, &o.Provider, &o.AuthenticatedAt, &o.CreatedAt, &o.ExpiresAt, &o.RevokedAt, &o.SeenAt}
}

// OpenDashboard implements store.Dashboards.
func (s *Store) OpenDashboard(ctx context.Context, v store.DashboardOpening, m store.Meta) (store.Dashboard, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Dashboard, error) {
		o := v.Dashboard
		r, err := t.openRequest(v.Request, v.BrowserHash) // before the user, as where a code is given
		if err != nil {
			return o, err
		}
		b, u, err := t.lockLogin(v.LoginHash)
		if err != nil {
			return o, err
		}
		if !r.Dashboard() || b.Needs != store.NeedsNothing || r.Project != "" && b.AuthenticatedAt.Before(r.CreatedAt) {
			return o, store.ErrDenied
		}
		if _, err := t.exec(`UPDATE auth_requests SET phase = ?, user_id = ? WHERE id = ?`, phaseUsed, u.ID, r.ID); err != nil {
			return o, err
		}
		if len(v.Replaces) > 0 {
			if err := t.closeDashboards(`token_hash = ?`, v.Replaces); err != nil {
				return o, err
			}
		}
		o.User, o.BrowserHash, o.Provider, o.AuthenticatedAt = u.ID, v.BrowserHash, b.Provider, b.AuthenticatedAt
		o.CreatedAt, o.ExpiresAt, o.RevokedAt, o.SeenAt = t.now, moment(micros(o.ExpiresAt)), time.Time{}, time.Time{}
		_, err = t.exec(`INSERT INTO dashboards (id, user_id, token_hash, browser_hash, browser, source, provider, authenticated_at, created_at, expires_at, revoked_at, seen_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)`,
			o.ID, o.User, o.TokenHash, o.BrowserHash, o.Browser, o.Source, o.Provider, o.AuthenticatedAt, o.CreatedAt, o.ExpiresAt)
		t.touch(store.UserTopic(u.ID))
		return o, err
	})
}

// Dashboard implements store.Dashboards.
func (s *Store) Dashboard(ctx context.Context, tokenHash []byte) (o store.Dashboard, u store.User, idle int, err error) {
	into := append(append(dashboardInto(&o), userInto(&u)...), &idle)
	err = one(s.reader(ctx), into, `SELECT `+dashboardColumns+`, `+userColumns+`, t.idle_seconds
		FROM dashboards o JOIN users u ON u.id = o.user_id CROSS JOIN team t WHERE o.token_hash = ?`, tokenHash)
	return o, u, idle, err
}

// SeeDashboard implements store.Dashboards, as SeeSession does.
func (s *Store) SeeDashboard(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		_, err := t.exec(`UPDATE dashboards SET seen_at = ? WHERE id = ? AND seen_at < ?`, t.now, id, t.now)
		return err
	})
}

// Dashboards implements store.Dashboards.
func (s *Store) Dashboards(ctx context.Context, user string, p store.Page) ([]store.Dashboard, string, error) {
	l := list[store.Dashboard]{
		query: `SELECT ` + dashboardColumns + ` FROM dashboards o WHERE true`,
		order: "o.created_at", id: "o.id", into: dashboardInto,
		key: func(o *store.Dashboard) (any, string) { return o.CreatedAt, o.ID },
	}
	if user == "" {
		return l.page(ctx, s, p)
	}
	l.query += ` AND o.user_id = ?`
	return l.page(ctx, s, p, user)
}

// DashboardByID implements store.Dashboards.
func (s *Store) DashboardByID(ctx context.Context, id string) (o store.Dashboard, err error) {
	err = one(s.reader(ctx), dashboardInto(&o), `SELECT `+dashboardColumns+` FROM dashboards o WHERE o.id = ?`, id)
	return o, err
}

// RevokeDashboard implements store.Dashboards.
func (s *Store) RevokeDashboard(ctx context.Context, id string, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		var user string
		err := one(t, []any{&user}, `SELECT user_id FROM dashboards WHERE id = ?`, id)
		if err == nil {
			err = t.closeDashboards(`id = ?`, id)
			t.touch(store.UserTopic(user))
		}
		return err
	})
}

// closeDashboards ends those of this condition.
func (t *tx) closeDashboards(condition string, vs ...any) error {
	_, err := t.exec(`UPDATE dashboards SET revoked_at = ? WHERE revoked_at = 0 AND `+condition, append([]any{t.now}, vs...)...)
	return err
}

// sharedBrowser tells whether who answers was signed in to the dashboard by a browser in
// which who asks signed in. What a browser signed a device in for is known for a day.
func (t *tx) sharedBrowser(by, user string) (same bool, err error) {
	err = one(t, []any{&same}, `SELECT EXISTS (SELECT 1 FROM dashboards x WHERE x.user_id = ? AND (
		EXISTS (SELECT 1 FROM dashboards y WHERE y.user_id = ? AND y.browser_hash = x.browser_hash)
		OR EXISTS (SELECT 1 FROM auth_requests y WHERE y.user_id = ? AND y.browser_hash = x.browser_hash)))`, by, user, user)
	return same, err
}
