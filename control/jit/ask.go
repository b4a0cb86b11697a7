package jit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// Ask makes a request for the caller himself.
func (s *Service) Ask(ctx context.Context, by caller.Caller, in api.NewAccessRequest) (*api.AccessRequest, error) {
	now, wanted := s.now(), time.Duration(in.Seconds)*time.Second
	if err := checkText(in.Reason, true); err != nil {
		return nil, err
	}
	found, err := s.find(ctx, by, in.Target)
	if err != nil {
		return nil, err
	}
	o, err := choose(found, in, wanted)
	if err != nil {
		return nil, s.refusedAsk(ctx, by, now, in.Target, err)
	}
	if err := checkSpan(wanted, o.Rule.Longest); err != nil {
		return nil, err
	}
	if err := s.has(ctx, by, o, in.Target, now.Add(wanted)); err != nil {
		return nil, err
	}
	r := store.AccessRequest{ID: ident.New(ident.AccessRequest), Rule: o.Rule.ID, User: by.User.ID, Server: o.Server.ID, For: wanted, Reason: in.Reason}
	e := by.Event(now, audit.RequestCreate)
	e.User, e.Project, e.Server, e.Reason = by.User.ID, o.Rule.Project, o.Server.ID, in.Reason
	e.Detail = map[string]string{"request": r.ID, "rule": o.Rule.ID, "group": o.Rule.Group, "name": o.Rule.GroupName, "user_name": by.User.Name, "for": lookup.Span(wanted)}
	made, err := s.Store.CreateRequest(ctx, r, by.MetaFor(now, r.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.AccessRequest(ctx, ref)
	}
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, api.Errorf(api.Conflict, "you have asked for group %s already, and nobody has answered yet", o.Rule.GroupName).
			WithHint("to see it type: cardea requests list").WithCause(err)
	case errors.Is(err, store.ErrTooMany):
		return nil, api.Errorf(api.Limited, "you have %d requests that wait, or made %d within a day", store.MaxPendingRequests, store.MaxRequestsADay).
			WithHint("to take one back type: cardea requests cancel ID").WithCause(err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrDenied):
		return nil, s.refusedAsk(ctx, by, now, in.Target, nothingToAsk(in.Target))
	case err != nil:
		return nil, err
	}
	out := s.requestOf(made)
	return &out, nil
}

// refusedAsk has it on record who asked for what he may not ask for.
func (s *Service) refusedAsk(ctx context.Context, by caller.Caller, now time.Time, target string, err error) error {
	why := (*api.Error)(nil)
	if !errors.As(err, &why) || why.Kind != api.NotFound {
		return err
	}
	e := by.Event(now, audit.RequestCreate)
	e.User, e.Detail = by.User.ID, map[string]string{"target": target, "user_name": by.User.Name}
	return s.refuse(ctx, e, why)
}

// nothingToAsk is what everybody hears who may not ask, whether there is such a thing or not.
func nothingToAsk(target string) *api.Error {
	return api.Errorf(api.NotFound, "there is nothing called %q that you may ask for", lookup.Shown(target)).
		WithHint("to see what there is type: cardea requests rules")
}

// find returns the requests that a name may stand for: those for a project of this name,
// and those that would open a server of it. A rule that both lead to counts once.
func (s *Service) find(ctx context.Context, by caller.Caller, target string) ([]lookup.Opening, error) {
	rules, err := s.Store.RequestRulesFor(ctx, by.User.ID, s.now())
	if err != nil {
		return nil, err
	}
	var found []lookup.Opening
	for _, r := range rules {
		if target == r.Project || target == r.ProjectName {
			found = append(found, lookup.Opening{Rule: r})
		}
	}
	servers, err := s.Doors.Openings(ctx, by, target)
	if err != nil {
		return nil, err
	}
	for _, o := range servers {
		if !slices.ContainsFunc(found, func(f lookup.Opening) bool { return f.Rule.ID == o.Rule.ID && f.Server.ID == "" }) {
			found = append(found, o)
		}
	}
	return found, nil
}

