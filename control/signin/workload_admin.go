package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/workload"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// MinJob is the shortest session of a job: less is over before its first connection.
	MinJob = time.Minute
	// maxAudience bounds an audience, in bytes.
	maxAudience = 256
)

// CreateWorkloadIssuer trusts the tokens of a platform, as far as rules go that are yet to
// be made.
func (s *Service) CreateWorkloadIssuer(ctx context.Context, by caller.Caller, in api.NewWorkloadIssuer) (*api.WorkloadIssuer, error) {
	i := store.WorkloadIssuer{
		ID: ident.New(ident.WorkloadIssuer), Name: in.Name, Issuer: in.Issuer, Audience: cmp.Or(in.Audience, s.PublicURL), State: store.Active, CreatedAt: s.now(),
	}
	if err := cmp.Or(ident.WorkloadName(i.Name), s.Issuers.CheckIssuer(i.Issuer), checkAudience(i.Audience)); err != nil {
		return nil, lookup.Invalid(err)
	}
	e := by.Event(i.CreatedAt, audit.WorkloadIssuerCreate)
	e.Detail = map[string]string{"workload_issuer": i.ID, "name": i.Name, "issuer": i.Issuer, "audience": i.Audience}
	if in.Set != "" {
		var err error
		if i.Keys, err = noteKeys(&e, in.Set); err != nil {
			return nil, err
		}
	}
	made, err := s.Store.CreateWorkloadIssuer(ctx, i, by.MetaFor(i.CreatedAt, i.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.WorkloadIssuer(ctx, ref)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "there is a workload issuer of this name or with this URL").
			WithHint("to see which type: cardea admin workloads list").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "workload issuer "+i.Name)
	}
	return s.withRules(ctx, made)
}

func checkAudience(a string) error {
	if a == "" || len(a) > maxAudience || strings.TrimFunc(a, visible) != "" {
		return fmt.Errorf("an audience is 1 to %d visible characters without a space", maxAudience)
	}
	return nil
}

// WorkloadIssuers lists them with their rules.
func (s *Service) WorkloadIssuers(ctx context.Context, p api.Page) (*api.List[api.WorkloadIssuer], error) {
	rows, next, err := s.Store.WorkloadIssuers(ctx, lookup.Page(p))
	if err != nil {
		return nil, caller.Explain(err, "such page of workload issuers")
	}
	out := &api.List[api.WorkloadIssuer]{Items: make([]api.WorkloadIssuer, 0, len(rows)), Next: next}
	for _, i := range rows {
		v, err := s.withRules(ctx, i)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, *v)
	}
	return out, nil
}

// WorkloadIssuer finds one by id or name.
func (s *Service) WorkloadIssuer(ctx context.Context, ref string) (*api.WorkloadIssuer, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.withRules(ctx, i)
}

func (s *Service) workloadIssuer(ctx context.Context, ref string) (store.WorkloadIssuer, error) {
	return lookup.Find(ctx, lookup.Kind[store.WorkloadIssuer]{
		Name: "workload", Prefix: ident.WorkloadIssuer, ByID: s.Store.WorkloadIssuer, ByName: s.Store.WorkloadIssuerByName,
	}, ref)
}

