package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cardea-ssh/cardea/store"
)

const (
	entitlementColumns = "e.id, e.name, e.description, e.commands, e.created_at"

	// grantSudoColumns are grantColumns with the entitlements; they cost a look-up
	// for each grant, so what runs for every connection goes without.
	grantSudoColumns = grantColumns + `, (SELECT JSON_ROWS(JSON_ROW(e.id, e.name)) FROM grant_entitlements n
		JOIN entitlements e ON e.id = n.entitlement_id WHERE n.grant_id = a.id)`

	ofProject = `(SELECT n.entitlement_id FROM grant_entitlements n JOIN grants a ON a.id = n.grant_id WHERE a.project_id = ?)`
	usersOf   = `SELECT a.project_id FROM grants a JOIN grant_entitlements n ON n.grant_id = a.id WHERE n.entitlement_id = ?`
)

func entitlementInto(e *store.Entitlement) []any {
	return []any{&e.ID, &e.Name, &e.Description, &e.Commands, &e.CreatedAt}
}

func grantSudoInto(g *store.Grant) []any {
	return append(grantInto(g), &packedRows[store.EntitlementRef]{&g.Entitlements, func(r *store.EntitlementRef) packed {
		return packed{&r.ID, &r.Name}
	}})
}

// ordered sorts the entitlements of grants by name: a JSON array of rows has no order.
func ordered(grants []store.Grant) []store.Grant {
	for _, g := range grants {
		slices.SortFunc(g.Entitlements, func(a, b store.EntitlementRef) int { return cmp.Compare(a.Name, b.Name) })
	}
	return grants
}

// CreateEntitlement implements store.Directory. No grant names it yet, so no
// server has to know.
func (s *Store) CreateEntitlement(ctx context.Context, e store.Entitlement, m store.Meta) (store.Entitlement, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Entitlement, error) {
		e.CreatedAt = created(e.CreatedAt, t)
		_, err := t.exec(`INSERT INTO entitlements (id, name, description, commands, created_at) VALUES (?, ?, ?, ?, ?)`,
			e.ID, e.Name, e.Description, e.Commands, e.CreatedAt)
		return e, err
	})
}

// Entitlement implements store.Directory.
func (s *Store) Entitlement(ctx context.Context, id string) (store.Entitlement, error) {
	var e store.Entitlement
	err := one(s.reader(ctx), entitlementInto(&e), `SELECT `+entitlementColumns+` FROM entitlements e WHERE e.id = ?`, id)
	return e, err
}

// EntitlementByName implements store.Directory.
func (s *Store) EntitlementByName(ctx context.Context, name string) (store.Entitlement, error) {
	var e store.Entitlement
	err := one(s.reader(ctx), entitlementInto(&e), `SELECT `+entitlementColumns+` FROM entitlements e WHERE e.name = ?`, name)
	return e, err
}

// Entitlements implements store.Directory: by name.
func (s *Store) Entitlements(ctx context.Context, p store.Page) ([]store.Entitlement, string, error) {
	return list[store.Entitlement]{
		query: `SELECT ` + entitlementColumns + ` FROM entitlements e WHERE true`,
		order: "e.name", id: "e.id", into: entitlementInto,
		key: func(e *store.Entitlement) (any, string) { return e.Name, e.ID },
	}.page(ctx, s, p)
}

// UpdateEntitlement implements store.Directory.
func (s *Store) UpdateEntitlement(ctx context.Context, id string, c store.EntitlementChange, m store.Meta) (store.Entitlement, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Entitlement, error) {
		e, err := t.lockEntitlement(id)
		if err != nil {
			return e, err
		}
		before := e.Commands
		set(&e.Description, c.Description)
		set(&e.Commands, c.Commands)
		_, err = t.exec(`UPDATE entitlements SET description = ?, commands = ? WHERE id = ?`, e.Description, e.Commands, id)
		if err != nil || sameJSON(before, e.Commands) {
			return e, err
		}
		return e, t.mark(usersOf, id)
	})
}

