package provision

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

type users struct{ *Service }

func (s users) list(ctx context.Context, f From, q scim.Query) (scim.List, error) {
	return list(q, "userName", func(sq store.ScimQuery) ([]scim.Tree, int, error) {
		rows, total, err := s.Store.ScimUsers(ctx, f.Client.ID, sq)
		out := make([]scim.Tree, 0, len(rows))
		for _, v := range rows {
			r, bad := s.show(v)
			if bad != nil {
				return nil, 0, bad
			}
			out = append(out, r.tree)
		}
		return out, total, err
	})
}

// show is a row as it is shown, without groups.
func (s users) show(v store.ScimUser) (*resource, error) {
	t, err := scim.Parse(v.Resource)
	if err != nil {
		return nil, errors.New("a user's resource cannot be read again: " + v.User.ID)
	}
	r := &resource{id: v.User.ID, version: v.Version, location: s.Base() + "/Users/" + v.User.ID}
	t["schemas"], t["id"], t["userName"], t["active"] = schemas(scim.UserURN, t), v.User.ID, v.UserName, v.Active
	t["meta"] = about("User", r, v.CreatedAt, v.ChangedAt)
	r.tree = t
	return r, nil
}

func about(kind string, r *resource, created, changed time.Time) scim.Tree {
	return scim.Tree{"resourceType": kind, "location": r.location, "version": ETag(r.version),
		"created": created.UTC().Format(time.RFC3339), "lastModified": changed.UTC().Format(time.RFC3339)}
}

func (s users) read(ctx context.Context, f From, id string, q scim.Query) (*resource, error) {
	v, err := s.find(ctx, f, id, "")
	if err != nil {
		return nil, err
	}
	r, err := s.show(v)
	if err != nil || !q.Wants("groups") {
		return r, err
	}
	// In lists they are left out: that would be a question for each.
	in, err := s.Store.ScimGroupsOf(ctx, f.Client.ID, id)
	groups := make([]any, 0, len(in))
	for _, g := range in {
		groups = append(groups, scim.Tree{"value": g.Group.ID, "display": g.Name, "$ref": s.Base() + "/Groups/" + g.Group.ID})
	}
	if len(groups) > 0 {
		r.tree["groups"] = groups
	}
	return r, err
}

// find is one of the client's; want is an If-Match, empty for any version.
func (s users) find(ctx context.Context, f From, id, want string) (store.ScimUser, error) {
	if ident.Check(id, ident.User) != nil {
		return store.ScimUser{}, notFound("user of this id")
	}
	v, err := s.Store.ScimUser(ctx, f.Client.ID, id)
	if errors.Is(err, store.ErrNotFound) {
		err = notFound("user of this id")
	}
	if err != nil {
		return v, err
	}
	return v, demand(want, v.Version)
}

func (s users) create(ctx context.Context, f From, t scim.Tree) (*resource, error) {
	u, err := scim.UserOf(t)
	if err != nil {
		return nil, err
	}
	login, err := loginOf(u.UserName)
	if err != nil {
		return nil, err
	}
	raw, err := kept(t)
	if err != nil {
		return nil, err
	}
	id := ident.New(ident.User)
	e := s.event(f, audit.UserCreate, id, map[string]string{"name": login, "login": login, "user_name": ident.Text(u.UserName), "external_id": ident.Text(u.ExternalID)})
	v := store.ScimUser{
		Client: f.Client.ID, ExternalID: u.ExternalID, UserName: u.UserName, Active: u.Active, Resource: raw,
		User: store.User{ID: id, Name: login, Login: login, FullName: fullName(u.FullName), Email: email(u.Email), CreatedAt: e.Time},
	}
	made, err := s.Store.CreateScimUser(ctx, v, meta(e))
	if errors.Is(err, store.ErrExists) {
		made, err = s.adoptOrWait(ctx, f, v)
	}
	if err != nil {
		return nil, err
	}
	return s.show(made)
}

func (s users) change(ctx context.Context, f From, id, want string, whole scim.Tree, operations []scim.Operation) (*resource, error) {
	old, err := s.find(ctx, f, id, want)
	if err != nil {
		return nil, err
	}
	t := whole
	if whole == nil {
		if t, err = patched(old.Resource, scim.Tree{"userName": old.UserName}, operations); err != nil {
			return nil, err
		}
	}
	if _, said := t["active"]; !said {
		t["active"] = old.Active // who says nothing of it lets nobody in again
	}
	u, err := scim.UserOf(t)
	if err != nil {
		return nil, err
	}
	raw, err := kept(t)
	if err != nil {
		return nil, err
	}
	// An administrator may have let in whom the client deactivated: it says so again, and is heard.
	enters := old.User.Status == store.Active
	if bytes.Equal(raw, old.Resource) && u.Active == old.Active && (u.Active || !enters) {
		return s.show(old)
	}
	v := old
	v.ExternalID, v.UserName, v.Active, v.Resource = u.ExternalID, u.UserName, u.Active, raw
	v.User.FullName, v.User.Email = fullName(u.FullName), email(u.Email)
	action := audit.UserUpdate
	switch {
	case !v.Active && (old.Active || enters):
		action = audit.UserDisable
	case v.Active && !old.Active && old.User.DisabledBy == f.Client.ID:
		action = audit.UserEnable
	}
	e := s.event(f, action, id, map[string]string{"name": old.User.Name, "user_name": ident.Text(u.UserName), "external_id": ident.Text(u.ExternalID)})
	if v.Active && !old.Active && !enters && action == audit.UserUpdate {
		e.Reason = "an administrator disabled the user, who stays so"
	}
	v, err = s.Store.PutScimUser(ctx, v, meta(e))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, taken("there is a user of this userName")
	case errors.Is(err, store.ErrLastAdmin):
		return nil, s.refuse(ctx, e, err)
	case err != nil:
		return nil, err
	}
	return s.show(v)
}

func (s users) remove(ctx context.Context, f From, id, want string) error {
	v, err := s.find(ctx, f, id, want)
	if err != nil {
		return err
	}
	e := s.event(f, audit.UserDelete, id, map[string]string{"name": v.User.Name, "login": v.User.Login})
	err = s.Store.DeleteScimUser(ctx, f.Client.ID, id, v.Version, meta(e))
	if errors.Is(err, store.ErrLastAdmin) {
		return s.refuse(ctx, e, err)
	}
	return err
}

// refuse audits what a client was refused that administrators should know of.
func (s *Service) refuse(ctx context.Context, e audit.Event, why error) error {
	e.Outcome, e.Reason = audit.Denied, "the last active administrator stays"
	return errors.Join(why, s.Store.AppendAudit(ctx, meta(e)))
}