// choose takes the one that is meant. Of several rules for one group the one that allows the
// time, else the longest, serves; several groups or servers are never guessed.
func choose(found []lookup.Opening, in api.NewAccessRequest, wanted time.Duration) (lookup.Opening, error) {
	type place struct{ project, group, server string }
	best := map[place]lookup.Opening{}
	var places []place
	for _, o := range found {
		if in.Group != "" && in.Group != o.Rule.Group && in.Group != o.Rule.GroupName {
			continue
		}
		at := place{o.Rule.Project, o.Rule.Group, o.Server.ID}
		old, seen := best[at]
		if !seen {
			places = append(places, at)
		}
		if !seen || old.Rule.Longest < wanted && o.Rule.Longest > old.Rule.Longest {
			best[at] = o
		}
	}
	switch len(places) {
	case 0:
		return lookup.Opening{}, nothingToAsk(in.Target)
	case 1:
		return best[places[0]], nil
	}
	var names []string
	for _, at := range places {
		o := best[at]
		name := o.Rule.ProjectName
		if o.Server.Name != "" {
			name += "/" + o.Server.Name
		}
		names = append(names, fmt.Sprintf("%s by group %s", name, o.Rule.GroupName))
	}
	slices.Sort(names)
	return lookup.Opening{}, api.Errorf(api.Ambiguous, "%s may be asked for in %d ways: %s", lookup.Shown(in.Target), len(names), strings.Join(names, ", ")).
		WithHint("name one by project/name or --group")
}

// has tells who has what he asks for until then.
func (s *Service) has(ctx context.Context, by caller.Caller, o lookup.Opening, target string, until time.Time) error {
	lasts := func(end time.Time) bool { return end.IsZero() || !end.Before(until) }
	if o.Enters && lasts(o.Until) && (o.Has == string(policy.RoleAdmin) || o.Has == o.Role) {
		return api.Errorf(api.Conflict, "you may enter server %s already%s", o.Server.Name, toTheEnd(o.Until)).WithHint("type: cardea ssh %s", lookup.Shown(target))
	}
	f, err := s.Store.CatalogFacts(ctx, by.User.ID)
	if err != nil {
		return caller.Explain(err, "user")
	}
	for _, m := range f.Memberships {
		if m.Group == o.Rule.Group && lasts(m.Until) {
			return api.Errorf(api.Conflict, "you are in group %s already%s", o.Rule.GroupName, toTheEnd(m.Until)).WithHint("to see what you may reach type: cardea ls")
		}
	}
	return nil
}

func toTheEnd(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return ", until " + at.UTC().Format("2006-01-02 15:04 UTC")
}

// Mine lists the caller's own requests.
func (s *Service) Mine(ctx context.Context, by caller.Caller, p api.Page) (*api.List[api.AccessRequest], error) {
	return s.list(ctx, store.RequestFilter{User: by.User.ID}, p)
}

// Pending lists those that wait for an answer that the caller may give.
func (s *Service) Pending(ctx context.Context, by caller.Caller, p api.Page) (*api.List[api.AccessRequest], error) {
	return s.list(ctx, store.RequestFilter{Approver: by.User.ID, At: s.now(), Pending: true}, p)
}

func (s *Service) list(ctx context.Context, f store.RequestFilter, p api.Page) (*api.List[api.AccessRequest], error) {
	rows, next, err := s.Store.AccessRequests(ctx, f, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of requests")
	}
	return lookup.List(rows, next, s.requestOf), nil
}

// Answered lists the newest of those that the caller might have answered and that do not
// wait any more, at most so many.
func (s *Service) Answered(ctx context.Context, by caller.Caller, most int) ([]api.AccessRequest, error) {
	found, err := s.list(ctx, store.RequestFilter{Approver: by.User.ID, At: s.now()}, api.Page{Limit: api.PageSize})
	if err != nil {
		return nil, err
	}
	over := slices.DeleteFunc(found.Items, func(r api.AccessRequest) bool { return r.State == api.RequestPending })
	return over[:min(len(over), most)], nil
}

