package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cardea-ssh/cardea/store"
)

const gatewayColumns = "w.id, w.name, w.address, w.labels, w.egress, w.state, w.sealing_keys, w.healthy, w.health, w.draining, w.sessions, w.version, " +
	"w.egress_revision, w.reported_at, w.created_at, w.tls_address, w.refuse_connections, w.records, w.host_key"

func gatewayInto(g *store.Gateway) []any {
	return []any{&g.ID, &g.Name, &g.Address, &g.Labels, &g.Egress, &g.State, &g.SealingKeys, &g.Healthy, &g.Health, &g.Draining, &g.Sessions, &g.Version,
		&g.EgressRevision, &g.ReportedAt, &g.CreatedAt, &g.TLSAddress, &g.RefuseConnections, &g.Records, &g.HostKey}
}

// projectsBehind are those whose servers admit the gateways' addresses alone.
const projectsBehind = `SELECT id FROM projects WHERE gateway = '` + store.GatewayRequired + `'`

// EnrolGateway implements store.Fleet.
func (s *Store) EnrolGateway(ctx context.Context, secretHash []byte, g store.Gateway, c store.Credential, m store.Meta) (store.Gateway, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Gateway, error) {
		if err := t.takeUse(secretHash, store.KindGateway, ""); err != nil {
			return g, err
		}
		if err := t.mark(projectsBehind); err != nil {
			return g, err
		}
		if g.State == "" {
			g.State = store.Active
		}
		_, err := t.exec(`INSERT INTO gateways (id, name, address, labels, egress, state, sealing_keys, healthy, health, draining, sessions, version,
			egress_revision, orders, reported_at, created_at, tls_address, refuse_connections) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)`,
			g.ID, g.Name, g.Address, g.Labels, g.Egress, g.State, g.SealingKeys, g.Healthy, g.Health, g.Draining, g.Sessions, g.Version,
			t.rev, g.ReportedAt, created(g.CreatedAt, t), g.TLSAddress, g.RefuseConnections)
		if err != nil {
			return g, err
		}
		if err := t.insertCredential(store.KindGateway, g.ID, c); err != nil {
			return g, err
		}
		t.touch(store.GatewayTopic(g.ID))
		return gateway(t, g.ID, "")
	})
}

// Gateway implements store.Fleet.
func (s *Store) Gateway(ctx context.Context, id string) (store.Gateway, error) {
	return gateway(s.reader(ctx), id, "")
}

func gateway(db querier, id, lock string) (store.Gateway, error) {
	var g store.Gateway
	if err := one(db, gatewayInto(&g), `SELECT `+gatewayColumns+` FROM gateways w WHERE w.id = ? `+lock, id); err != nil {
		return g, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

// GatewayByName implements store.Fleet.
func (s *Store) GatewayByName(ctx context.Context, name string) (store.Gateway, error) {
	var g store.Gateway
	err := one(s.reader(ctx), gatewayInto(&g), `SELECT `+gatewayColumns+` FROM gateways w WHERE w.name = ?`, name)
	return g, err
}

// Gateways implements store.Fleet: by name.
func (s *Store) Gateways(ctx context.Context, p store.Page) ([]store.Gateway, string, error) {
	return list[store.Gateway]{
		query: `SELECT ` + gatewayColumns + ` FROM gateways w WHERE true`,
		order: "w.name", id: "w.id", into: gatewayInto,
		key: func(g *store.Gateway) (any, string) { return g.Name, g.ID },
	}.page(ctx, s, p)
}

// UpdateGateway implements store.Fleet.
func (s *Store) UpdateGateway(ctx context.Context, id string, c store.GatewayChange, m store.Meta) (store.Gateway, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Gateway, error) {
		g, err := gateway(t, id, "/*lock*/")
		if err != nil {
			return g, err
		}
		before := g
		set(&g.Name, c.Name)
		set(&g.Address, c.Address)
		set(&g.State, c.State)
		set(&g.Labels, c.Labels)
		set(&g.Egress, c.Egress)
		set(&g.TLSAddress, c.TLSAddress)
		set(&g.RefuseConnections, c.RefuseConnections)
		if reaches(before, g) {
			if err := t.mark(projectsBehind); err != nil {
				return g, err
			}
			g.EgressRevision = t.rev
		}
		_, err = t.exec(`UPDATE gateways SET name = ?, address = ?, state = ?, labels = ?, egress = ?, egress_revision = ?, tls_address = ?, refuse_connections = ? WHERE id = ?`,
			g.Name, g.Address, g.State, g.Labels, g.Egress, g.EgressRevision, g.TLSAddress, g.RefuseConnections, id)
		if err != nil {
			return g, err
		}
		t.touch(store.GatewayTopic(id))
		if before.State == store.Active && g.State != store.Active {
			return g, t.orderEnd(endGateway, `gateway_id = ?`, id)
		}
		return g, nil
	})
}

// reaches reports whether servers must admit other addresses than before: by
// the addresses themselves, by the labels that select the gateway for a
// project, or because it was out of use.
func reaches(a, b store.Gateway) bool {
	return a.State != b.State || !slices.Equal(a.Egress, b.Egress) || !maps.Equal(a.Labels, b.Labels)
}

