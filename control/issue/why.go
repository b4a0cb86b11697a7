package issue

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// Why tells what Connect would say, and makes nothing. An administrator may ask
// about somebody else, as if he were signed in on a device in good order.
func (s *Service) Why(ctx context.Context, by caller.Caller, server, login, user string) (*api.Why, error) {
	decide := s.forCaller(login)
	if user != "" && user != by.User.ID && user != by.User.Name {
		if !by.IsAdmin() {
			return nil, api.Errorf(api.Denied, "only an administrator may ask about others").WithHint("leave out --user")
		}
		var err error
		if decide, err = s.forOther(ctx, user, login); err != nil {
			return nil, err
		}
	}
	t, found, hidden, err := s.find(ctx, by, server, decide)
	if err != nil {
		return nil, err
	}
	if !found {
		_, why := noTarget(by, server, hidden)
		return &api.Why{Reason: why.Detail, Hint: why.Hint}, nil
	}
	d := t.decision
	if !d.Allow {
		return &api.Why{Reason: d.Sentence, Hint: d.Hint}, nil
	}
	if _, _, err := s.Router.Routes(ctx, t.facts); err != nil {
		var why *api.Error
		if !errors.As(err, &why) {
			return nil, err
		}
		return &api.Why{Reason: why.Detail, Hint: why.Hint}, nil
	}
	sudo, err := s.sudo(ctx, t.facts, login)
	if err != nil {
		return nil, err
	}
	out := &api.Why{Allow: true, Reason: d.Sentence + " (" + string(d.Role) + ", by " + d.GrantID + ")", Sudo: sudo}
	if p := t.facts.Project; t.recorded() {
		out.Recorded, out.Input = true, p.RecordInput
		out.CountedOnly = api.CountedOnly(p.PortForwarding, p.AgentForwarding, p.X11Forwarding)
	}
	return out, nil
}

// sudo adds up what all grants that are in force there let the person run, as
// the desired state of the server does.
func (s *Service) sudo(ctx context.Context, f store.Facts, login string) (*api.Sudo, error) {
	if d := policy.Decide(question(f, login, s.now())); d.Role == policy.RoleUser && d.Login != f.User.Login {
		return &api.Sudo{}, nil // a shared account would give it to all
	}
	var lists [][]entitlement.Command
	for _, g := range policy.InForce(question(f, login, s.now())) {
		if g.Role == policy.RoleAdmin {
			return &api.Sudo{Everything: true}, nil
		}
		entitlements, err := s.Store.GrantEntitlements(ctx, g.ID)
		if err != nil {
			return nil, err
		}
		for _, e := range entitlements {
			lists = append(lists, e.Commands)
		}
	}
	out := &api.Sudo{}
	out.Commands, out.LeftOut = entitlement.Merge(lists...)
	return out, nil
}

// forOther decides for another user. The administrator's own session finds the
// server's facts; then the person is exchanged.
func (s *Service) forOther(ctx context.Context, ref, login string) (decider, error) {
	u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, ref)
	if err != nil {
		return nil, err
	}
	of, err := s.Store.CatalogFacts(ctx, u.ID)
	if err != nil {
		return nil, caller.Explain(err, "user "+u.Name)
	}
	return func(f store.Facts) target {
		now := s.now()
		f.User, f.Memberships = of.User, of.Memberships
		f.Device = store.Device{ID: "what-if", User: u.ID, State: store.Active}
		f.Session = store.Session{ID: "what-if", User: u.ID, Device: "what-if", ExpiresAt: now.Add(time.Hour)}
		return target{during(f, now), policy.Decide(question(f, login, now))}
	}, nil
}