// Show reads one that is the caller's own, or that he may answer. With a wait it
// returns when the state is not state any more, and nil if it stays.
func (s *Service) Show(ctx context.Context, by caller.Caller, id, state string, wait time.Duration) (*api.AccessRequest, error) {
	topics := []string{store.RequestTopic(id)}
	return lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.AccessRequest, []string, error) {
		r, err := s.visible(ctx, by, id)
		if err != nil {
			return nil, topics, err
		}
		out := s.requestOf(r)
		if out.State == state && wait > 0 {
			return nil, topics, nil
		}
		return &out, nil, nil
	})
}

// visible reads a request for who may know of it. For others it is as if there were none,
// and comes back only so that the try can be put on record.
func (s *Service) visible(ctx context.Context, by caller.Caller, id string) (store.AccessRequest, error) {
	r, err := store.AccessRequest{}, store.ErrNotFound
	if ident.Check(id, ident.AccessRequest) == nil {
		r, err = s.Store.AccessRequest(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return r, noRequest(id)
	}
	if err != nil || r.User == by.User.ID || by.IsAdmin() {
		return r, err
	}
	may, err := s.Store.MayAnswer(ctx, r.Rule, by.User.ID, s.now())
	if err == nil && !may {
		err = noRequest(id)
	}
	return r, err
}

// unseen puts on record who tried to change a request that is not his business.
func (s *Service) unseen(ctx context.Context, by caller.Caller, action string, r store.AccessRequest, err error) error {
	why := (*api.Error)(nil)
	if r.ID == "" || !errors.As(err, &why) || why.Kind != api.NotFound {
		return err
	}
	return s.refuse(ctx, s.event(by, action, r), why)
}

// Cancel takes back the caller's own.
func (s *Service) Cancel(ctx context.Context, by caller.Caller, id string) (*api.AccessRequest, error) {
	r, err := s.visible(ctx, by, id)
	if err != nil {
		return nil, s.unseen(ctx, by, audit.RequestCancel, r, err)
	}
	e := s.event(by, audit.RequestCancel, r)
	if r.User != by.User.ID {
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "only who asked may take a request back").WithHint("to refuse it type: cardea requests deny %s --reason …", r.ID))
	}
	done, err := s.Store.CancelRequest(ctx, r.ID, by.User.ID, by.MetaFor(e.Time, r.ID, audit.Encode(e)))
	return s.done(ctx, r, done, err)
}

// End ends before its time what was given: for who asked, and for who may answer.
func (s *Service) End(ctx context.Context, by caller.Caller, id string) (*api.AccessRequest, error) {
	r, err := s.visible(ctx, by, id)
	if err != nil {
		return nil, s.unseen(ctx, by, audit.RequestEnd, r, err)
	}
	e := s.event(by, audit.RequestEnd, r)
	done, err := s.Store.EndRequest(ctx, r.ID, by.User.ID, by.MetaFor(e.Time, r.ID, audit.Encode(e)))
	switch {
	case errors.Is(err, store.ErrUsed) && r.StateAt(e.Time) == store.RequestPending:
		waits := api.Errorf(api.Conflict, "there is nothing to end: the request waits for an answer").WithCause(err)
		if r.User != by.User.ID {
			return nil, waits.WithHint("to refuse it type: cardea requests deny %s --reason …", r.ID)
		}
		return nil, waits.WithHint("to take it back type: cardea requests cancel %s", r.ID)
	case errors.Is(err, store.ErrUsed):
		return nil, api.Errorf(api.Conflict, "there is nothing to end: the request is %s, or the membership is not its own any more", r.StateAt(e.Time)).
			WithHint("to see it type: cardea requests show %s", r.ID).WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "only who asked, or who may answer by its rule, ends what was given").
			WithHint("administrators take somebody out of a group: type: cardea admin groups members remove %s %s", r.GroupName, r.UserName).WithCause(err))
	}
	return s.done(ctx, r, done, err)
}

