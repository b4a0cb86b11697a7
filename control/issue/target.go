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

// maxNamesakes bounds how many servers of one name are looked at.
const maxNamesakes = 64

// target is a server with what was read and decided about it.
type target struct {
	facts    store.Facts
	decision policy.Decision
}

// decider reads the facts about one server and decides for whoever asks.
type decider func(ctx context.Context, server string) (target, error)

// forCaller decides for the caller himself.
func (s *Service) forCaller(by caller.Caller, login string) decider {
	return func(ctx context.Context, server string) (target, error) {
		f, err := s.Store.Facts(ctx, by.Session.ID, server)
		if err != nil {
			return target{}, err
		}
		return target{f, policy.Decide(question(f, login, s.now()))}, nil
	}
}

// find returns the server that ref means to somebody: an id, a name, or
// project/name. Only servers that he may see count, so another project's
// namesake neither confuses nor is betrayed. found is false if there is none
// that he may see; hidden then holds what there is, if anything.
func (s *Service) find(ctx context.Context, ref string, decide decider) (t target, found bool, hidden []target, err error) {
	ids, err := s.candidates(ctx, ref)
	if err != nil {
		return target{}, false, nil, err
	}
	var visible []target
	for _, id := range ids {
		t, err := decide(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue // deleted since
		case err != nil:
			return target{}, false, nil, err
		case t.decision.Reason == policy.NoGrant:
			hidden = append(hidden, t)
		default:
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

// candidates returns the ids of the servers that ref could mean.
func (s *Service) candidates(ctx context.Context, ref string) ([]string, error) {
	if ident.Check(ref, ident.Server) == nil {
		return []string{ref}, nil
	}
	project, name, qualified := strings.Cut(ref, "/")
	inProject := ""
	if qualified {
		p, err := s.Store.ProjectByName(ctx, shortened(project))
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		inProject = p.ID
	} else {
		name = ref
	}
	if ident.ServerName(name) != nil {
		return nil, nil
	}
	rows, err := s.Store.ServersByName(ctx, name)
	var ids []string
	for _, r := range rows {
		if (!qualified || r.Project == inProject) && len(ids) < maxNamesakes {
			ids = append(ids, r.ID)
		}
	}
	return ids, err
}

// shortened keeps a look-up by a name that cannot be one short.
func shortened(s string) string { return s[:min(len(s), ident.MaxProject+1)] }

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
	if d.Reason == policy.SessionExpired || d.Reason == policy.SessionRevoked {
		kind = api.SignIn
	}
	return api.Errorf(kind, "%s", d.Sentence).WithHint("%s", d.Hint)
}
