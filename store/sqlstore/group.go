package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cardea-ssh/cardea/store"
)

const (
	groupColumns  = "g.id, g.name, g.gid, g.created_at, g.source, g.external"
	memberColumns = "m.group_id, m.user_id, u.name, m.until, m.revision"
)

func groupInto(g *store.Group) []any {
	return []any{&g.ID, &g.Name, &g.GID, &g.CreatedAt, &g.Source, &g.External}
}

func memberInto(m *store.Member) []any {
	return []any{&m.Group, &m.User, &m.UserName, &m.Until, &m.Revision}
}

// projectsOfGroup are those that have a grant for it.
const projectsOfGroup = `SELECT project_id FROM grants WHERE group_id = ?`

// CreateGroup implements store.Directory.
func (s *Store) CreateGroup(ctx context.Context, g store.Group, m store.Meta) (store.Group, error) {
	return get(ctx, s, m, true, func(t *tx) (store.Group, error) {
		if err := t.knownSource(g.Source); err != nil {
			return g, err
		}
		return t.insertGroup(g)
	})
}

// insertGroup is for who has seen to its source.
func (t *tx) insertGroup(g store.Group) (store.Group, error) {
	err := t.freeOfShared(g.Name)
	if err != nil {
		return g, err
	}
	if g.GID, err = t.unixID(); err != nil {
		return g, err
	}
	g.CreatedAt = created(g.CreatedAt, t)
	_, err = t.exec(`INSERT INTO user_groups (id, name, gid, created_at, source, external) VALUES (?, ?, ?, ?, ?, ?)`,
		g.ID, g.Name, g.GID, g.CreatedAt, g.Source, g.External)
	return g, err
}

// Group implements store.Directory.
func (s *Store) Group(ctx context.Context, id string) (store.Group, error) {
	var g store.Group
	err := one(s.reader(ctx), groupInto(&g), `SELECT `+groupColumns+` FROM user_groups g WHERE g.id = ?`, id)
	return g, err
}

// GroupByName implements store.Directory.
func (s *Store) GroupByName(ctx context.Context, name string) (store.Group, error) {
	var g store.Group
	err := one(s.reader(ctx), groupInto(&g), `SELECT `+groupColumns+` FROM user_groups g WHERE g.name = ?`, name)
	return g, err
}

// Groups implements store.Directory: by name.
func (s *Store) Groups(ctx context.Context, p store.Page) ([]store.Group, string, error) {
	return list[store.Group]{
		query: `SELECT ` + groupColumns + ` FROM user_groups g WHERE true`,
		order: "g.name", id: "g.id", into: groupInto,
		key: func(g *store.Group) (any, string) { return g.Name, g.ID },
	}.page(ctx, s, p)
}

// DeleteGroup implements store.Directory.
func (s *Store) DeleteGroup(ctx context.Context, id string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error { return t.deleteGroup(id) })
}

func (t *tx) deleteGroup(id string) error {
	if err := t.lockGroup(id); err != nil {
		return err
	}
	if err := t.unbroken(`b.group_id = ?`, id); err != nil {
		return err
	}
	if err := t.mark(projectsOfGroup, id); err != nil {
		return err
	}
	if err := t.leave(leaveByGroup, id); err != nil {
		return err
	}
	if err := t.dropRules(`r.group_id = ? OR r.askers = ? OR r.approvers = ?`, id, id, id); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM scim_groups WHERE group_id = ?`, id); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM grants WHERE group_id = ?`, id); err != nil {
		return err
	}
	users, err := texts(t, `DELETE FROM members WHERE group_id = ? RETURNING user_id`, id)
	if err != nil {
		return err
	}
	for _, u := range users {
		t.touch(store.UserTopic(u))
	}
	_, err = t.exec(`DELETE FROM user_groups WHERE id = ?`, id)
	return err
}

func (t *tx) lockGroup(id string) error {
	_, err := t.groupSource(id)
	return err
}

// groupSource locks a group and tells who keeps its members.
func (t *tx) groupSource(id string) (source string, err error) {
	if err := one(t, []any{&source}, `SELECT source FROM user_groups WHERE id = ? /*lock*/`, id); err != nil {
		return "", fmt.Errorf("group: %w", err)
	}
	return source, nil
}

// byHand locks a group whose members people put and remove.
func (t *tx) byHand(id string) error {
	source, err := t.groupSource(id)
	if err == nil && source != "" {
		return fmt.Errorf("a provider keeps the group: %w", store.ErrDenied)
	}
	return err
}

// PutMember implements store.Directory.
func (s *Store) PutMember(ctx context.Context, v store.Member, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		if err := t.byHand(v.Group); err != nil {
			return err
		}
		var status string
		if err := one(t, []any{&status}, `SELECT status FROM users WHERE id = ? /*share*/`, v.User); err != nil {
			return fmt.Errorf("user: %w", err)
		}
		if status == store.Deleted {
			return store.ErrDenied
		}
		return t.putMember(v)
	})
}

// putMember is for who holds the group and the user.
func (t *tx) putMember(v store.Member) error {
	rev, err := t.revision()
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO members (group_id, user_id, until, revision) VALUES (?, ?, ?, ?)
		ON CONFLICT (group_id, user_id) DO UPDATE SET until = excluded.until, revision = excluded.revision`,
		v.Group, v.User, v.Until, rev)
	if err != nil {
		return err
	}
	t.touch(store.UserTopic(v.User))
	return t.mark(projectsOfGroup, v.Group)
}

// RemoveMember implements store.Directory.
func (s *Store) RemoveMember(ctx context.Context, group, user string, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		switch err := t.byHand(group); {
		case errors.Is(err, store.ErrNotFound): // as a membership that there is not
		case err != nil:
			return err
		}
		return t.removeMember(group, user)
	})
}

func (t *tx) removeMember(group, user string) error {
	if err := t.leave(leaveByMember, group, user); err != nil {
		return err
	}
	if err := t.must(store.ErrNotFound, `DELETE FROM members WHERE group_id = ? AND user_id = ?`, group, user); err != nil {
		return err
	}
	t.touch(store.UserTopic(user))
	return t.mark(projectsOfGroup, group)
}

// Members implements store.Directory: by user name.
func (s *Store) Members(ctx context.Context, group string, p store.Page) ([]store.Member, string, error) {
	return list[store.Member]{
		query: `SELECT ` + memberColumns + ` FROM members m JOIN users u ON u.id = m.user_id WHERE m.group_id = ?`,
		order: "u.name", id: "u.id", into: memberInto,
		key: func(m *store.Member) (any, string) { return m.UserName, m.User },
	}.page(ctx, s, p, group)
}