func (s *Service) withRules(ctx context.Context, i store.WorkloadIssuer) (*api.WorkloadIssuer, error) {
	rules, err := s.Store.WorkloadRules(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	out := &api.WorkloadIssuer{
		ID: i.ID, Name: i.Name, Issuer: i.Issuer, Audience: i.Audience, State: i.State, CreatedAt: i.CreatedAt,
		Rules: lookup.List(rules, "", workloadRuleOf).Items, KeysAt: i.KeysAt,
	}
	given, err := givenKeys(i)
	if err != nil || given == nil {
		return out, err
	}
	for _, k := range given.Keys() {
		out.Keys = append(out.Keys, api.WorkloadKey{ID: k.ID, Kind: k.Kind, Algorithm: k.Algorithm, Thumbprint: k.Thumbprint})
	}
	return out, nil
}

// noteKeys reads a set of keys, adds each to an audit event, and returns the set as it is kept.
func noteKeys(e *audit.Event, set string) (string, error) {
	given, err := sso.ParseGivenKeys(set)
	if err != nil {
		return "", lookup.Invalid(err)
	}
	for n, k := range given.Keys() {
		e.Detail["key "+strconv.Itoa(n+1)] = k.Thumbprint
	}
	return given.Text()
}

// SetWorkloadKeys gives an issuer keys, in place of those that it had: from then on it is
// not asked for its own.
func (s *Service) SetWorkloadKeys(ctx context.Context, by caller.Caller, ref string, in api.WorkloadKeys) (*api.WorkloadIssuer, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.WorkloadIssuerUpdate)
	e.Detail = map[string]string{"workload_issuer": i.ID, "name": i.Name}
	keys, err := noteKeys(&e, in.Set)
	if err != nil {
		return nil, err
	}
	changed, err := s.Store.SetWorkloadIssuerKeys(ctx, i.ID, keys, by.MetaFor(e.Time, i.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.WorkloadIssuer(ctx, i.ID)
	}
	if err != nil {
		return nil, caller.Explain(err, "workload issuer "+i.Name)
	}
	return s.withRules(ctx, changed)
}

func workloadRuleOf(r store.WorkloadRule) api.WorkloadRule {
	return api.WorkloadRule{ID: r.ID, User: r.User, UserName: r.UserName, Claims: r.Claims, Seconds: r.SessionSeconds, CreatedAt: r.CreatedAt}
}

// UpdateWorkloadIssuer disables one, or enables it again.
func (s *Service) UpdateWorkloadIssuer(ctx context.Context, by caller.Caller, ref string, in api.WorkloadIssuerPatch) (*api.WorkloadIssuer, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	if in.State != store.Active && in.State != store.Disabled {
		return nil, api.Errorf(api.Invalid, "a workload issuer is made %s or %s", store.Active, store.Disabled)
	}
	e := by.Event(s.now(), audit.WorkloadIssuerUpdate)
	e.Detail = map[string]string{"workload_issuer": i.ID, "name": i.Name, "state": in.State}
	changed, err := s.Store.SetWorkloadIssuerState(ctx, i.ID, in.State, by.MetaFor(s.now(), i.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.WorkloadIssuer(ctx, i.ID)
	}
	if err != nil {
		return nil, caller.Explain(err, "workload issuer "+i.Name)
	}
	return s.withRules(ctx, changed)
}

// DeleteWorkloadIssuer removes one that has no rules.
func (s *Service) DeleteWorkloadIssuer(ctx context.Context, by caller.Caller, ref string) (*api.Named, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := by.Event(s.now(), audit.WorkloadIssuerDelete)
	e.Detail = map[string]string{"workload_issuer": i.ID, "name": i.Name, "issuer": i.Issuer}
	err = s.Store.DeleteWorkloadIssuer(ctx, i.ID, by.MetaFor(s.now(), i.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrInUse) {
		return nil, api.Errorf(api.Conflict, "workload issuer %s has rules", i.Name).
			WithHint("delete these first; type: cardea admin workloads remove-rule %s RULE", i.Name).WithCause(err)
	}
	return lookup.Named(i.ID, caller.Explain(err, "workload issuer "+i.Name))
}

// CreateWorkloadRule says which jobs of an issuer are a service user.
func (s *Service) CreateWorkloadRule(ctx context.Context, by caller.Caller, ref string, in api.NewWorkloadRule) (*api.WorkloadRule, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := workload.Check(i.Issuer, in.Claims); err != nil {
		return nil, lookup.Invalid(err)
	}
	seconds := cmp.Or(in.Seconds, int(MachineLife/time.Second))
	if seconds < int(MinJob/time.Second) || seconds > int(MachineLife/time.Second) {
		return nil, api.Errorf(api.Invalid, "a job's session lasts %s to %s", lookup.Span(MinJob), lookup.Span(MachineLife))
	}
	id, err := s.userID(ctx, in.User)
	if api.KindOf(err) == api.NotFound {
		return nil, api.Errorf(api.NotFound, "there is no service user %q", lookup.Shown(in.User)).
			WithHint("to see what there is type: cardea admin service-users list").WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	r := store.WorkloadRule{ID: ident.New(ident.WorkloadRule), Issuer: i.ID, User: id, Claims: in.Claims, SessionSeconds: seconds, CreatedAt: s.now()}
	e := by.Event(r.CreatedAt, audit.WorkloadRuleCreate)
	noteRule(&e, i, r)
	made, err := s.Store.CreateWorkloadRule(ctx, r, by.MetaFor(r.CreatedAt, r.ID, audit.Encode(e)))
	if ref, again := lookup.Repeated(err); again {
		made, err = s.Store.WorkloadRule(ctx, ref)
	}
	switch {
	case errors.Is(err, store.ErrDenied):
		return nil, api.Errorf(api.Invalid, "%q is no service user: a job is never a person", lookup.Shown(in.User)).
			WithHint("to see them type: cardea admin service-users list").WithCause(err)
	case errors.Is(err, store.ErrNotFound):
		return nil, lookup.Missing("service user", in.User)
	case errors.Is(err, store.ErrTooMany):
		return nil, api.Errorf(api.Conflict, "workload issuer %s has %d rules, and that is all it may have", i.Name, store.MaxWorkloadRules).WithCause(err)
	case err != nil:
		return nil, caller.Explain(err, "rule")
	}
	out := workloadRuleOf(made)
	return &out, nil
}

// noteRule adds to an audit event what a rule says: each claim in an entry of its own, since
// no entry may be cut off.
func noteRule(e *audit.Event, i store.WorkloadIssuer, r store.WorkloadRule) {
	e.User, e.Detail = r.User, map[string]string{"workload_issuer": i.ID, "rule": r.ID, "seconds": strconv.Itoa(r.SessionSeconds)}
	for name, pattern := range r.Claims {
		e.Detail["claim "+name] = pattern
	}
}

// DeleteWorkloadRule removes a rule of this issuer, and ends the sessions that it brought.
func (s *Service) DeleteWorkloadRule(ctx context.Context, by caller.Caller, ref, id string) (*api.Named, error) {
	i, err := s.workloadIssuer(ctx, ref)
	if err != nil {
		return nil, err
	}
	missing := api.Errorf(api.NotFound, "workload issuer %s has no rule %q", i.Name, lookup.Shown(id)).WithHint("to see its rules type: cardea admin workloads show %s", i.Name)
	if ident.Check(id, ident.WorkloadRule) != nil {
		return nil, missing
	}
	r, err := s.Store.WorkloadRule(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, missing.WithCause(err)
	case err != nil:
		return nil, err
	case r.Issuer != i.ID:
		return nil, missing
	}
	e := by.Event(s.now(), audit.WorkloadRuleDelete)
	noteRule(&e, i, r)
	err = s.Store.DeleteWorkloadRule(ctx, id, by.MetaFor(s.now(), id, audit.Encode(e)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing.WithCause(err)
	}
	return lookup.Named(id, caller.Explain(err, "rule"))
}