// sameJSON compares what is kept as JSON.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func (t *tx) lockEntitlement(id string) (store.Entitlement, error) {
	var e store.Entitlement
	if err := one(t, entitlementInto(&e), `SELECT `+entitlementColumns+` FROM entitlements e WHERE e.id = ? /*lock*/`, id); err != nil {
		return e, fmt.Errorf("entitlement: %w", err)
	}
	return e, nil
}

// DeleteEntitlement implements store.Directory.
func (s *Store) DeleteEntitlement(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if _, err := t.lockEntitlement(id); err != nil {
			return err
		}
		used := false
		if err := one(t, []any{&used}, `SELECT EXISTS (SELECT 1 FROM grant_entitlements WHERE entitlement_id = ?)`, id); err != nil {
			return err
		}
		if used {
			return store.ErrInUse
		}
		_, err := t.exec(`DELETE FROM entitlements WHERE id = ?`, id)
		return err
	})
}

// EntitlementGrants implements store.Directory: oldest first.
func (s *Store) EntitlementGrants(ctx context.Context, id string, p store.Page) ([]store.Grant, string, error) {
	grants, next, err := list[store.Grant]{
		query: `SELECT ` + grantSudoColumns + ` FROM grants a JOIN user_groups g ON g.id = a.group_id
			WHERE a.id IN (SELECT grant_id FROM grant_entitlements WHERE entitlement_id = ?)`,
		order: "a.created_at", id: "a.id", into: grantSudoInto,
		key: func(g *store.Grant) (any, string) { return g.CreatedAt, g.ID },
	}.page(ctx, s, p, id)
	return ordered(grants), next, err
}

// GrantEntitlements implements store.Directory.
func (s *Store) GrantEntitlements(ctx context.Context, grant string) ([]store.Entitlement, error) {
	return all(s.reader(ctx), entitlementInto, `SELECT `+entitlementColumns+` FROM entitlements e
		JOIN grant_entitlements n ON n.entitlement_id = e.id WHERE n.grant_id = ? ORDER BY e.name`, grant)
}

// UpdateGrant implements store.Directory.
func (s *Store) UpdateGrant(ctx context.Context, project, id string, c store.GrantChange, m store.Meta) (store.Grant, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Grant, error) {
		var g store.Grant
		err := one(t, grantInto(&g), `SELECT `+grantColumns+` FROM grants a JOIN user_groups g ON g.id = a.group_id WHERE a.id = ? AND a.project_id = ?`, id, project)
		if err != nil {
			return g, fmt.Errorf("grant: %w", err)
		}
		if g.Revision, err = t.revision(); err != nil {
			return g, err
		}
		if _, err := t.exec(`UPDATE grants SET revision = ? WHERE id = ?`, g.Revision, id); err != nil {
			return g, err
		}
		if _, err := t.exec(`DELETE FROM grant_entitlements WHERE grant_id = ?`, id); err != nil {
			return g, err
		}
		g.Entitlements = slices.Clone(c.Entitlements)
		if err := t.entitle(&g); err != nil {
			return g, err
		}
		return g, t.mark(`?`, project)
	})
}

// entitle writes the grant's entitlements, and fills in their names.
func (t *tx) entitle(g *store.Grant) error {
	for i := range g.Entitlements {
		e := &g.Entitlements[i]
		if err := one(t, []any{&e.Name}, `SELECT name FROM entitlements WHERE id = ? /*share*/`, e.ID); err != nil {
			return fmt.Errorf("entitlement: %w", err)
		}
		if _, err := t.exec(`INSERT INTO grant_entitlements (grant_id, entitlement_id) VALUES (?, ?)`, g.ID, e.ID); err != nil {
			return err
		}
	}
	ordered([]store.Grant{*g})
	return nil
}
