package directory

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// CreateGroup makes a group; its name becomes a Unix group on servers.
func (s *Service) CreateGroup(ctx context.Context, by caller.Caller, in api.NewGroup) (*api.Group, error) {
	if err := ident.Group(in.Name); err != nil {
		return nil, lookup.Invalid(err)
	}
	if ident.Check(in.Name, ident.UserGroup) == nil {
		return nil, api.Errorf(api.Invalid, "%q is no group name: it has the form of an id", in.Name)
	}
	if err := s.freeOfLogins(ctx, in.Name); err != nil {
		return nil, err
	}
	g := store.Group{ID: ident.New(ident.UserGroup), Name: in.Name, CreatedAt: s.now()}
	e := by.Event(s.now(), audit.GroupCreate)
	e.Detail = map[string]string{"group": g.ID, "name": g.Name}
	if err := s.keptBy(ctx, &g, in.Provider, in.External, e.Detail); err != nil {
		return nil, err
	}
	created, err := s.Store.CreateGroup(ctx, g, by.MetaFor(g.CreatedAt, g.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		created, err = s.Store.Group(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) && g.Source != "" {
		return nil, api.Errorf(api.Conflict, "group %s exists already, or another group is what the provider calls %s", g.Name, lookup.Shown(g.External)).
			WithHint("to see which type: cardea admin groups list").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "group "+in.Name)
	}
	out := groupOf(created)
	return &out, nil
}

// freeOfLogins refuses the login of any user, deleted ones included: their
// accounts may still be on servers, with a group of their own name.
func (s *Service) freeOfLogins(ctx context.Context, name string) error {
	taken := false
	err := lookup.All(ctx, s.Store.Users, func(u store.User) bool {
		taken = u.Login == name
		return !taken
	})
	if err == nil && taken {
		return api.Errorf(api.Conflict, "%q is the login of a user, whose account has a group of that name", name).
			WithHint("choose another name")
	}
	return err
}

// Group finds one by id or name.
func (s *Service) Group(ctx context.Context, ref string) (*api.Group, error) {
	g, err := s.group(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := groupOf(g)
	return &out, nil
}

// Groups lists them.
func (s *Service) Groups(ctx context.Context, p api.Page) (*api.List[api.Group], error) {
	rows, next, err := s.Store.Groups(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of groups")
	}
	return lookup.List(rows, next, groupOf), nil
}

// DeleteGroup removes it with its memberships and grants.
func (s *Service) DeleteGroup(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	g, err := s.group(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.GroupDelete)
	e.Detail = map[string]string{"group": g.ID, "name": g.Name}
	err = s.Store.DeleteGroup(ctx, g.ID, by.MetaFor(s.now(), g.ID, audit.Encode(e)))
	return lookup.Named(g.ID, explainKept(err, "group "+g.Name))
}

// PutMember adds a user to a group, or changes when the membership ends.
func (s *Service) PutMember(ctx context.Context, by caller.Caller, group, user string, in api.NewMember) (*api.Member, error) {
	now := s.now()
	if err := checkUntil(in.Until, now); err != nil {
		return nil, err
	}
	g, u, err := s.pair(ctx, group, user)
	if err != nil {
		return nil, err
	}
	if err := s.byHand(ctx, g); err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.MemberPut)
	e.User, e.Detail = u.ID, map[string]string{"group": g.ID, "name": g.Name}
	if !in.Until.IsZero() {
		e.Detail["until"] = in.Until.UTC().Format(time.RFC3339)
	}
	err = s.Store.PutMember(ctx, store.Member{Group: g.ID, User: u.ID, Until: in.Until.UTC()}, by.MetaFor(now, u.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); err != nil && !again {
		if errors.Is(err, store.ErrDenied) {
			return nil, api.Errorf(api.Conflict, "user %s was deleted", u.Name).WithCause(err)
		}
		return nil, caller.Explain(err, "group "+g.Name)
	}
	return &api.Member{Group: g.ID, User: u.ID, UserName: u.Name, Until: in.Until.UTC()}, nil
}

// RemoveMember takes a user out of a group.
func (s *Service) RemoveMember(ctx context.Context, by caller.Caller, group, user string) (*api.Named, error) {
	g, u, err := s.pair(ctx, group, user)
	if err != nil {
		return nil, err
	}
	if err := s.byHand(ctx, g); err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.MemberRemove)
	e.User, e.Detail = u.ID, map[string]string{"group": g.ID, "name": g.Name}
	err = s.Store.RemoveMember(ctx, g.ID, u.ID, by.MetaFor(s.now(), u.ID, audit.Encode(e)))
	return lookup.Named(u.ID, caller.Explain(err, "member "+u.Name+" of group "+g.Name))
}

// Members lists those of a group.
func (s *Service) Members(ctx context.Context, group string, p api.Page) (*api.List[api.Member], error) {
	g, err := s.group(ctx, group)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.Members(ctx, g.ID, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of members")
	}
	return lookup.List(rows, next, memberOf), nil
}

func (s *Service) pair(ctx context.Context, group, user string) (store.Group, store.User, error) {
	g, err := s.group(ctx, group)
	if err != nil {
		return g, store.User{}, err
	}
	u, err := s.user(ctx, user)
	return g, u, err
}

func (s *Service) group(ctx context.Context, ref string) (store.Group, error) {
	return lookup.Find(ctx, lookup.Kind[store.Group]{Name: "group", Prefix: ident.UserGroup, ByID: s.Store.Group, ByName: s.Store.GroupByName}, ref)
}

func groupOf(g store.Group) api.Group {
	return api.Group{ID: g.ID, Name: g.Name, GID: g.GID, CreatedAt: g.CreatedAt, Provider: g.Source, External: g.External}
}

func memberOf(m store.Member) api.Member {
	return api.Member{Group: m.Group, User: m.User, UserName: m.UserName, Until: m.Until}
}
