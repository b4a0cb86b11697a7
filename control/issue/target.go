package issue

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// target is a server with what was read and decided about it.
type target struct {
	facts    store.Facts
	decision policy.Decision
}

// decider decides on facts that the session of whoever asks found.
type decider func(store.Facts) target

// forCaller decides for the caller himself.
func (s *Service) forCaller(login string) decider {
	return func(f store.Facts) target {
		now := s.now()
		return target{during(f, now), policy.Decide(question(f, login, now))}
	}
}

// find returns the server that ref means to somebody: an id, a name, or
// project/name. Only servers that he may see count, so another project's
// namesake neither confuses nor is betrayed. found is false if there is none
// that he may see; hidden then holds what there is, if anything.
func (s *Service) find(ctx context.Context, by caller.Caller, ref string, decide decider) (t target, found bool, hidden []target, err error) {
	candidates, err := s.candidates(ctx, by.Session.ID, ref)
	if err != nil {
		return target{}, false, nil, err
	}
	var visible []target
	for _, f := range candidates {
		if t := decide(f); t.decision.Reason == policy.NoGrant {
			hidden = append(hidden, t)
		} else {
			visible = append(visible, t)
		}
	}
	switch len(visible) {
	case 0:
		return target{}, false, hidden, nil
	case 1:
		return visible[0], true, nil, nil
	}
	return target{}, false, nil, ambiguous(ref, visible)
}

func ambiguous(ref string, visible []target) error {
	names := make([]string, 0, len(visible))
	for _, t := range visible {
		names = append(names, t.facts.Project.Name+"/"+t.facts.Server.Name)
	}
	slices.Sort(names)
	return api.Errorf(api.Ambiguous, "%s is the name of %d servers: %s", lookup.Shown(ref), len(names), strings.Join(names, ", ")).
		WithHint("name one of them, with its project")
}

// candidates reads the facts about the servers that ref could mean.
func (s *Service) candidates(ctx context.Context, session, ref string) ([]store.Facts, error) {
	if ident.Check(ref, ident.Server) == nil {
		f, err := s.Store.Facts(ctx, session, ref)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return []store.Facts{f}, err
	}
	project, name, qualified := strings.Cut(ref, "/")
	switch {
	case !qualified:
		project, name = "", ref
	case ident.ProjectName(project) != nil:
		return nil, nil
	}
	if ident.ServerName(name) != nil {
		return nil, nil
	}
	return s.Store.FactsByName(ctx, session, project, name)
}

// unseen is what everybody hears of a server that he may not enter and does not
// administer: the same words whether it exists or not.
func unseen(ref string) *api.Error {
	return api.Errorf(api.NotFound, "you have no access to a server named %q", lookup.Shown(ref)).
		WithHint("ask your administrator for a grant; to see what you may reach type: cardea ls")
}

// noTarget says why ref led nowhere, and the reason for the audit. An
// administrator sees all servers anyway, so he is told the truth.
func noTarget(by caller.Caller, ref string, hidden []target) (reason string, err *api.Error) {
	switch {
	case len(hidden) == 0 && by.IsAdmin():
		return "no-such-server", lookup.Missing("server", ref)
	case len(hidden) == 0:
		return "no-such-server", unseen(ref)
	case by.IsAdmin():
		return string(policy.NoGrant), denial(hidden[0].decision)
	}
	return string(policy.NoGrant), unseen(ref)
}

// denial is a decision as an error.
func denial(d policy.Decision) *api.Error {
	kind := api.Denied
	if d.Reason == policy.SessionExpired || d.Reason == policy.SessionRevoked || d.Reason == policy.Reauth {
		kind = api.SignIn
	}
	err := api.Errorf(kind, "%s", d.Sentence).WithHint("%s", d.Hint)
	err.Reauth = d.Reauth
	return err
}
