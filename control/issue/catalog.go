package issue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

// Catalog waits until what the caller may reach differs from version, and
// returns it; nil if nothing changed within wait.
func (s *Service) Catalog(ctx context.Context, by caller.Caller, version string, wait time.Duration) (*api.Catalog, error) {
	topics := []string{store.UserTopic(by.User.ID)}
	return lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.Catalog, []string, error) {
		c, topics, err := s.catalog(ctx, by)
		if err != nil || c.Version == version {
			return nil, topics, err
		}
		return c, nil, nil
	})
}

// catalog reads it, and which topics can change it.
func (s *Service) catalog(ctx context.Context, by caller.Caller) (*api.Catalog, []string, error) {
	// Both are read anew: the caller was let in up to a minute ago.
	session, err := s.Store.Session(ctx, by.Session.ID)
	if err != nil {
		return nil, nil, caller.Explain(err, "session")
	}
	f, err := s.Store.CatalogFacts(ctx, by.User.ID)
	if err != nil {
		return nil, nil, caller.Explain(err, "user")
	}
	now := s.now()
	if err := s.ended(ctx, f.User, session, now); err != nil {
		return nil, nil, err
	}
	q := policy.Facts{
		Now:         now,
		User:        policy.User{ID: f.User.ID, Login: f.User.Login, Active: f.User.Status == store.Active},
		Device:      policy.Device{ID: by.Device.ID, UserID: by.Device.User, State: policy.DeviceState(by.Device.State)},
		Session:     policy.Session{ID: session.ID, UserID: session.User, DeviceID: session.Device, ExpiresAt: session.ExpiresAt, RevokedAt: session.RevokedAt},
		Memberships: memberships(f.Memberships),
	}
	c := &api.Catalog{Session: sessionOf(by, f.User, session), Servers: reachable(f, q), Projects: granted(f, now), HostCAs: []string{}}
	c.HostCAs = store.Lines(f.HostCAs)
	if slices.ContainsFunc(c.Servers, func(e api.CatalogEntry) bool { return e.Recorded }) {
		c.GatewayCAs = store.Lines(f.GatewayCAs)
		c.GatewayHostKeys = gatewayHostKeys(f, c.Servers)
	}
	c.Version, err = versionOf(*c)
	return c, topicsOf(f), err
}

// gatewayHostKeys are, for each project with a recorded server in the list, the keys of all
// gateways that may stand there: of a busy or a draining one, too, for that passes.
func gatewayHostKeys(f store.CatalogFacts, listed []api.CatalogEntry) map[string][]string {
	out := map[string][]string{}
	for _, p := range f.Projects {
		if !slices.ContainsFunc(listed, func(e api.CatalogEntry) bool { return e.Recorded && e.Project == p.ID }) {
			continue
		}
		for _, g := range f.Gateways {
			if policy.Select(p.GatewaySelector, g.Labels) {
				out[p.ID] = append(out[p.ID], g.HostKey)
			}
		}
	}
	return out
}

// ended tells whoever lost his session while he waited. An empty list instead
// would have his ssh forget all servers, and nobody say that he has to sign in.
func (s *Service) ended(ctx context.Context, u store.User, session store.Session, now time.Time) error {
	if !session.RevokedAt.IsZero() { // with its device, perhaps
		d, err := s.Store.Device(ctx, session.Device)
		if err != nil && !errors.Is(err, store.ErrNotFound) { // that of a browser has none
			return caller.Explain(err, "device")
		}
		if d.State == store.Revoked {
			return caller.DeviceRevoked(u)
		}
	}
	switch {
	case !session.RevokedAt.IsZero() || !now.Before(session.ExpiresAt):
		return api.Errorf(api.SignIn, "this session is over").WithHint("%s", caller.SignInHint(u, ""))
	case u.Status != store.Active:
		return api.Errorf(api.Denied, "your account is %s", u.Status).WithHint("ask your administrator")
	}
	return nil
}

// topicsOf are sorted, so that equal sets are equal.
func topicsOf(f store.CatalogFacts) []string {
	topics := []string{store.UserTopic(f.User.ID)}
	for _, p := range f.Projects {
		topics = append(topics, store.ProjectTopic(p.ID))
	}
	slices.Sort(topics)
	return topics
}

// granted are the projects in which a grant is in force: also where there is no server yet
// that it selects, so that whoever was just given one sees that he was.
func granted(f store.CatalogFacts, now time.Time) []api.CatalogProject {
	in := map[string]bool{}
	for _, m := range f.Memberships {
		in[m.Group] = m.InForce(now)
	}
	var out []api.CatalogProject
	for _, p := range f.Projects {
		if slices.ContainsFunc(f.Grants, func(g store.Grant) bool { return g.Project == p.ID && in[g.Group] && g.InForce(now) }) {
			out = append(out, api.CatalogProject{ID: p.ID, Name: p.Name})
		}
	}
	return out
}

// reachable asks the same question of every server that a connection would.
func reachable(f store.CatalogFacts, q policy.Facts) []api.CatalogEntry {
	projects := make(map[string]store.Project, len(f.Projects))
	for _, p := range f.Projects {
		projects[p.ID] = p
	}
	byProject := map[string][]policy.Grant{}
	for _, g := range grants(f.Grants) {
		byProject[g.ProjectID] = append(byProject[g.ProjectID], g)
	}
	out := []api.CatalogEntry{}
	for _, server := range f.Servers {
		b := store.LatestBreakGlass(f.BreakGlass, server.Project)
		p := projects[server.Project].During(b, q.Now)
		q.Project, q.Server, q.Grants, q.BreakGlass = projectFacts(known(p)), serverFacts(server), byProject[p.ID], breakGlass(b)
		d := policy.Decide(q)
		glass := shownBreakGlass(q.BreakGlass, d)
		if glass != nil && glass.Suspended {
			// As it is without it, so that nobody's ssh forgets the server for a few hours.
			after := q
			after.BreakGlass = policy.BreakGlass{}
			d = policy.Decide(after)
		}
		if !d.Allow {
			continue
		}
		key := server.HostKey
		if p.Records() {
			key = "" // a gateway answers there, with a key of its own
		}
		out = append(out, api.CatalogEntry{
			HostKey: key, ID: server.ID, Name: server.Name, AltNames: server.AltNames, Bastion: server.Bastion, Project: p.ID, ProjectName: p.Name, Login: d.Login, Role: string(d.Role),
			Labels: server.AllLabels(), LastSeen: server.LastSeen, Gateway: p.Gateway, Recorded: p.Records(), BreakGlass: glass,
		})
	}
	slices.SortFunc(out, func(a, b api.CatalogEntry) int {
		return cmp.Or(cmp.Compare(a.ProjectName, b.ProjectName), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// versionOf is a hash of all that matters. When a server was last seen does
// not: it would change every minute.
func versionOf(c api.Catalog) (string, error) {
	c.Version, c.Servers = "", slices.Clone(c.Servers)
	for i := range c.Servers {
		c.Servers[i].LastSeen = time.Time{}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode catalog: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

func sessionOf(by caller.Caller, u store.User, s store.Session) api.Session {
	return api.Session{
		ID: s.ID, User: u.ID, UserName: u.Name, Login: u.Login, Admin: u.Admin, Device: s.Device, DeviceTag: by.Device.Name,
		CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, RevokedAt: s.RevokedAt,
	}
}
