package directory

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// maxSubject is what OpenID Connect allows (Core section 2), and maxExternal what a
	// sign-in takes of the name of a group, in bytes.
	maxSubject, maxExternal = 255, 256
)

// federated makes a user who is to be one that signs in at a provider: whom no rule gives
// a login, or whose provider makes no users by itself.
func (s *Service) federated(ctx context.Context, u *store.User, in api.NewUser) error {
	if in.Provider == "" || in.Subject == "" {
		return api.Errorf(api.Invalid, "a user of an identity provider has a provider and a subject").
			WithHint("the page on which his sign-in ends tells both")
	}
	if in.Password != "" {
		return api.Errorf(api.Invalid, "who signs in at an identity provider has no password here").WithHint("leave out one of the two")
	}
	if len(in.Subject) > maxSubject || ident.Text(in.Subject) != in.Subject {
		return api.Errorf(api.Invalid, "a subject is 1 to %d bytes without control characters and backslashes", maxSubject)
	}
	p, err := s.provider(ctx, in.Provider)
	if err != nil {
		return err
	}
	u.Issuer, u.Subject = p.Issuer, in.Subject
	return nil
}

func (s *Service) provider(ctx context.Context, ref string) (store.Provider, error) {
	return lookup.Find(ctx, lookup.Kind[store.Provider]{Name: "provider", Prefix: ident.Provider, ByID: s.Store.Provider, ByName: s.Store.ProviderByName}, ref)
}

// keptBy fills in which provider keeps a group, and tells it in detail.
func (s *Service) keptBy(ctx context.Context, g *store.Group, provider, external string, detail map[string]string) error {
	if provider == "" {
		if external != "" {
			return api.Errorf(api.Invalid, "only an identity provider has a name of its own for a group").WithHint("name it with --provider")
		}
		g.Source, g.External = "", ""
		return nil
	}
	p, err := s.provider(ctx, provider)
	if err != nil {
		return err
	}
	if external == "" {
		external = g.Name
	}
	if len(external) > maxExternal || strings.TrimSpace(external) != external || ident.Text(external) != external {
		return api.Errorf(api.Invalid, "what a provider calls a group is 1 to %d bytes without control characters", maxExternal)
	}
	g.Source, g.External = p.ID, external
	detail["provider"], detail["claim"] = p.ID, external
	return nil
}

// UpdateGroup changes who keeps the members of a group.
func (s *Service) UpdateGroup(ctx context.Context, by caller.Caller, ref string, in api.GroupPatch) (*api.Group, error) {
	g, err := s.group(ctx, ref)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(g.Source, ident.ScimClient) {
		return nil, s.byHand(ctx, g)
	}
	provider, external := g.Source, ""
	if in.Provider != nil {
		provider = *in.Provider
	}
	if provider == g.Source {
		external = g.External
	}
	if in.External != nil {
		external = *in.External
	}
	e := by.Event(s.now(), audit.GroupUpdate)
	e.Detail = map[string]string{"group": g.ID, "name": g.Name, "provider": "", "claim": ""}
	if err := s.keptBy(ctx, &g, provider, external, e.Detail); err != nil {
		return nil, err
	}
	changed, err := s.Store.UpdateGroup(ctx, g.ID, store.GroupChange{Source: &g.Source, External: &g.External}, by.MetaFor(s.now(), g.ID, audit.Encode(e)))
	if _, again := lookup.Repeated(err); again {
		changed, err = s.Store.Group(ctx, g.ID)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, api.Errorf(api.Conflict, "another group is what the provider calls %s", lookup.Shown(g.External)).
			WithHint("to see which type: cardea admin groups list").WithCause(err)
	}
	if err != nil {
		return nil, caller.Explain(err, "group "+g.Name)
	}
	out := groupOf(changed)
	return &out, nil
}

// byHand refuses to put people into a group that a provider keeps, or to take them out: at
// their next sign-in it would be as before.
func (s *Service) byHand(ctx context.Context, g store.Group) error {
	if g.Source == "" {
		return nil
	}
	name := g.Source
	if c, err := s.Store.ScimClient(ctx, g.Source); err == nil {
		return api.Errorf(api.Conflict, "the SCIM client %s keeps group %s", c.Name, g.Name).WithHint("change the group %q at the identity provider", g.External)
	}
	if p, err := s.Store.Provider(ctx, g.Source); err == nil {
		name = p.Name
	}
	return api.Errorf(api.Conflict, "the identity provider %s keeps the members of group %s", name, g.Name).
		WithHint("change the group %q there, or take it back; type: cardea admin groups update %s --provider ''", g.External, g.Name)
}
