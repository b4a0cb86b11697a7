package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// crew are the accounts of one server while they are added up.
type crew struct {
	v       *view
	server  string
	demands map[string]store.Demand // by user
	shared  map[string]*api.Account // by login
	there   map[string]bool         // users with an account of their own in the state
}

func (v *view) crew(server string, demands []store.Demand) *crew {
	c := &crew{v: v, server: server, demands: map[string]store.Demand{}, shared: map[string]*api.Account{}, there: map[string]bool{}}
	for _, d := range demands {
		c.demands[d.User] = d
	}
	for _, s := range v.facts.Shared {
		// Locked until somebody may use it.
		c.shared[s.Name] = &api.Account{
			Login: s.Name, UID: s.UID, GID: s.UID, FullName: "shared by project " + v.facts.Project.Name, State: accountLocked,
			Shared: true, Existing: v.existing(), Admin: s.Name == v.facts.Project.SharedAdminAccount,
		}
	}
	return c
}

func (v *view) existing() bool { return v.facts.Project.Accounts == store.AccountsExisting }
func (v *view) onDemand() bool { return v.facts.Project.Accounts == store.AccountsOnDemand }

// own says whether somebody who may enter has an account of his own there now,
// and what of it. Who shares one is put into that instead.
func (c *crew) own(a *api.Account) bool {
	p := c.v.facts.Project
	a.Existing = c.v.existing()
	if a.State == accountActive {
		name := p.SharedAccount
		if a.Admin {
			name = p.SharedAdminAccount
		}
		if name != "" {
			if s := c.shared[name]; s != nil {
				s.State, s.People = accountActive, append(s.People, a.User)
			}
			return false
		}
	}
	if c.v.onDemand() {
		d, demanded := c.demands[a.User]
		if !demanded && a.State == accountActive {
			return false
		}
		if demanded && d.Over && a.State == accountActive {
			a.State, a.WhenIdle, a.Admin = accountLocked, true, false
		}
	}
	c.removal(a)
	c.there[a.User] = true
	return true
}

// removal has an account removed that is locked, if the project wants that and
// the delay is over.
func (c *crew) removal(a *api.Account) {
	p := c.v.facts.Project
	if a.State == accountLocked && !a.Existing && p.Removal == store.RemovalRemove && c.over(a.User) {
		a.Remove = cmp.Or(p.RemovalHome, homeArchive)
	}
}

const homeArchive = "archive"

// over: all that is known of his leaving this server was long enough ago.
func (c *crew) over(user string) bool {
	known := false
	for _, l := range c.v.leavers[user] {
		if l.Server == "" || l.Server == c.server {
			if !l.Over {
				return false
			}
			known = true
		}
	}
	return known
}

// rest are the accounts beside those of people who have one of their own now:
// shared ones, and those that people left behind who may not enter any more, or
// have a shared one now.
func (c *crew) rest() (out []api.Account) {
	for _, u := range c.v.facts.Left {
		if c.there[u.ID] || c.v.ending[u.ID] {
			continue
		}
		a := api.Account{User: u.ID, Login: u.Login, UID: u.UID, GID: u.UID, State: accountLocked, Existing: c.v.existing()}
		if c.removal(&a); a.Remove != "" {
			out = append(out, a)
		}
	}
	for _, s := range c.shared {
		slices.Sort(s.People)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b api.Account) int { return cmp.Compare(a.UID, b.UID) })
	return out
}

// maxStateTries bounds how often a state is read anew because the server's own
// part changed meanwhile.
const maxStateTries = 10

// newerOnDemand is newerThan for a server whose desired state has a part of its
// own. Its version is the later of the two revisions. So a state that is signed
// with the server's revision has to have all of the project up to there: the
// revision is read before the project is, and must stand still until the end.
func (s *Service) newerOnDemand(ctx context.Context, server, project string, have api.StateVersion) (*api.SignedState, error) {
	for range maxStateTries {
		before, err := s.Store.Server(ctx, server)
		if err != nil {
			return nil, caller.Explain(err, "server "+server)
		}
		v, err := s.states.view(ctx, s, project)
		if err != nil {
			return nil, err
		}
		f, err := s.Store.ServerFacts(ctx, server)
		if err != nil {
			return nil, caller.Explain(err, "server "+server)
		}
		if f.Server.Revision != before.Revision {
			continue
		}
		if f.Server.Project != project {
			return nil, fmt.Errorf("server %s is in project %s and not in %s", server, f.Server.Project, project)
		}
		version := v.version
		version.Counter = max(version.Counter, f.Server.Revision)
		if !have.Less(version) {
			return nil, nil
		}
		d := v.state(f.Server, f.Demands, s.now())
		d.Version = version
		return s.sign(ctx, d)
	}
	return nil, api.Errorf(api.Unavailable, "the state of this server changes too fast").WithCause(errors.New("the revision never stood still"))
}
