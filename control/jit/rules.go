package jit

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

// CreateRule lets people ask to be in a group, which has grants for a project's servers.
func (s *Service) CreateRule(ctx context.Context, by caller.Caller, project string, in api.NewRequestRule) (*api.RequestRule, error) {
	now, longest := s.now(), time.Duration(in.Seconds)*time.Second
	if err := checkSpan(longest, api.MaxRequest); err != nil {
		return nil, err
	}
	p, err := lookup.Find(ctx, lookup.Kind[store.Project]{Name: "project", Prefix: ident.Project, ByID: s.Store.Project, ByName: s.Store.ProjectByName}, project)
	if err != nil {
		return nil, err
	}
	r := store.RequestRule{ID: ident.New(ident.RequestRule), Project: p.ID, Longest: longest, CreatedBy: by.User.ID}
	for _, of := range []struct {
		ref string
		to  *string
	}{{in.Group, &r.Group}, {in.Askers, &r.Askers}, {in.Approvers, &r.Approvers}} {
		if of.ref == "" && of.to == &r.Askers {
			continue
		}
		g, err := s.group(ctx, of.ref)
		if err != nil {
			return nil, err
		}
		if of.to == &r.Group && g.Source != "" {
			return nil, api.Errorf(api.Invalid, "the members of group %s are kept by an identity provider, which would put out again who was let in", g.Name).
				WithHint("make a group for this: type: cardea admin groups create NAME")
		}
		*of.to = g.ID
	}
	e := by.Event(now, audit.RequestRuleCreate)
	e.Project, e.Detail = p.ID, map[string]string{"rule": r.ID, "group": r.Group, "name": in.Group, "askers": r.Askers, "approvers": r.Approvers, "longest": lookup.Span(longest)}
	if r.Group == r.Approvers {
		return nil, s.refuse(ctx, e, api.Errorf(api.Invalid, "who is let in must not let others in: the approvers are the group itself").
			WithHint("make a group for the approvers: type: cardea admin groups create NAME"))
	}
	made, err := s.Store.CreateRequestRule(ctx, r, by.MetaFor(now, r.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.RequestRule(ctx, ref)
	}
	if err != nil {
		return nil, caller.Explain(err, "project or group that was named")
	}
	out := ruleOf(made, by.User.ID, map[string]bool{}, true)
	return &out, nil
}

// Rules lists those that concern the caller; to an administrator all.
func (s *Service) Rules(ctx context.Context, by caller.Caller, p api.Page) (*api.List[api.RequestRule], error) {
	now := s.now()
	mine, err := s.memberships(ctx, by.User.ID, now)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Store.RequestRules(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of request rules")
	}
	out := &api.List[api.RequestRule]{Items: []api.RequestRule{}, Next: next}
	for _, r := range rows {
		if rule := ruleOf(r, by.User.ID, mine, by.IsAdmin()); by.IsAdmin() || rule.MayAsk || rule.MayAnswer {
			out.Items = append(out.Items, rule)
		}
	}
	return out, nil
}

// memberships are the groups in which somebody is at now.
func (s *Service) memberships(ctx context.Context, user string, now time.Time) (map[string]bool, error) {
	f, err := s.Store.CatalogFacts(ctx, user)
	if err != nil {
		return nil, caller.Explain(err, "user")
	}
	mine := map[string]bool{}
	for _, m := range f.Memberships {
		if m.InForce(now) {
			mine[m.Group] = true
		}
	}
	return mine, nil
}

// DeleteRule takes a rule back. What was given by it lasts to its end.
func (s *Service) DeleteRule(ctx context.Context, by caller.Caller, id string) (*api.Named, error) {
	r, err := s.rule(ctx, id)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.RequestRuleDelete)
	e.Project, e.Detail = r.Project, map[string]string{"rule": r.ID, "group": r.Group, "name": r.GroupName}
	err = s.Store.DeleteRequestRule(ctx, r.ID, by.User.ID, by.MetaFor(e.Time, r.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, noRule(id)
	}
	return lookup.Named(r.ID, caller.Explain(err, "request rule "+id))
}

func ruleOf(r store.RequestRule, user string, mine map[string]bool, admin bool) api.RequestRule {
	return api.RequestRule{
		ID: r.ID, Project: r.Project, ProjectName: r.ProjectName, Group: r.Group, GroupName: r.GroupName, Askers: r.Askers, AskersName: r.AskersName,
		Approvers: r.Approvers, ApproversName: r.ApproversName, Seconds: int(r.Longest / time.Second), CreatedAt: r.CreatedAt,
		MayAsk: r.Askers == "" || mine[r.Askers], MayAnswer: admin || mine[r.Approvers],
	}
}

// CreatePreauthorization says yes in advance to what somebody may ask for.
func (s *Service) CreatePreauthorization(ctx context.Context, by caller.Caller, in api.NewPreauthorization) (*api.Preauthorization, error) {
	now, longest := s.now(), time.Duration(in.Seconds)*time.Second
	rule, err := s.answerable(ctx, by, in.Rule, now)
	if err != nil {
		return nil, err
	}
	if err := checkSpan(longest, rule.Longest); err != nil {
		return nil, err
	}
	if !in.Until.After(now) || in.Until.After(now.Add(api.MaxPreauthorization)) {
		return nil, api.Errorf(api.Invalid, "an authorization in advance ends within %d days from now", api.MaxPreauthorization/(24*time.Hour)).WithHint("give another --until")
	}
	u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, in.User)
	if err != nil {
		return nil, err
	}
	p := store.Preauthorization{ID: ident.New(ident.Preauthorization), Rule: rule.ID, User: u.ID, By: by.User.ID, Longest: longest, Until: in.Until.UTC()}
	e := by.Event(now, audit.PreauthorizationCreate)
	e.User, e.Project = u.ID, rule.Project
	e.Detail = map[string]string{"preauthorization": p.ID, "rule": rule.ID, "group": rule.Group, "name": rule.GroupName, "user_name": u.Name,
		"approver_name": by.User.Name, "longest": lookup.Span(longest), "until": p.Until.Format(time.RFC3339)}
	if err := s.fresh(ctx, by, rule.Project, e); err != nil {
		return nil, err
	}
	made, err := s.Store.CreatePreauthorization(ctx, p, by.MetaFor(now, p.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.Preauthorization(ctx, ref)
	}
	switch {
	case errors.Is(err, store.ErrSamePerson):
		return nil, s.refuse(ctx, e, samePerson(err))
	case errors.Is(err, store.ErrExists):
		return nil, api.Errorf(api.Conflict, "user %s has one by this rule already", u.Name).
			WithHint("to see it type: cardea requests preauthorizations list").WithCause(err)
	case err != nil:
		return nil, caller.Explain(err, "request rule or user that was named")
	}
	out := preauthorizationOf(made)
	return &out, nil
}

// answerable finds a rule by which the caller may answer.
func (s *Service) answerable(ctx context.Context, by caller.Caller, id string, now time.Time) (store.RequestRule, error) {
	r, err := s.rule(ctx, id)
	if err != nil {
		return r, err
	}
	may, err := s.Store.MayAnswer(ctx, r.ID, by.User.ID, now)
	if err != nil || may {
		return r, err
	}
	// Who may ask by it reads it in his list. To others it is not there.
	mine, err := s.memberships(ctx, by.User.ID, now)
	if err != nil {
		return r, err
	}
	if !ruleOf(r, by.User.ID, mine, false).MayAsk {
		return r, noRule(id)
	}
	return r, api.Errorf(api.Denied, "by request rule %s you may ask, and not answer: its approvers are group %s", r.ID, r.ApproversName).
		WithHint("to ask type: cardea request %s --group %s --for %s --reason …", r.ProjectName, r.GroupName, lookup.Span(api.MinRequest))
}

// Preauthorizations lists those in force that the caller could have given, or his own.
func (s *Service) Preauthorizations(ctx context.Context, by caller.Caller, mine bool, p api.Page) (*api.List[api.Preauthorization], error) {
	f := store.RequestFilter{At: s.now(), Approver: by.User.ID}
	if mine {
		f = store.RequestFilter{At: f.At, User: by.User.ID}
	}
	rows, next, err := s.Store.Preauthorizations(ctx, f, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of preauthorizations")
	}
	return lookup.List(rows, next, preauthorizationOf), nil
}

// DeletePreauthorization takes one back.
func (s *Service) DeletePreauthorization(ctx context.Context, by caller.Caller, id string) (*api.Named, error) {
	now := s.now()
	missing := api.Errorf(api.NotFound, "there is no preauthorization %q", lookup.Shown(id)).
		WithHint("to see what there is type: cardea requests preauthorizations list")
	if ident.Check(id, ident.Preauthorization) != nil {
		return nil, missing
	}
	p, err := s.Store.Preauthorization(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	rule, err := s.answerable(ctx, by, p.Rule, now)
	if kind := api.KindOf(err); kind == api.NotFound || kind == api.Denied {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	e := by.Event(now, audit.PreauthorizationDelete)
	e.User, e.Project = p.User, rule.Project
	e.Detail = map[string]string{"preauthorization": p.ID, "rule": p.Rule, "group": rule.Group, "name": rule.GroupName, "user_name": p.UserName}
	err = s.Store.DeletePreauthorization(ctx, p.ID, by.User.ID, by.MetaFor(now, p.ID, audit.Encode(e)))
	return lookup.Named(p.ID, caller.Explain(err, "preauthorization "+id))
}

func preauthorizationOf(p store.Preauthorization) api.Preauthorization {
	return api.Preauthorization{
		ID: p.ID, Rule: p.Rule, ProjectName: p.ProjectName, GroupName: p.GroupName, User: p.User, UserName: p.UserName, By: p.By, ByName: p.ByName,
		Seconds: int(p.Longest / time.Second), Until: p.Until, CreatedAt: p.CreatedAt,
	}
}
