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
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// BeginBreakGlass lets one group alone into a project, without gateways, for a time.
func (s *Service) BeginBreakGlass(ctx context.Context, by caller.Caller, project string, in api.NewBreakGlass) (*api.BreakGlass, error) {
	now := s.now()
	life := time.Duration(in.Seconds) * time.Second
	role := policy.Role(in.Role)
	if role == "" {
		role = policy.RoleUser
	}
	switch {
	case role != policy.RoleUser && role != policy.RoleAdmin:
		return nil, api.Errorf(api.Invalid, "a role is %s or %s", policy.RoleUser, policy.RoleAdmin)
	case life < api.MinBreakGlass || life > api.MaxBreakGlass:
		return nil, api.Errorf(api.Invalid, "a break-glass lasts %s to %s, not %s", api.MinBreakGlass, api.MaxBreakGlass, life).
			WithHint("for longer change the project: type: cardea admin projects update %s --gateway none", project)
	case in.Reason == "" || len(in.Reason) > api.MaxBreakGlassReason || ident.Text(in.Reason) != in.Reason:
		return nil, api.Errorf(api.Invalid, "a reason is one line of at most %d bytes, and everybody concerned reads it", api.MaxBreakGlassReason)
	}
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	group, err := s.group(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	b := store.BreakGlass{
		ID: ident.New(ident.BreakGlass), Project: p.ID, Group: group.ID, Role: string(role), Grant: ident.New(ident.Grant),
		Reason: in.Reason, BeganBy: by.User.ID, Until: now.Add(life),
	}
	e := by.Event(now, audit.BreakGlassBegin)
	e.Project, e.Reason = p.ID, b.Reason
	e.Detail = map[string]string{"break_glass": b.ID, "group": group.ID, "name": group.Name, "role": b.Role, "grant": b.Grant, "until": b.Until.Format(time.RFC3339)}
	begun, err := s.Store.BeginBreakGlass(ctx, b, by.MetaFor(now, b.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		begun, err = s.Store.BreakGlass(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "project %s is under break-glass already", p.Name).
			WithHint("to end that one type: cardea admin break-glass end %s", p.Name).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+p.Name+" or group "+group.Name)
	}
	out := s.breakGlassOf(begun)
	out.ProjectName = p.Name
	return &out, nil
}

// EndBreakGlass ends the one that is in force before its time.
func (s *Service) EndBreakGlass(ctx context.Context, by caller.Caller, project string) (*api.BreakGlass, error) {
	now := s.now()
	p, err := s.project(ctx, project)
	if err != nil {
		return nil, err
	}
	b, err := s.Store.ProjectBreakGlass(ctx, p.ID)
	if err == nil {
		e := by.Event(now, audit.BreakGlassEnd)
		e.Project, e.Detail = p.ID, map[string]string{"break_glass": b.ID, "group": b.Group, "reason": b.Reason}
		b, err = s.Store.EndBreakGlass(ctx, b.ID, by.User.ID, by.MetaFor(now, b.ID, audit.Encode(e)))
	}
	if ref, again := lookup.Repeated(err); again {
		b, err = s.Store.BreakGlass(ctx, ref)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Errorf(api.NotFound, "project %s is not under break-glass", p.Name).
			WithHint("to see those that were type: cardea admin break-glass ls").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "project "+p.Name)
	}
	out := s.breakGlassOf(b)
	out.ProjectName = p.Name
	return &out, nil
}

// BreakGlasses lists all that there were, newest first.
func (s *Service) BreakGlasses(ctx context.Context, p api.Page) (*api.List[api.BreakGlass], error) {
	rows, next, err := s.Store.BreakGlasses(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of break-glasses")
	}
	return lookup.List(rows, next, s.breakGlassOf), nil
}

func (s *Service) breakGlassOf(b store.BreakGlass) api.BreakGlass {
	return api.BreakGlass{
		ID: b.ID, Project: b.Project, Group: b.Group, GroupName: b.GroupName, Role: b.Role, Reason: b.Reason,
		BeganBy: b.BeganBy, BeganAt: b.BeganAt, Until: b.Until, InForce: b.InForce(s.now()), EndedBy: b.EndedBy, EndedAt: b.EndedAt,
	}
}
