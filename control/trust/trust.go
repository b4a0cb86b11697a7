// Package trust rotates the certificate authorities of a team, and keeps the list
// of keys that an administrator has revoked.
//
// A rotation has two phases. First the next key is published: servers learn it
// with their desired state, people's computers with their catalog, and each server
// confirms that it does what that state says. Then the key is switched: it signs,
// and the one before it is still trusted, until nobody needs it. Then that one is
// retired: its private part is destroyed, and servers refuse what it has signed.
// Each step is a conditional write of the store, which looks at all servers in the
// same transaction; nothing here decides on what was read before.
//
// A server whose agent is away keeps a rotation from going on, because people
// would be locked out of it: until the old key is retired it is given certificates
// of that one. An administrator may go on without such servers by name, or without
// any that are not ready, and that is audited.
package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
	"gocloud.dev/secrets"
)

// Absent is how long an agent that polls all the time must not have been heard of
// to count as away: five of its long polls.
const Absent = 5 * time.Minute

// Service works on one store. Store and Keeper are needed.
type Service struct {
	Store store.Store
	// Keeper seals a new key.
	Keeper *secrets.Keeper
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

// purposes are those of package ca, by the wire's names.
var purposes = map[string]ca.Purpose{api.CAUser: ca.UserCA, api.CAHost: ca.HostCA, api.CAGateway: ca.GatewayCA}

// authority is a CA that somebody named.
type authority struct {
	name    string // as api.Rotation has it
	scope   string
	purpose ca.Purpose
	project string // id, of a user CA
}

func (a authority) String() string { return "CA " + a.name }

// find reads host, gateway or user/PROJECT.
func (s *Service) find(ctx context.Context, ref string) (authority, error) {
	kind, project, named := strings.Cut(ref, "/")
	purpose, ok := purposes[kind]
	if !ok || named != (purpose == ca.UserCA) {
		return authority{}, api.Errorf(api.NotFound, "there is no CA %q", lookup.Shown(ref)).
			WithHint("name it host, gateway or user/PROJECT; to see what there is type: cardea admin ca list")
	}
	if purpose != ca.UserCA {
		return authority{name: kind, scope: ca.Team, purpose: purpose}, nil
	}
	p, err := lookup.Find(ctx, lookup.Kind[store.Project]{Name: "project", Prefix: ident.Project, ByID: s.Store.Project, ByName: s.Store.ProjectByName}, project)
	return authority{name: kind + "/" + p.Name, scope: p.ID, purpose: purpose, project: p.ID}, err
}

// CAs lists the keys of all CAs, retired ones too.
//
// The store reads all of them, which are few: a page begins behind the key that its
// cursor names.
func (s *Service) CAs(ctx context.Context, p api.Page) (*api.List[api.CA], error) {
	rows, err := s.Store.CAs(ctx)
	if err != nil {
		return nil, err
	}
	page, next := lookup.Page(p), ""
	if page.Cursor != "" {
		at := slices.IndexFunc(rows, func(k store.Key) bool { return k.ID == page.Cursor })
		if at < 0 {
			return nil, api.Errorf(api.Invalid, "cursor: there is no such place in the list").WithHint("ask for the list from its beginning")
		}
		rows = rows[at+1:]
	}
	if len(rows) > page.Limit {
		rows = rows[:page.Limit]
		next = rows[len(rows)-1].ID
	}
	names, err := s.projectNames(ctx, rows)
	if err != nil {
		return nil, err
	}
	return lookup.List(rows, next, func(k store.Key) api.CA {
		out := caOf(k)
		if out.CA = out.Purpose; out.Project != "" {
			out.CA += "/" + names[out.Project]
		}
		return out
	}), nil
}

// projectNames are those of the projects that keys are of, by id.
func (s *Service) projectNames(ctx context.Context, rows []store.Key) (map[string]string, error) {
	names := map[string]string{}
	for _, k := range rows {
		if k.Scope == ca.Team || names[k.Scope] != "" {
			continue
		}
		p, err := s.Store.Project(ctx, k.Scope)
		switch {
		case errors.Is(err, store.ErrNotFound):
			names[k.Scope] = k.Scope
		case err != nil:
			return nil, err
		default:
			names[k.Scope] = p.Name
		}
	}
	return names, nil
}

// key is one of its keys.
func (a authority) key(k store.Key) api.CA {
	out := caOf(k)
	out.CA = a.name
	return out
}

func caOf(k store.Key) api.CA {
	out := api.CA{ID: k.ID, State: k.State, Fingerprint: k.Fingerprint, PublicKey: k.Line(), CreatedAt: k.CreatedAt, ChangedAt: k.ChangedAt}
	for name, purpose := range purposes {
		if string(purpose) == k.Purpose {
			out.Purpose = name
		}
	}
	if k.Scope != ca.Team {
		out.Project = k.Scope
	}
	return out
}

// Rotation says how far the rotation of a CA has come.
func (s *Service) Rotation(ctx context.Context, ref string) (*api.Rotation, error) {
	a, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.rotation(ctx, a)
}

func (s *Service) rotation(ctx context.Context, a authority) (*api.Rotation, error) {
	now := s.now()
	v, err := s.Store.Rotation(ctx, a.scope, string(a.purpose), now)
	if err != nil {
		return nil, caller.Explain(err, a.String())
	}
	blocking, err := s.blocking(ctx, v, now)
	if err != nil {
		return nil, err
	}
	out := &api.Rotation{CA: a.name, Phase: api.PhaseIdle, Active: a.key(v.Active), Servers: v.Servers, Done: v.Servers - len(blocking)}
	out.Blocking = blocking[:min(len(blocking), api.MaxBlocking)]
	if v.Next.ID != "" {
		key := a.key(v.Next)
		out.Phase, out.Next = api.PhasePublished, &key
	}
	if v.Previous.ID != "" {
		key := a.key(v.Previous)
		out.Phase, out.Previous = api.PhaseSwitched, &key
		out.NotBefore = v.Previous.ChangedAt.Add(store.KeySettle)
		if v.LiveUntil.After(out.NotBefore) {
			out.NotBefore = v.LiveUntil
		}
	}
	return out, nil
}

// blocking are the servers that keep the next step from being taken: those that
// are away first, because somebody has to do something about them.
func (s *Service) blocking(ctx context.Context, v store.Rotation, now time.Time) ([]api.BlockingServer, error) {
	if v.Next.ID == "" && v.Previous.ID == "" {
		return nil, nil
	}
	names := map[string]string{}
	err := lookup.All(ctx, s.Store.Projects, func(p store.Project) bool {
		names[p.ID] = p.Name
		return true
	})
	if err != nil {
		return nil, err
	}
	var out []api.BlockingServer
	seen := map[string]bool{}
	add := func(all []store.Laggard, why string) {
		for _, l := range all {
			if !seen[l.ID] {
				seen[l.ID] = true
				out = append(out, api.BlockingServer{ID: l.ID, Name: names[l.Project] + "/" + l.Name, LastSeen: l.LastSeen, Absent: now.Sub(l.LastSeen) > Absent, Why: why})
			}
		}
	}
	add(v.Behind, "has not confirmed that it trusts the new key")
	if v.Previous.ID != "" {
		add(v.OldHost, "shows no host certificate of the new key yet")
	}
	slices.SortStableFunc(out, func(a, b api.BlockingServer) int {
		switch {
		case a.Absent && !b.Absent:
			return -1
		case b.Absent && !a.Absent:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return out, nil
}

// Rotate makes the next key and publishes it.
func (s *Service) Rotate(ctx context.Context, by caller.Caller, ref string) (*api.Rotation, error) {
	a, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	r, err := ca.Create(ctx, s.Keeper, ca.Ref{ID: ident.New(ident.Key), Scope: a.scope, Purpose: a.purpose})
	if err != nil {
		return nil, fmt.Errorf("make the next key of %s: %w", a, err)
	}
	e := s.event(by, audit.CARotate, a)
	e.Detail["fingerprint"] = r.Fingerprint
	err = s.Store.PublishCA(ctx, store.Key{
		ID: r.ID, Scope: r.Scope, Purpose: string(r.Purpose), Public: r.Public, Fingerprint: r.Fingerprint, Sealed: r.Sealed, CreatedAt: e.Time,
	}, by.MetaFor(e.Time, r.ID, audit.Encode(e)))
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "a rotation of %s runs already", a).WithHint("to see how far it is type: cardea admin ca status %s", a.name).WithCause(err)
	}
	return s.done(ctx, a, err)
}

func (s *Service) event(by caller.Caller, action string, a authority) audit.Event {
	e := by.Event(s.now(), action)
	e.Project, e.Detail = a.project, map[string]string{"ca": a.name}
	return e
}

// done answers a step; a repeat of the call is as good as the first.
func (s *Service) done(ctx context.Context, a authority, err error) (*api.Rotation, error) {
	if _, again := lookup.Repeated(err); err != nil && !again {
		return nil, caller.Explain(err, "next step of "+a.String())
	}
	return s.rotation(ctx, a)
}

// step is one of the store's.
type step func(ctx context.Context, scope, purpose string, w store.Without, m store.Meta) error

// Switch lets the next key sign.
func (s *Service) Switch(ctx context.Context, by caller.Caller, ref string, in api.RotationStep) (*api.Rotation, error) {
	return s.step(ctx, by, ref, in, audit.CASwitch, s.Store.SwitchCA)
}

// Retire ends the trust in the old key and destroys it.
func (s *Service) Retire(ctx context.Context, by caller.Caller, ref string, in api.RotationStep) (*api.Rotation, error) {
	return s.step(ctx, by, ref, in, audit.CARetire, s.Store.RetireCA)
}

// Abort goes one step back.
func (s *Service) Abort(ctx context.Context, by caller.Caller, ref string, in api.RotationStep) (*api.Rotation, error) {
	return s.step(ctx, by, ref, in, audit.CAAbort, s.Store.AbortCA)
}

// maxNamed bounds the names of servers in an audit event, in bytes.
const maxNamed = 1000

func (s *Service) step(ctx context.Context, by caller.Caller, ref string, in api.RotationStep, action string, do step) (*api.Rotation, error) {
	a, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := s.event(by, action, a)
	v, err := s.Store.Rotation(ctx, a.scope, string(a.purpose), e.Time)
	if err != nil {
		return nil, caller.Explain(err, a.String())
	}
	blocking, err := s.blocking(ctx, v, e.Time)
	if err != nil {
		return nil, err
	}
	without, err := named(blocking, in)
	if err != nil {
		return nil, err
	}
	without.tell(e.Detail)
	err = do(ctx, a.scope, string(a.purpose), without.Without, by.MetaFor(e.Time, a.name, audit.Encode(e)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, api.Errorf(api.Conflict, "%s is not in the phase for this", a).WithHint("to see how far it is type: cardea admin ca status %s", a.name).WithCause(err)
	case errors.Is(err, store.ErrInUse):
		return nil, s.notYet(ctx, a, e, err)
	}
	return s.done(ctx, a, err)
}

// exempt are servers that a step does not wait for.
type exempt struct {
	store.Without
	names []string
}

func (x exempt) tell(detail map[string]string) {
	if x.All {
		detail["force"] = "true"
	}
	if len(x.names) > 0 {
		text := strings.Join(x.names, " ")
		detail["without"], detail["servers"] = text[:min(len(text), maxNamed)], strconv.Itoa(len(x.names))
	}
}

// named finds what was named among the servers that block. Anything else is a
// mistake that must not be passed over: the name meant was another.
func named(blocking []api.BlockingServer, in api.RotationStep) (x exempt, err error) {
	x.All = in.Force
	for _, b := range blocking {
		if in.Force {
			x.names = append(x.names, b.Name)
		}
	}
	for _, ref := range in.Without {
		var hits []api.BlockingServer
		for _, b := range blocking {
			if _, name, _ := strings.Cut(b.Name, "/"); ref == b.ID || ref == b.Name || ref == name {
				hits = append(hits, b)
			}
		}
		switch {
		case len(hits) == 0:
			return x, api.Errorf(api.Invalid, "server %q is not one that has to be waited for", lookup.Shown(ref)).WithHint("leave it out")
		case len(hits) > 1:
			return x, api.Errorf(api.Ambiguous, "%s is the name of %d servers", lookup.Shown(ref), len(hits)).WithHint("name it as project/name")
		}
		x.Servers, x.names = append(x.Servers, hits[0].ID), append(x.names, hits[0].Name)
	}
	return x, nil
}

// shownServers is how many names a refusal gives.
const shownServers = 5

// notYet says what a step waits for, and audits that it was tried.
func (s *Service) notYet(ctx context.Context, a authority, e audit.Event, cause error) error {
	v, err := s.rotation(ctx, a)
	if err != nil {
		return err
	}
	if v.Phase == api.PhasePublished && e.Action == audit.CAAbort && v.Done == v.Servers {
		return s.refused(ctx, e, api.Errorf(api.Conflict, "the next key of %s has been the active one, and certificates of it are not over", a).
			WithHint("--force destroys it now; else wait some minutes, or to go on with it type: cardea admin ca switch %s", a.name).WithCause(cause))
	}
	why := api.Errorf(api.Conflict, "%s cannot go on before %s: certificates of the old key are not over", a, v.NotBefore.Format(time.RFC3339)).
		WithHint("wait, and type it again; if the old key is in wrong hands, --force ends it now").WithCause(cause)
	if n := v.Servers - v.Done; n > 0 {
		var away, names []string
		for _, b := range v.Blocking {
			if b.Absent {
				away = append(away, b.Name)
			}
			names = append(names, b.Name)
		}
		hint := "they will be ready in a moment; type: cardea admin ca status " + a.name
		if len(away) > 0 {
			names = away
			hint = "start their agents, or go on without them, by name with --without or all with --force; people are locked out of them until their agents are back"
		}
		text := strings.Join(names[:min(len(names), shownServers)], ", ")
		if n > shownServers {
			text += fmt.Sprintf(" and others (%d in all)", n)
		}
		why = api.Errorf(api.Conflict, "%s cannot go on: %d of %d servers are not ready: %s", a, n, v.Servers, text).WithHint("%s", hint).WithCause(cause)
	}
	return s.refused(ctx, e, why)
}

// refused audits that a step was refused.
func (s *Service) refused(ctx context.Context, e audit.Event, why *api.Error) error {
	return caller.Refuse(ctx, s.Store, e, why.Detail, why)
}
