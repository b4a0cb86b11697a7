package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

const (
	glassColumns = "b.id, b.project_id, b.group_id, COALESCE((SELECT g.name FROM user_groups g WHERE g.id = b.group_id), ''), b.role, b.grant_id, b.reason, " +
		"b.began_by, b.began_at, b.until, b.ended_by, b.ended_at, b.revision"
	// notSuspended is for the commit of what rests on the grant a of the project of s.
	notSuspended = `NOT EXISTS (SELECT 1 FROM break_glass b WHERE b.project_id = s.project_id AND b.latest AND b.ended_at = 0 AND b.until > ? AND b.grant_id <> a.id)`
)

func glassInto(b *store.BreakGlass) []any {
	return []any{&b.ID, &b.Project, &b.Group, &b.GroupName, &b.Role, &b.Grant, &b.Reason, &b.BeganBy, &b.BeganAt, &b.Until, &b.EndedBy, &b.EndedAt, &b.Revision}
}

// BeginBreakGlass implements store.BreakGlasses. Whoever begins or ends one holds the
// project's row.
func (s *Store) BeginBreakGlass(ctx context.Context, b store.BreakGlass, m store.Meta) (store.BreakGlass, error) {
	return get(ctx, s, m, true, func(t *tx) (store.BreakGlass, error) {
		if _, err := t.lockProject(b.Project); err != nil {
			return b, err
		}
		last, err := t.latestGlass(b.Project)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return b, err
		case last.InForce(t.now):
			return b, fmt.Errorf("break-glass: %w", store.ErrExists)
		case last.EndedAt.IsZero():
			if _, err := t.overGlass(last); err != nil {
				return b, err
			}
		}
		if _, err := t.exec(`UPDATE break_glass SET latest = false WHERE project_id = ? AND latest`, b.Project); err != nil {
			return b, err
		}
		b.Until = moment(micros(b.Until))
		g, err := t.createGrant(store.Grant{ID: b.Grant, Project: b.Project, Group: b.Group, Role: b.Role, Until: b.Until, CreatedAt: t.now})
		if err != nil {
			return b, err
		}
		b.GroupName, b.Revision, b.BeganAt, b.EndedAt, b.EndedBy = g.GroupName, t.rev, created(t.now, t), time.Time{}, ""
		_, err = t.exec(`INSERT INTO break_glass (id, project_id, group_id, role, grant_id, reason, began_by, began_at, until, ended_by, ended_at, latest, revision)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, true, ?)`,
			b.ID, b.Project, b.Group, b.Role, b.Grant, b.Reason, b.BeganBy, b.BeganAt, b.Until, b.Revision)
		return b, err
	})
}

func (t *tx) latestGlass(project string) (store.BreakGlass, error) { return latestGlass(t, project) }

func latestGlass(db querier, project string) (b store.BreakGlass, err error) {
	err = one(db, glassInto(&b), `SELECT `+glassColumns+` FROM break_glass b WHERE b.project_id = ? AND b.latest`, project)
	return b, err
}

// EndBreakGlass implements store.BreakGlasses.
func (s *Store) EndBreakGlass(ctx context.Context, id, by string, m store.Meta) (store.BreakGlass, error) {
	return get(ctx, s, m, true, func(t *tx) (store.BreakGlass, error) {
		project := ""
		if err := one(t, []any{&project}, `SELECT b.project_id FROM break_glass b WHERE b.id = ?`, id); err != nil {
			return store.BreakGlass{}, fmt.Errorf("break-glass: %w", err)
		}
		if _, err := t.lockProject(project); err != nil {
			return store.BreakGlass{}, err
		}
		b, err := t.latestGlass(project)
		if err == nil && (b.ID != id || !b.InForce(t.now)) {
			err = store.ErrNotFound
		}
		if err != nil {
			return b, fmt.Errorf("break-glass: %w", err)
		}
		return t.endGlass(b, by)
	})
}

// ProjectBreakGlass implements store.BreakGlasses.
func (s *Store) ProjectBreakGlass(ctx context.Context, project string) (store.BreakGlass, error) {
	return latestGlass(s.reader(ctx), project)
}

// endGlass writes the end down, and takes its grant away. What others left while it
// lasted counts from then; its own people leave now.
func (t *tx) endGlass(b store.BreakGlass, by string) (store.BreakGlass, error) {
	// People who wait for the project at a grant that is not there any more.
	users, err := texts(t, `SELECT user_id FROM members WHERE group_id = ?`, b.Group)
	if err != nil {
		return b, err
	}
	for _, u := range users {
		t.touch(store.UserTopic(u))
	}
	b.EndedBy, b.EndedAt = by, created(t.now, t)
	if b.Revision, err = t.revision(); err != nil {
		return b, err
	}
	err = t.must(store.ErrNotFound, `UPDATE break_glass SET ended_by = ?, ended_at = ?, revision = ? WHERE id = ? AND ended_at = 0`, by, b.EndedAt, b.Revision, b.ID)
	if err != nil {
		return b, err
	}
	if err := t.deleteGrant(b.Project, b.Grant); !errors.Is(err, store.ErrNotFound) {
		return b, err
	}
	return b, t.mark(`?`, b.Project) // its group was deleted between its end and now
}

// overGlass is endGlass of one whose time was over.
func (t *tx) overGlass(b store.BreakGlass) (store.BreakGlass, error) {
	b, err := t.endGlass(b, "")
	if err == nil {
		t.tell(audit.Event{Action: audit.BreakGlassEnd, Project: b.Project, Detail: map[string]string{
			"break_glass": b.ID, "group": b.Group, "reason": b.Reason,
		}})
	}
	return b, err
}

// sweepGlass writes down which are over.
func (t *tx) sweepGlass() error {
	projects, err := texts(t, `SELECT b.project_id FROM break_glass b WHERE b.ended_at = 0 AND b.until <= ? ORDER BY b.project_id LIMIT ?`, t.now, sweepRows)
	if err != nil {
		return err
	}
	for _, p := range projects {
		if _, err := t.lockProject(p); err != nil {
			return err
		}
		b, err := t.latestGlass(p)
		if err != nil || !b.EndedAt.IsZero() || b.InForce(t.now) {
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			continue // another instance was first
		}
		if _, err := t.overGlass(b); err != nil {
			return err
		}
	}
	return nil
}

// unbroken is ErrInUse while a break-glass of this condition is in force.
func (t *tx) unbroken(condition string, vs ...any) error {
	found := false
	err := one(t, []any{&found}, `SELECT EXISTS (SELECT 1 FROM break_glass b WHERE b.ended_at = 0 AND b.until > ? AND `+condition+`)`, append([]any{t.now}, vs...)...)
	if err == nil && found {
		return fmt.Errorf("a break-glass needs it: %w", store.ErrInUse)
	}
	return err
}

// BreakGlass implements store.BreakGlasses.
func (s *Store) BreakGlass(ctx context.Context, id string) (b store.BreakGlass, err error) {
	err = one(s.reader(ctx), glassInto(&b), `SELECT `+glassColumns+` FROM break_glass b WHERE b.id = ?`, id)
	return b, err
}

// BreakGlasses implements store.BreakGlasses.
func (s *Store) BreakGlasses(ctx context.Context, p store.Page) ([]store.BreakGlass, string, error) {
	return list[store.BreakGlass]{
		query: `SELECT ` + glassColumns + ` FROM break_glass b WHERE true`,
		order: "b.began_at", id: "b.id", newest: true, into: glassInto,
		key: func(b *store.BreakGlass) (any, string) { return b.BeganAt, b.ID },
	}.page(ctx, s, p)
}