// DeleteGateway implements store.Fleet. Its sessions are over: nobody is left
// to end them or to tell of their end.
func (s *Store) DeleteGateway(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := gateway(t, id, "/*lock*/"); err != nil {
			return err
		}
		if err := t.mark(projectsBehind); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE gateway_sessions SET ended_at = ?, cause = 'gateway deleted' WHERE gateway_id = ? AND ended_at = 0`, t.now, id); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM credentials WHERE owner = ?`, id); err != nil {
			return err
		}
		t.touch(store.GatewayTopic(id))
		_, err := t.exec(`DELETE FROM gateways WHERE id = ?`, id)
		return err
	})
}

// ReportGateway implements store.Fleet.
func (s *Store) ReportGateway(ctx context.Context, id string, r store.GatewayReport, m store.Meta) error {
	return s.do(ctx, m, func(t *tx) error {
		err := t.must(store.ErrNotFound, `UPDATE gateways SET healthy = ?, health = ?, draining = ?, sessions = ?, sealing_keys = ?, version = ?, records = ?, reported_at = ? WHERE id = ?`,
			r.Healthy, r.Health, r.Draining, r.Sessions, r.SealingKeys, r.Version, r.Records, t.now, id)
		if err != nil {
			return err
		}
		if err := t.keepHostKey(id, r.HostKey); err != nil {
			return err
		}
		return t.keepRecordingKeys(id, r.RecordingKeys)
	})
}

// keepHostKey wakes those whose catalogs name it, where it is another than before.
func (t *tx) keepHostKey(gateway, key string) error {
	n, err := t.exec(`UPDATE gateways SET host_key = ? WHERE id = ? AND host_key <> ?`, key, gateway, key)
	if err != nil || n == 0 {
		return err
	}
	recorded, err := all(t, func(id *string) []any { return []any{id} }, `SELECT id FROM projects WHERE recording <> '`+store.RecordingOff+`'`)
	for _, project := range recorded {
		t.touch(store.ProjectTopic(project))
	}
	return err
}

// ProjectFacts implements store.Fleet.
func (s *Store) ProjectFacts(ctx context.Context, id string) (store.ProjectFacts, error) {
	var f store.ProjectFacts
	err := s.snapshot(ctx, func(r reader) (err error) {
		f, err = projectFacts(r, id)
		return err
	})
	return f, err
}

func projectFacts(r reader, id string) (f store.ProjectFacts, err error) {
	err = one(r, append(teamInto(&f.Team), projectInto(&f.Project)...),
		`SELECT `+teamColumns+`, `+projectColumns+` FROM team t, projects p WHERE p.id = ?`, id)
	if err != nil {
		return f, fmt.Errorf("project: %w", err)
	}
	if f.UserCAs, err = keys(r, id, userCAPurpose); err != nil {
		return f, err
	}
	if f.HostCAs, err = keys(r, teamScope, hostCAPurpose); err != nil {
		return f, err
	}
	if f.Revoked, err = revocations(r, id); err != nil {
		return f, err
	}
	f.Grants, err = all(r, grantSudoInto, `SELECT `+grantSudoColumns+` FROM grants a JOIN user_groups g ON g.id = a.group_id WHERE a.project_id = ? ORDER BY a.created_at, a.id`, id)
	if err != nil {
		return f, err
	}
	ordered(f.Grants)
	f.Entitlements, err = all(r, entitlementInto, `SELECT `+entitlementColumns+` FROM entitlements e WHERE e.id IN `+ofProject+` ORDER BY e.name`, id)
	if err != nil {
		return f, err
	}
	f.BreakGlass, err = all(r, glassInto, `SELECT `+glassColumns+` FROM break_glass b WHERE b.project_id = ? AND b.latest`, id)
	if err != nil {
		return f, err
	}
	const granted = `(SELECT group_id FROM grants WHERE project_id = ? UNION SELECT group_id FROM break_glass WHERE project_id = ? AND latest)`
	f.Groups, err = all(r, groupInto, `SELECT `+groupColumns+` FROM user_groups g WHERE g.id IN `+granted+` ORDER BY g.gid`, id, id)
	if err != nil {
		return f, err
	}
	f.Members, err = all(r, memberInto, `SELECT `+memberColumns+` FROM members m JOIN users u ON u.id = m.user_id WHERE m.group_id IN `+granted+` ORDER BY m.group_id, u.uid`, id, id)
	if err != nil {
		return f, err
	}
	f.Users, err = all(r, userInto, `SELECT `+userColumns+` FROM users u WHERE u.id IN (SELECT user_id FROM members WHERE group_id IN `+granted+`) ORDER BY u.uid`, id, id)
	if err != nil {
		return f, err
	}
	if f.Gateways, err = all(r, gatewayInto, `SELECT `+gatewayColumns+` FROM gateways w ORDER BY w.id`); err != nil {
		return f, err
	}
	return f, lifeFacts(r, &f)
}

// How package ca names scopes and purposes.
const (
	teamScope        = "team"
	userCAPurpose    = "user-ca"
	hostCAPurpose    = "host-ca"
	gatewayCAPurpose = "gateway-ca"
)
