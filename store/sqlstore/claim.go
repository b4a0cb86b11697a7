package sqlstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

const gatewaySessionColumns = "h.id, h.gateway_id, h.user_id, h.server_id, h.project_id, h.login, h.user_session, h.source, h.started_at, h.ended_at, h.cause, h.up, h.down, h.end_by, h.end_reason, " +
	"COALESCE((SELECT v.state FROM recordings v WHERE v.session_id = h.id), ''), EXISTS (SELECT 1 FROM recordings v WHERE v.session_id = h.id AND v.overdue_at <> 0 AND v.state IN ('recording', 'finished'))"

func gatewaySessionInto(h *store.GatewaySession) []any {
	return []any{&h.ID, &h.Gateway, &h.User, &h.Server, &h.Project, &h.Login, &h.UserSession, &h.Source, &h.StartedAt, &h.EndedAt, &h.Cause, &h.Up, &h.Down, &h.EndBy, &h.EndReason, &h.Recording, &h.Overdue}
}

// nonceTime is how long a nonce is kept beyond its ticket: more than the clocks
// of two instances may differ.
const nonceTime = time.Hour

// insertGatewaySession holds the rows in the order of its tables: the user's before the
// gateway's, as whoever disables a user and then gives that gateway an order.
const insertGatewaySession = `INSERT INTO gateway_sessions (id, gateway_id, user_id, server_id, project_id, login, user_session, source, started_at, ended_at, cause, up, down, end_order)
	SELECT ?, w.id, u.id, s.id, s.project_id, ?, x.id, ?, ?, 0, '', 0, 0, 0
	FROM users u JOIN sessions x ON x.user_id = u.id JOIN devices d ON d.id = x.device_id
	JOIN issuances i ON i.ticket = ? AND i.ticket <> '' JOIN grants a ON a.id = i.grant_id JOIN members m ON m.group_id = a.group_id AND m.user_id = u.id
	CROSS JOIN servers s CROSS JOIN gateways w
	WHERE w.id = ? AND w.state = 'active' AND s.id = ? AND s.project_id = a.project_id AND s.state = 'active' AND u.id = ? AND u.status = 'active'
	AND x.id = ? AND x.revoked_at = 0 AND x.expires_at > ? AND d.state = 'active'
	AND i.kind = 'user' AND i.user_id = u.id AND i.server_id = s.id AND i.login = ? AND i.public_key = ?
	AND (a.until = 0 OR a.until > ?) AND (m.until = 0 OR m.until > ?) AND ` + notSuspended + ` /*share*/`

// ClaimHello implements store.Issuance. The rows that allow it are held until
// the commit: whoever disables the user at the same time finds the session and
// orders its end, or the claim finds the user disabled.
func (s *Store) ClaimHello(ctx context.Context, c store.Claim, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		err := t.mustLater(store.ErrReplayed, `INSERT INTO nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING`,
			c.Nonce, c.ExpiresAt.Add(nonceTime))
		if err != nil {
			return err
		}
		if !t.now.Before(c.ExpiresAt) {
			return fmt.Errorf("the ticket is over: %w", store.ErrDenied)
		}
		h := c.Session
		err = t.mustLater(store.ErrDenied, insertGatewaySession,
			h.ID, h.Login, h.Source, created(h.StartedAt, t), c.Ticket, h.Gateway, h.Server, h.User, c.UserSession, t.now, h.Login, fingerprint(c.Fingerprint),
			t.now, t.now, t.now)
		if err != nil || c.Record == nil {
			return err
		}
		return t.beginRecording(h.ID, *c.Record)
	})
}

// fingerprint writes a SHA-256 hash of a key as OpenSSH does.
func fingerprint(sum []byte) string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum)
}

// EndGatewaySession implements store.Issuance. A second end leaves no audit row.
func (s *Store) EndGatewaySession(ctx context.Context, h store.GatewaySession, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		n, err := t.exec(`UPDATE gateway_sessions SET ended_at = ?, cause = ?, up = ?, down = ? WHERE id = ? AND gateway_id = ? AND ended_at = 0`,
			created(h.EndedAt, t), h.Cause, h.Up, h.Down, h.ID, h.Gateway)
		if err != nil || n == 1 {
			return err
		}
		t.audit = nil
		var id string
		return one(t, []any{&id}, `SELECT id FROM gateway_sessions WHERE id = ? AND gateway_id = ?`, h.ID, h.Gateway)
	})
}

// GatewaySession implements store.Issuance.
func (s *Store) GatewaySession(ctx context.Context, id string) (store.GatewaySession, error) {
	var h store.GatewaySession
	if err := one(s.reader(ctx), gatewaySessionInto(&h), `SELECT `+gatewaySessionColumns+` FROM gateway_sessions h WHERE h.id = ?`, id); err != nil {
		return h, fmt.Errorf("gateway session: %w", err)
	}
	return h, nil
}

