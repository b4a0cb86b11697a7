package directory

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// CreateGrant lets a group into a project's servers.
func (s *Service) CreateGrant(ctx context.Context, by caller.Caller, project string, in api.NewGrant) (*api.Grant, error) {
	now := s.now()
	role := in.Role
	if role == "" {
		role = string(policy.RoleUser)
	}
	if role != string(policy.RoleUser) && role != string(policy.RoleAdmin) {
		return nil, api.Errorf(api.Invalid, "a role is %s or %s", policy.RoleUser, policy.RoleAdmin)
	}
	selector, err := policy.ParseSelector(in.Selector)
	if err != nil {
		return nil, lookup.Invalid(err)
	}
	if err := checkUntil(in.Until, now); err != nil {
		return nil, err
	}
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	group, err := s.group(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	sudo, err := s.sudo(ctx, role, in.Sudo)
	if err != nil {
		return nil, err
	}
	g := store.Grant{
		ID: ident.New(ident.Grant), Project: p.ID, Group: group.ID, GroupName: group.Name, Role: role,
		Selector: selector.String(), Until: in.Until.UTC(), Entitlements: sudo, CreatedAt: now,
	}
	e := by.Event(s.now(), audit.GrantCreate)
	e.Project, e.Detail = p.ID, grantDetail(g)
	created, err := s.Store.CreateGrant(ctx, g, by.MetaFor(now, g.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		created, err = s.grant(ctx, p.ID, ref)
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+p.Name+", group "+group.Name+" or entitlement that was named")
	}
	created.GroupName = group.Name
	out := grantOf(created)
	return &out, nil
}

func grantDetail(g store.Grant) map[string]string {
	d := map[string]string{"grant": g.ID, "group": g.Group, "name": g.GroupName, "role": g.Role}
	if g.Selector != "" {
		d["selector"] = g.Selector
	}
	if !g.Until.IsZero() {
		d["until"] = g.Until.Format(time.RFC3339)
	}
	if len(g.Entitlements) > 0 {
		d["sudo"] = strings.Join(names(g.Entitlements), ",")
	}
	return d
}

func names(entitlements []store.EntitlementRef) (out []string) {
	for _, e := range entitlements {
		out = append(out, e.Name)
	}
	return out
}

// sudo finds the entitlements that a grant of this role shall have, each once.
func (s *Service) sudo(ctx context.Context, role string, refs []string) (out []store.EntitlementRef, err error) {
	if len(refs) > 0 && role == string(policy.RoleAdmin) {
		return nil, api.Errorf(api.Invalid, "the role %s may run everything by sudo; entitlements are for the role %s", policy.RoleAdmin, policy.RoleUser).
			WithHint("leave out one of --role and --sudo")
	}
	if len(refs) > entitlement.MaxPerGrant {
		return nil, api.Errorf(api.Invalid, "%d entitlements, at most %d are in one grant", len(refs), entitlement.MaxPerGrant).
			WithHint("put more commands into one of them, or make a second grant")
	}
	for _, ref := range refs {
		e, err := s.entitlement(ctx, ref)
		if err != nil {
			return nil, err
		}
		if r := (store.EntitlementRef{ID: e.ID, Name: e.Name}); !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// UpdateGrant changes what a grant's members may run by sudo.
func (s *Service) UpdateGrant(ctx context.Context, by caller.Caller, project, id string, in api.GrantPatch) (*api.Grant, error) {
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	g, err := s.grant(ctx, p.ID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noGrant(id, p.Name)
	}
	if err != nil {
		return nil, err
	}
	if in.Sudo == nil {
		return nil, api.Errorf(api.Invalid, "the change names nothing that a grant's change can be").
			WithHint("give sudo, or delete the grant and make another")
	}
	if g.Entitlements, err = s.sudo(ctx, g.Role, *in.Sudo); err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.GrantUpdate)
	e.Project, e.Detail = p.ID, grantDetail(g)
	e.Detail["sudo"] = strings.Join(names(g.Entitlements), ",") // also where there is none any more
	updated, err := s.Store.UpdateGrant(ctx, p.ID, g.ID, store.GrantChange{Entitlements: g.Entitlements}, by.MetaFor(s.now(), g.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		updated, err = s.grant(ctx, p.ID, ref)
	}
	if err != nil {
		return nil, caller.Explain(err, "grant "+id+" in project "+p.Name+", or entitlement that was named")
	}
	out := grantOf(updated)
	return &out, nil
}

// Grants lists those of a project.
func (s *Service) Grants(ctx context.Context, project string, pg api.Page) (*api.List[api.Grant], error) {
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.Grants(ctx, p.ID, lookup.Page(pg))
	if err != nil {
		return nil, caller.Explain(err, "such page of grants")
	}
	return lookup.List(rows, next, grantOf), nil
}

// DeleteGrant takes it back.
func (s *Service) DeleteGrant(ctx context.Context, by caller.Caller, project, id string) (*api.Named, error) {
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	if ident.Check(id, ident.Grant) != nil {
		return nil, noGrant(id, p.Name)
	}
	e := by.Event(s.now(), audit.GrantDelete)
	e.Project, e.Detail = p.ID, map[string]string{"grant": id}
	err = s.Store.DeleteGrant(ctx, p.ID, id, by.MetaFor(s.now(), id, audit.Encode(e)))
	return lookup.Named(id, explainKept(err, "grant "+id+" in project "+p.Name))
}

// explainKept explains why a grant or a group was not deleted: what a break-glass let in
// stays while it lasts.
func explainKept(err error, what string) error {
	if errors.Is(err, store.ErrInUse) {
		return api.Errorf(api.Conflict, "%s is kept while a break-glass lets it in", what).
			WithHint("to see it type: cardea admin break-glass ls").WithCause(err)
	}
	return caller.Explain(err, what)
}

// grant finds one of a project; there are few.
func (s *Service) grant(ctx context.Context, project, id string) (store.Grant, error) {
	found, err := store.Grant{}, store.ErrNotFound
	read := func(ctx context.Context, p store.Page) ([]store.Grant, string, error) {
		return s.Store.Grants(ctx, project, p)
	}
	fault := lookup.All(ctx, read, func(g store.Grant) bool {
		if g.ID == id {
			found, err = g, nil
		}
		return err != nil
	})
	if fault != nil {
		return store.Grant{}, fault
	}
	return found, err
}

func noGrant(id, project string) error {
	return api.Errorf(api.NotFound, "there is no grant %q in project %s", ident.Text(lookup.Shown(id)), project).
		WithHint("to see them type: cardea admin grants list %s", project)
}

func grantOf(g store.Grant) api.Grant {
	return api.Grant{
		ID: g.ID, Project: g.Project, Group: g.Group, GroupName: g.GroupName, Role: g.Role,
		Selector: g.Selector, Until: g.Until, Sudo: names(g.Entitlements), CreatedAt: g.CreatedAt,
	}
}
