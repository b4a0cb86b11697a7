package provision

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

type groups struct{ *Service }

func (s groups) list(ctx context.Context, f From, q scim.Query) (scim.List, error) {
	// Members are a question for each group.
	full := q.Wants("members") || q.Filter != nil && scim.Names(q.Filter, "members")
	return list(q, "displayName", func(sq store.ScimQuery) ([]scim.Tree, int, error) {
		rows, total, err := s.Store.ScimGroups(ctx, f.Client.ID, sq)
		out := make([]scim.Tree, 0, len(rows))
		for _, v := range rows {
			if full {
				if v, err = s.Store.ScimGroup(ctx, f.Client.ID, v.Group.ID); errors.Is(err, store.ErrNotFound) {
					continue // deleted meanwhile
				}
			}
			if err != nil {
				return nil, 0, err
			}
			r, bad := s.show(v)
			if bad != nil {
				return nil, 0, bad
			}
			out = append(out, r.tree)
		}
		return out, total, err
	})
}

func (s groups) show(v store.ScimGroup) (*resource, error) {
	t, err := scim.Parse(v.Resource)
	if err != nil {
		return nil, errors.New("a group's resource cannot be read again: " + v.Group.ID)
	}
	r := &resource{id: v.Group.ID, version: v.Version, location: s.Base() + "/Groups/" + v.Group.ID}
	t["schemas"], t["id"], t["displayName"] = schemas(scim.GroupURN, t), v.Group.ID, v.Name
	t["meta"] = about("Group", r, v.CreatedAt, v.ChangedAt)
	if members := s.members(v.Members); len(members) > 0 {
		t["members"] = members
	}
	r.tree = t
	return r, nil
}

func (s groups) members(ids []string) []any {
	out := make([]any, 0, len(ids))
	for _, id := range ids {
		out = append(out, scim.Tree{"value": id, "type": "User", "$ref": s.Base() + "/Users/" + id})
	}
	return out
}

func (s groups) read(ctx context.Context, f From, id string, _ scim.Query) (*resource, error) {
	v, err := s.find(ctx, f, id, "")
	if err != nil {
		return nil, err
	}
	return s.show(v)
}

// find is one of the client's; want is an If-Match, empty for any version.
func (s groups) find(ctx context.Context, f From, id, want string) (store.ScimGroup, error) {
	if ident.Check(id, ident.UserGroup) != nil {
		return store.ScimGroup{}, notFound("group of this id")
	}
	v, err := s.Store.ScimGroup(ctx, f.Client.ID, id)
	if errors.Is(err, store.ErrNotFound) {
		err = notFound("group of this id")
	}
	if err != nil {
		return v, err
	}
	return v, demand(want, v.Version)
}

// keep makes the row of a tree.
func (s groups) keep(v store.ScimGroup, f From, t scim.Tree) (store.ScimGroup, error) {
	g, err := scim.GroupOf(t)
	if err != nil {
		return v, err
	}
	if len(g.Members) > scim.MaxMembers {
		return v, &scim.Error{Status: 413, Detail: "a group has at most 10000 members"}
	}
	bare := maps.Clone(t)
	delete(bare, "members")
	v.Client, v.Source, v.ExternalID, v.Name, v.Members = f.Client.ID, f.Source, g.ExternalID, g.DisplayName, g.Members
	v.Resource, err = kept(bare)
	return v, err
}

func (s groups) create(ctx context.Context, f From, t scim.Tree) (*resource, error) {
	v, err := s.keep(store.ScimGroup{}, f, t)
	if err != nil {
		return nil, err
	}
	name, err := groupName(v.Name)
	if err != nil {
		return nil, err
	}
	v.Group = store.Group{ID: ident.New(ident.UserGroup), Name: name, CreatedAt: s.now()}
	e := s.event(f, audit.GroupCreate, "", map[string]string{"group": v.Group.ID, "name": name, "display_name": ident.Text(v.Name)})
	made, err := s.Store.CreateScimGroup(ctx, v, meta(e))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, taken("the group " + name + ", which this displayName stands for, is there already, or is the login of a user")
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound("user who is named as a member")
	case err != nil:
		return nil, err
	}
	return s.show(made)
}

func (s groups) change(ctx context.Context, f From, id, want string, whole scim.Tree, operations []scim.Operation) (*resource, error) {
	old, err := s.find(ctx, f, id, want)
	if err != nil {
		return nil, err
	}
	t := whole
	if whole == nil {
		if t, err = patched(old.Resource, scim.Tree{"displayName": old.Name, "members": s.members(old.Members)}, operations); err != nil {
			return nil, err
		}
	} else if _, said := t["members"]; !said {
		t["members"] = s.members(old.Members) // who says nothing of them takes nobody out
	}
	v, err := s.keep(old, f, t)
	if err != nil {
		return nil, err
	}
	slices.Sort(v.Members)
	slices.Sort(old.Members)
	same := slices.Equal(v.Members, old.Members)
	if same && bytes.Equal(v.Resource, old.Resource) {
		return s.show(old)
	}
	e := s.event(f, audit.GroupUpdate, "", map[string]string{"group": id, "name": old.Group.Name, "display_name": ident.Text(v.Name)})
	changed, err := s.Store.PutScimGroup(ctx, v, meta(e))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, taken("there is a group of this displayName")
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound("user who is named as a member")
	case err != nil:
		return nil, err
	}
	return s.show(changed)
}

func (s groups) remove(ctx context.Context, f From, id, want string) error {
	v, err := s.find(ctx, f, id, want)
	if err != nil {
		return err
	}
	e := s.event(f, audit.GroupDelete, "", map[string]string{"group": id, "name": v.Group.Name})
	return s.Store.DeleteScimGroup(ctx, f.Client.ID, id, v.Version, meta(e))
}
