package sqlstore

import (
	"context"
	"fmt"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

const (
	scimGroupColumns = groupColumns + ", s.client_id, s.external_id, s.name, s.resource, s.version, s.created_at, s.changed_at"
	scimGroupsFrom   = ` FROM scim_groups s JOIN user_groups g ON g.id = s.group_id WHERE s.client_id = ?`
	// scimMembers are the members whom the client made, and who are not deleted.
	scimMembers = `SELECT m.user_id FROM members m JOIN scim_users s ON s.user_id = m.user_id JOIN users u ON u.id = m.user_id
		WHERE m.group_id = ? AND s.client_id = ? AND u.status <> 'deleted' ORDER BY m.user_id`
)

func scimGroupInto(v *store.ScimGroup) []any {
	return append(groupInto(&v.Group), &v.Client, &v.ExternalID, &v.Name, &blob{&v.Resource}, &v.Version, &v.CreatedAt, &v.ChangedAt)
}

// CreateScimGroup implements store.Provisioning.
func (s *Store) CreateScimGroup(ctx context.Context, v store.ScimGroup, m store.Meta) (store.ScimGroup, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimGroup, error) {
		v := v // a batch may be done twice
		if _, err := t.scimClient(v.Client); err != nil {
			return v, err
		}
		g := v.Group
		g.Source, g.External = v.Client, v.Name
		taken := false
		if err := one(t, []any{&taken}, `SELECT EXISTS (SELECT 1 FROM users WHERE login = ?)`, g.Name); err != nil {
			return v, err
		}
		if taken {
			return v, fmt.Errorf("a user has the login: %w", store.ErrExists)
		}
		g, err := t.insertGroup(g)
		if err != nil {
			return v, err
		}
		v.Group, v.Version, v.CreatedAt, v.ChangedAt = g, 1, g.CreatedAt, g.CreatedAt
		_, err = t.exec(`INSERT INTO scim_groups (group_id, client_id, external_id, name, name_key, resource, version, created_at, changed_at)
			VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)`, g.ID, v.Client, v.ExternalID, v.Name, nameKey(v.Name), string(v.Resource), v.CreatedAt, v.ChangedAt)
		if err != nil {
			return v, err
		}
		return v, t.putScimMembers(v, v.Members)
	})
}

// ScimGroup implements store.Provisioning.
func (s *Store) ScimGroup(ctx context.Context, client, id string) (v store.ScimGroup, err error) {
	err = s.snapshot(ctx, func(r reader) error {
		if v, err = scimGroup(r, client, id, ""); err != nil {
			return err
		}
		v.Members, err = texts(r, scimMembers, id, client)
		return err
	})
	return v, err
}

func scimGroup(db querier, client, id, lock string) (v store.ScimGroup, err error) {
	err = one(db, scimGroupInto(&v), `SELECT `+scimGroupColumns+scimGroupsFrom+` AND s.group_id = ?`+lock, client, id)
	return v, err
}

// ScimGroups implements store.Provisioning.
func (s *Store) ScimGroups(ctx context.Context, client string, q store.ScimQuery) ([]store.ScimGroup, int, error) {
	from, vs := narrow(scimGroupsFrom, q, "s.group_id")
	return scimPage(ctx, s, scimGroupInto, `SELECT `+scimGroupColumns, from, "s.group_id", q, append([]any{client}, vs...))
}

// ScimGroupsOf implements store.Provisioning.
func (s *Store) ScimGroupsOf(ctx context.Context, client, user string) ([]store.ScimGroup, error) {
	return all(s.reader(ctx), scimGroupInto, `SELECT `+scimGroupColumns+scimGroupsFrom+`
		AND EXISTS (SELECT 1 FROM members m WHERE m.group_id = s.group_id AND m.user_id = ?) ORDER BY s.name_key`, client, user)
}

// PutScimGroup implements store.Provisioning.
func (s *Store) PutScimGroup(ctx context.Context, v store.ScimGroup, m store.Meta) (store.ScimGroup, error) {
	return get(ctx, s, m, true, func(t *tx) (store.ScimGroup, error) {
		v := v // a batch may be done twice
		c, old, err := t.changeScimGroup(v.Client, v.Group.ID, v.Version)
		if err != nil {
			return v, err
		}
		was, err := texts(t, scimMembers, v.Group.ID, v.Client)
		if err != nil {
			return v, err
		}
		more, gone := apart(was, v.Members)
		if err := t.brakeMembers(c, v.Group.ID, gone); err != nil {
			return v, err
		}
		v.Group, v.Version, v.CreatedAt, v.ChangedAt = old.Group, old.Version+1, old.CreatedAt, moment(micros(t.now))
		v.Group.External = v.Name
		if _, err := t.exec(`UPDATE user_groups SET external = ? WHERE id = ? AND source = ?`, v.Name, v.Group.ID, v.Client); err != nil {
			return v, err
		}
		_, err = t.exec(`UPDATE scim_groups SET external_id = ?, name = ?, name_key = ?, resource = ?, version = ?, changed_at = ? WHERE group_id = ? AND client_id = ?`,
			v.ExternalID, v.Name, nameKey(v.Name), string(v.Resource), v.Version, v.ChangedAt, v.Group.ID, v.Client)
		if err != nil {
			return v, err
		}
		if err := t.removeScimMembers(v, gone); err != nil {
			return v, err
		}
		return v, t.putScimMembers(v, more)
	})
}