// Answer approves or denies a request that waits.
func (s *Service) Answer(ctx context.Context, by caller.Caller, id string, approve bool, in api.NewRequestAnswer) (*api.AccessRequest, error) {
	given := time.Duration(in.Seconds) * time.Second
	if err := checkText(in.Reason, !approve); err != nil {
		return nil, err
	}
	action := audit.RequestDeny
	if approve {
		action = audit.RequestApprove
	}
	r, err := s.visible(ctx, by, id)
	if err != nil {
		return nil, s.unseen(ctx, by, action, r, err)
	}
	e := s.event(by, action, r)
	e.Reason = in.Reason
	if approve {
		if given == 0 {
			given = r.For
		}
		if err := checkSpan(given, r.For); err != nil {
			return nil, err
		}
		e.Detail["for"], e.Detail["until"] = lookup.Span(given), e.Time.Add(given).Format(time.RFC3339)
	}
	if r.User == by.User.ID {
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "nobody answers his own request").WithHint("ask another approver; to take it back type: cardea requests cancel %s", r.ID))
	}
	if approve {
		if err := s.fresh(ctx, by, r.Project, e); err != nil {
			return nil, err
		}
	}
	done, err := s.Store.AnswerRequest(ctx, store.RequestAnswer{Request: r.ID, By: by.User.ID, Approve: approve, For: given, Text: in.Reason},
		by.MetaFor(e.Time, r.ID, audit.Encode(e)))
	switch {
	case errors.Is(err, store.ErrSamePerson):
		return nil, s.refuse(ctx, e, samePerson(err))
	case errors.Is(err, store.ErrDenied):
		return nil, s.refuse(ctx, e, api.Errorf(api.Denied, "you may not give that, or user %s may not ask for it any more", r.UserName).
			WithHint("to see the rules type: cardea requests rules").WithCause(err))
	}
	return s.done(ctx, r, done, err)
}

func samePerson(cause error) *api.Error {
	return api.Errorf(api.Denied, "nobody answers his own request: your account and that of who asks have a device or an e-mail address in common").
		WithHint("ask another approver").WithCause(cause)
}

// event begins that of a change to a request: both names are in it.
func (s *Service) event(by caller.Caller, action string, r store.AccessRequest) audit.Event {
	e := by.Event(s.now(), action)
	e.User, e.Project, e.Server = r.User, r.Project, r.Server
	e.Detail = map[string]string{"request": r.ID, "rule": r.Rule, "group": r.Group, "name": r.GroupName, "user_name": r.UserName, "asked": r.Reason}
	if action == audit.RequestApprove || action == audit.RequestDeny {
		e.Detail["approver_name"] = by.User.Name
	}
	return e
}

// done answers a change; a repeat of the call is as good as the first.
func (s *Service) done(ctx context.Context, before, after store.AccessRequest, err error) (*api.AccessRequest, error) {
	if ref, again := lookup.Repeated(err); again {
		after, err = s.Store.AccessRequest(ctx, ref)
	}
	if errors.Is(err, store.ErrUsed) {
		now, readErr := s.Store.AccessRequest(ctx, before.ID)
		if readErr != nil {
			now = before
		}
		return nil, api.Errorf(api.Conflict, "the request does not wait any more: it is %s", now.StateAt(s.now())).
			WithHint("to see it type: cardea requests show %s", before.ID).WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "request "+before.ID)
	}
	out := s.requestOf(after)
	return &out, nil
}

func (s *Service) requestOf(r store.AccessRequest) api.AccessRequest {
	return api.AccessRequest{
		ID: r.ID, State: r.StateAt(s.now()), User: r.User, UserName: r.UserName, Rule: r.Rule, Project: r.Project, ProjectName: r.ProjectName,
		Group: r.Group, GroupName: r.GroupName, Server: r.Server, ServerName: r.ServerName, Seconds: int(r.For / time.Second), Reason: r.Reason,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, AnsweredBy: r.AnsweredBy, AnsweredByName: r.AnsweredByName, AnsweredAt: r.AnsweredAt,
		Answer: r.Answer, Given: int(r.Given / time.Second), Until: r.Until, Preauthorization: r.Preauthorization,
	}
}