// where turns a filter into conditions on the table of gateway sessions.
func where(f store.SessionFilter, alias string) (conditions string, vs []any) {
	for _, c := range []struct{ column, value string }{{"id", f.ID}, {"user_id", f.User}, {"server_id", f.Server}, {"project_id", f.Project}} {
		if c.value != "" {
			conditions += ` AND ` + alias + c.column + ` = ?`
			vs = append(vs, c.value)
		}
	}
	return conditions, vs
}

// GatewaySessions implements store.Issuance.
func (s *Store) GatewaySessions(ctx context.Context, f store.SessionFilter, p store.Page) ([]store.GatewaySession, string, error) {
	conditions, vs := where(f, "h.")
	l := list[store.GatewaySession]{
		query: `SELECT ` + gatewaySessionColumns + ` FROM gateway_sessions h WHERE true`,
		order: "h.started_at", id: "h.id", newest: true, into: gatewaySessionInto,
		key: func(h *store.GatewaySession) (any, string) { return h.StartedAt, h.ID },
	}
	if f.Live {
		l.query += ` AND h.ended_at = 0`
	}
	l.query += conditions
	return l.page(ctx, s, p, vs...)
}

// Why the end of sessions is ordered where a command does so by itself: the person in them
// may read it.
const (
	endUser    = "your sign-ins were ended" // disabled, deleted, or another password
	endSession = "the sign-in that it came from was ended"
	endDevice  = "the device that it came from was revoked"
	endServer  = "the server was taken out of use"
	endGateway = "the gateway was taken out of use"
)

// OrderEnd implements store.Issuance.
func (s *Store) OrderEnd(ctx context.Context, f store.SessionFilter, by, reason string, m store.Meta) (int, error) {
	return get(ctx, s, m, false, func(t *tx) (int, error) {
		conditions, vs := where(f, "")
		n, err := t.orderEnds(by, reason, `true`+conditions, vs...)
		if n == 0 {
			t.audit = nil
		}
		return int(n), err
	})
}

// LiveProjects implements store.Issuance.
func (s *Store) LiveProjects(ctx context.Context) ([]store.LiveProject, error) {
	return all(s.reader(ctx), func(p *store.LiveProject) []any { return []any{&p.ID, &p.Revision} },
		`SELECT p.id, p.revision FROM projects p WHERE EXISTS (SELECT 1 FROM gateway_sessions h WHERE h.project_id = p.id AND h.ended_at = 0 AND h.end_order = 0)`)
}

// orderEnd is orderEnds by nobody in particular.
func (t *tx) orderEnd(reason, condition string, vs ...any) error {
	_, err := t.orderEnds("", reason, condition, vs...)
	return err
}

// orderEnds orders the end of the live sessions that the condition selects and
// that have no order yet. A gateway's orders are numbered by its own row, which
// is held until the commit: so their numbers rise in the order of commits, and
// a gateway that has seen one has missed none below.
func (t *tx) orderEnds(by, reason, condition string, vs ...any) (int64, error) {
	where := ` WHERE ended_at = 0 AND end_order = 0 AND ` + condition
	gateways, err := texts(t, `UPDATE gateways SET orders = orders + 1 WHERE id IN (SELECT gateway_id FROM gateway_sessions`+where+`) RETURNING id`, vs...)
	if err != nil {
		return 0, err
	}
	for _, id := range gateways {
		t.touch(store.GatewayTopic(id))
	}
	return t.exec(`UPDATE gateway_sessions SET end_order = (SELECT orders FROM gateways w WHERE w.id = gateway_sessions.gateway_id), end_by = ?, end_reason = ?`+where+
		` AND gateway_id IN (SELECT id FROM gateways)`, append([]any{by, reason}, vs...)...)
}

// EndOrders implements store.Issuance.
func (s *Store) EndOrders(ctx context.Context, gateway string, after int64) ([]store.EndOrder, int64, error) {
	type order struct {
		highest int64
		store.EndOrder
	}
	rows, err := all(s.reader(ctx), func(o *order) []any { return []any{&o.highest, &o.Session, &o.Reason} },
		`SELECT w.orders, h.id, h.end_reason FROM gateways w LEFT JOIN gateway_sessions h ON h.gateway_id = w.id AND h.ended_at = 0 AND h.end_order > ?
		WHERE w.id = ? ORDER BY h.end_order, h.id`, after, gateway)
	if err != nil {
		return nil, 0, err
	}
	if len(rows) == 0 {
		return nil, 0, fmt.Errorf("gateway: %w", store.ErrNotFound)
	}
	var orders []store.EndOrder
	for _, o := range rows {
		if o.Session != "" {
			orders = append(orders, o.EndOrder)
		}
	}
	return orders, rows[0].highest, nil
}
