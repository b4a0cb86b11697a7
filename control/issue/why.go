package issue

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// inquiry is a question about a connection that nobody makes.
type inquiry struct {
	server, login string
	user          string    // id of whom it is about
	at            time.Time // the time of the decision
	decide        decider
	assumed       bool // device and session are not somebody's own, but in good order
}

// about are the facts of the question; who asks about somebody else reads of him.
func (q inquiry) about(f store.Facts) policy.Facts {
	out := question(f, q.login, q.at)
	if q.assumed {
		out.Of = f.User.Name
	}
	return out
}

// Why tells what Connect would say, and makes nothing. An administrator may ask
// about somebody else, as if he were signed in on a device in good order.
func (s *Service) Why(ctx context.Context, by caller.Caller, server, login, user string) (*api.Why, error) {
	if user != "" && user != by.User.ID && user != by.User.Name {
		if !by.IsAdmin() {
			return nil, api.Errorf(api.Denied, "only an administrator may ask about others").WithHint("leave out --user")
		}
		return s.WhatIf(ctx, by, server, login, Supposed{User: user})
	}
	return s.inquire(ctx, by, inquiry{server: server, login: login, user: by.User.ID, at: s.now(), decide: s.forCaller(login)})
}

// WhatIf is Why for an administrator about anybody at a time to come (zero: now): what has an
// end is over then, and all else is as it is now.
func (s *Service) WhatIf(ctx context.Context, by caller.Caller, server, login string, suppose Supposed) (*api.Why, error) {
	now, at := s.now(), suppose.At
	switch {
	case at.IsZero():
		at = now
	case at.Before(now.Add(-time.Minute)):
		return nil, api.Errorf(api.Invalid, "what was at %s is not kept: what has ended since is gone", at.UTC().Format(time.RFC3339)).
			WithHint("ask about now or later; the past is in the audit log: type: cardea admin audit --help")
	}
	suppose.At = at.UTC()
	at = suppose.At
	u, decide, err := s.forOther(ctx, login, suppose)
	if err != nil {
		return nil, err
	}
	return s.inquire(ctx, by, inquiry{server: server, login: login, user: u.ID, at: at, decide: decide, assumed: true})
}

// heard is a refusal as who asks about somebody else reads it: what that person may ask for is
// his to type.
func (q inquiry) heard(why *api.Error, of []target) *api.Error {
	if !q.assumed || len(of) == 0 || !strings.HasPrefix(why.Hint, askHint) {
		return why
	}
	name := of[0].facts.User.Name
	return api.Errorf(why.Kind, "%s", strings.Replace(why.Detail, "you may not", name+" may not", 1)).WithHint("%s types: %s", name, strings.TrimPrefix(why.Hint, "type: "))
}

// codes beside those of the policy, of an answer that no decision gave.
const codeNoServer, codeNoGateway = "no-server", "no-gateway"

func (s *Service) inquire(ctx context.Context, by caller.Caller, q inquiry) (*api.Why, error) {
	t, found, hidden, err := s.find(ctx, by, q.server, q.decide)
	if err != nil {
		return nil, err
	}
	if !found {
		_, why := noTarget(by, q.server, hidden)
		if why, err = s.orAsk(ctx, q.user, q.server, hidden, why); err != nil {
			return nil, err
		}
		why = q.heard(why, hidden)
		out := &api.Why{Code: codeNoServer, Reason: why.Detail, Hint: why.Hint, At: q.at}
		if len(hidden) > 0 && by.IsAdmin() {
			out.Code = string(hidden[0].decision.Reason)
			out.Chain, err = s.chain(ctx, by, q, hidden[0], nil)
		}
		return out, err
	}
	d := t.decision
	out := &api.Why{Code: string(d.Reason), Reason: d.Sentence, Hint: d.Hint, At: q.at}
	if !d.Allow {
		why, err := s.orAsk(ctx, q.user, q.server, []target{t}, denial(d))
		if err != nil {
			return nil, err
		}
		why = q.heard(why, []target{t})
		out.Reason, out.Hint = why.Detail, why.Hint
		out.Chain, err = s.chain(ctx, by, q, t, nil)
		return out, err
	}
	routes, _, err := s.Router.Routes(ctx, t.facts)
	var noWay *api.Error
	if err != nil && !errors.As(err, &noWay) {
		return nil, err
	}
	if out.Chain, err = s.chain(ctx, by, q, t, wayFact(routes, noWay)); err != nil {
		return nil, err
	}
	if noWay != nil {
		out.Code, out.Reason, out.Hint = codeNoGateway, noWay.Detail, noWay.Hint
		return out, nil
	}
	if out.Sudo, err = s.sudo(ctx, t.facts, q.login, q.at); err != nil {
		return nil, err
	}
	out.Allow, out.Login, out.Role = true, d.Login, string(d.Role)
	out.Reason += " (" + out.Role + ", by " + d.GrantID + ")"
	if p := t.facts.Project; t.recorded() {
		out.Recorded, out.Input = true, p.RecordInput
		out.CountedOnly = api.CountedOnly(p.PortForwarding, p.AgentForwarding, p.X11Forwarding)
	}
	return out, nil
}

// sudo adds up what all grants that are in force there let the person run, as
// the desired state of the server does.
func (s *Service) sudo(ctx context.Context, f store.Facts, login string, at time.Time) (*api.Sudo, error) {
	if d := policy.Decide(question(f, login, at)); d.Role == policy.RoleUser && d.Login != f.User.Login {
		return &api.Sudo{}, nil // a shared account would give it to all
	}
	var lists [][]entitlement.Command
	for _, g := range policy.InForce(question(f, login, at)) {
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

// assumedID is that of the device and the session of somebody who need not have any.
const assumedID = "what-if"

// forOther decides for another user at a time. The administrator's own session finds the
// server's facts; then the person is exchanged.
func (s *Service) forOther(ctx context.Context, login string, suppose Supposed) (store.User, decider, error) {
	ref, at := suppose.User, suppose.At
	u, err := lookup.Find(ctx, lookup.Kind[store.User]{Name: "user", Prefix: ident.User, ByID: s.Store.User, ByName: s.Store.UserByName}, ref)
	if err != nil {
		return u, nil, err
	}
	of, err := s.Store.CatalogFacts(ctx, u.ID)
	if err != nil {
		return u, nil, caller.Explain(err, "user "+u.Name)
	}
	device, err := s.supposedDevice(ctx, u, suppose)
	if err != nil {
		return u, nil, err
	}
	return u, func(f store.Facts) target {
		f.User, f.Memberships, f.Device = of.User, of.Memberships, device
		f.Session = store.Session{ID: assumedID, User: u.ID, Device: device.ID, AuthenticatedAt: at, ExpiresAt: at.Add(time.Hour)}
		q := inquiry{login: login, at: at, assumed: true}
		return target{during(f, at), policy.Decide(q.about(f))}
	}, nil
}