// changeScimGroup locks a group that is to change, and its client.
func (t *tx) changeScimGroup(client, id string, version int64) (c store.ScimClient, v store.ScimGroup, err error) {
	if c, err = t.scimClient(client); err != nil {
		return c, v, err
	}
	if v, err = scimGroup(t, client, id, " /*lock*/"); err == nil && version != 0 && v.Version != version {
		err = store.ErrChanged
	}
	return c, v, err
}

// apart are those of now who were not there before, and those before who are not now.
func apart(before, now []string) (more, gone []string) {
	old, kept := map[string]bool{}, map[string]bool{}
	for _, u := range before {
		old[u] = true
	}
	for _, u := range now {
		if !old[u] && !kept[u] {
			more = append(more, u)
		}
		kept[u] = true
	}
	for _, u := range before {
		if !kept[u] {
			gone = append(gone, u)
		}
	}
	return more, gone
}

// brakeMembers is the brake for those who go out of a group; who is locked out anyway loses
// nothing by that.
func (t *tx) brakeMembers(c store.ScimClient, group string, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	active, err := texts(t, `SELECT m.user_id FROM members m JOIN scim_users s ON s.user_id = m.user_id WHERE m.group_id = ? AND s.client_id = ? AND s.active`, group, c.ID)
	if err != nil {
		return err
	}
	loses := map[string]bool{}
	for _, u := range active {
		loses[u] = true
	}
	var users []string
	for _, u := range gone {
		if loses[u] {
			users = append(users, u)
		}
	}
	return t.brake(c, users...)
}

func (t *tx) putScimMembers(v store.ScimGroup, users []string) error {
	for _, u := range users {
		var id string
		if err := one(t, []any{&id}, `SELECT s.user_id FROM scim_users s JOIN users u ON u.id = s.user_id WHERE s.user_id = ? AND s.client_id = ? AND u.status <> 'deleted'`, u, v.Client); err != nil {
			return fmt.Errorf("member: %w", err)
		}
		rev, err := t.revision()
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO members (group_id, user_id, until, revision) VALUES (?, ?, 0, ?)
			ON CONFLICT (group_id, user_id) DO UPDATE SET until = 0, revision = excluded.revision`, v.Group.ID, u, rev); err != nil {
			return err
		}
		t.touch(store.UserTopic(u))
		t.tellMember(audit.MemberPut, v, u)
	}
	return t.markMembers(v, users)
}

func (t *tx) removeScimMembers(v store.ScimGroup, users []string) error {
	for _, u := range users {
		if err := t.leave(leaveByMember, v.Group.ID, u); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM members WHERE group_id = ? AND user_id = ?`, v.Group.ID, u); err != nil {
			return err
		}
		t.touch(store.UserTopic(u))
		t.tellMember(audit.MemberRemove, v, u)
	}
	return t.markMembers(v, users)
}

func (t *tx) markMembers(v store.ScimGroup, users []string) error {
	if len(users) == 0 {
		return nil
	}
	return t.mark(projectsOfGroup, v.Group.ID)
}

func (t *tx) tellMember(action string, v store.ScimGroup, user string) {
	t.audit = append(t.audit, audit.Encode(audit.Event{
		Time: t.now, Action: action, Outcome: audit.Allowed, Actor: v.Client, User: user, Source: v.Source,
		Detail: map[string]string{"group": v.Group.ID, "name": v.Group.Name},
	}))
}

// DeleteScimGroup implements store.Provisioning.
func (s *Store) DeleteScimGroup(ctx context.Context, client, id string, version int64, m store.Meta) error {
	return s.doDirectory(ctx, m, func(t *tx) error {
		c, _, err := t.changeScimGroup(client, id, version)
		if err != nil {
			return err
		}
		members, err := texts(t, scimMembers, id, client)
		if err != nil {
			return err
		}
		if err := t.brakeMembers(c, id, members); err != nil {
			return err
		}
		return t.deleteGroup(id)
	})
}
