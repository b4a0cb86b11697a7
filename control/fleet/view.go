package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/policy"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// principalLife is how long a server that is cut off lets people in.
	principalLife = 7 * 24 * time.Hour
	// nowhere is a source from which no connection comes. It stands where a
	// gateway is required and none has egress addresses, because no source at all
	// would mean any.
	nowhere = "0.0.0.0/32"
)

// Account states on the wire.
const (
	accountActive = "active"
	accountLocked = "locked"
)

// view is a project's facts, ready to be cut to the size of one server.
type view struct {
	version api.StateVersion
	facts   store.ProjectFacts
	grants  []grant
	people  []person
	userCAs []string
	hostCAs []string
	revoked revoked
	sources []string
	glass   string // the break-glass in force, or empty
	sudo    *sudoers
	leavers map[string][]store.Leaver // by user
	// ending are the users of whom a membership or a grant has ended just now: the
	// sweep has yet to write that down, and what it wrote before is of another time.
	ending map[string]bool
}

type grant struct {
	selector     policy.Selector
	admin        bool
	suspended    bool     // by a break-glass: whoever has no other is locked, and not gone
	entitlements []string // ids
}

// person is a user with the grants that are his by his memberships: indexes
// into view.grants.
type person struct {
	user   store.User
	grants []int
}

// newView leaves out memberships and grants that are over. That they end is a
// revision of its own, so nothing is left out too late for long.
func newView(f store.ProjectFacts, now time.Time) (*view, error) {
	glass := store.LatestBreakGlass(f.BreakGlass, f.Project.ID)
	f.Project = f.Project.During(glass, now)
	v := &view{version: api.StateVersion{Epoch: f.Team.Epoch, Counter: f.Project.Revision}, facts: f}
	v.ending = map[string]bool{}
	if glass.InForce(now) {
		v.glass = glass.ID
	}
	byGroup, over := map[string][]int{}, map[string]bool{}
	for _, g := range f.Grants {
		over[g.Group] = over[g.Group] || ended(g.Until, now)
		selector, err := policy.ParseSelector(g.Selector)
		if err != nil || ended(g.Until, now) {
			continue // one that does not parse selects nothing
		}
		byGroup[g.Group] = append(byGroup[g.Group], len(v.grants))
		v.grants = append(v.grants, grant{
			selector: selector, admin: g.Role == string(policy.RoleAdmin), entitlements: idsOf(g.Entitlements),
			suspended: glass.InForce(now) && g.ID != glass.Grant,
		})
	}
	if glass.ID != "" && !glass.InForce(now) {
		// Its people are told of as locked: that no grant names them any more would, on a
		// server where they are many, rather be taken for a mistake.
		byGroup[glass.Group] = append(byGroup[glass.Group], len(v.grants))
		v.grants = append(v.grants, grant{suspended: true})
		if !slices.ContainsFunc(f.Grants, func(g store.Grant) bool { return g.Group == glass.Group }) {
			v.facts.Groups = slices.DeleteFunc(slices.Clone(f.Groups), func(g store.Group) bool { return g.ID == glass.Group })
		}
	}
	byUser := map[string][]int{}
	for _, m := range f.Members {
		v.ending[m.User] = v.ending[m.User] || over[m.Group] || ended(m.Until, now)
		if !ended(m.Until, now) {
			byUser[m.User] = append(byUser[m.User], byGroup[m.Group]...)
		}
	}
	for _, u := range f.Users {
		if len(byUser[u.ID]) > 0 {
			v.people = append(v.people, person{user: u, grants: byUser[u.ID]})
		}
	}
	slices.SortFunc(v.people, func(a, b person) int { return cmp.Compare(a.user.UID, b.user.UID) })
	v.userCAs, v.hostCAs, v.sources = store.Lines(f.UserCAs), store.Lines(f.HostCAs), sources(f)
	v.revoked = newRevoked(f.Revoked)
	v.sudo = newSudoers(f.Entitlements)
	v.leavers = map[string][]store.Leaver{}
	for _, l := range f.Leavers {
		v.leavers[l.User] = append(v.leavers[l.User], l)
	}
	if len(v.userCAs) == 0 || len(v.hostCAs) == 0 {
		return nil, fmt.Errorf("project %s has no user CA, or the team no host CA", f.Project.ID)
	}
	return v, nil
}

// ended: the end itself is outside.
func ended(until, now time.Time) bool { return !until.IsZero() && !now.Before(until) }

// sources are where managed users may come from. Draining gateways are among
// them: their sessions run on.
func sources(f store.ProjectFacts) []string {
	if f.Project.Gateway != store.GatewayRequired {
		return nil
	}
	var out []string
	for _, g := range f.Gateways {
		if g.State == store.Active && policy.Select(f.Project.GatewaySelector, g.Labels) {
			out = append(out, g.Egress...)
		}
	}
	if len(out) == 0 {
		return []string{nowhere}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// state is the desired state of one server of the project.
func (v *view) state(server store.Server, demands []store.Demand, now time.Time) api.DesiredState {
	d := api.DesiredState{
		Team: v.facts.Team.ID, Project: v.facts.Project.ID, Server: server.ID, Name: server.Name,
		Version: v.version, IssuedAt: now, Complete: true,
		Accounts: []api.Account{}, Groups: []api.AccountGroup{},
		UserCAs: v.userCAs, HostCAs: v.hostCAs, Revoked: v.revoked.of(server.ID), Sources: v.sources, BreakGlass: v.glass,
		PrincipalSeconds: int(principalLife / time.Second),
	}
	matches := make([]bool, len(v.grants))
	for i, g := range v.grants {
		matches[i] = g.selector.Matches(server.Labels)
	}
	var sudo sudoLists
	logins := map[string]string{} // of those with an active account of their own, by user
	crew := v.crew(server.ID, demands)
	for _, p := range v.people {
		a, entitlements, ok := p.account(v.grants, matches)
		if !ok || !crew.own(&a) {
			continue
		}
		if a.State != accountActive {
			entitlements = nil
		}
		if sum := v.sudo.of(entitlements); sum != nil {
			a.SudoList, a.SudoLeftOut = sudo.number(sum), sum.leftOut
		}
		d.Accounts = append(d.Accounts, a)
		if a.State == accountActive {
			logins[a.User] = a.Login
		}
	}
	d.Accounts = append(d.Accounts, crew.rest()...)
	d.SudoLists = sudo.lists
	d.Groups = v.groups(logins, now)
	return d
}

// account is the person's account where any of his grants matches. Somebody who
// was disabled or deleted, or whose grants are suspended, keeps it, locked: the agent
// must be told to lock, and not only told nothing of him. The entitlements are those of
// all grants that match; none for who may run everything, or nothing.
func (p person) account(grants []grant, matches []bool) (a api.Account, entitlements []string, ok bool) {
	u := p.user
	a = api.Account{User: u.ID, Login: u.Login, UID: u.UID, GID: u.UID, FullName: u.FullName, State: accountLocked}
	suspended := true
	for _, i := range p.grants {
		ok = ok || matches[i]
		if matches[i] && !grants[i].suspended {
			suspended = false
			a.Admin = a.Admin || grants[i].admin
			entitlements = append(entitlements, grants[i].entitlements...)
		}
	}
	if u.Status == store.Active && !suspended {
		a.State = accountActive
	} else {
		a.Admin, entitlements = false, nil
	}
	if a.Admin {
		entitlements = nil
	}
	return a, entitlements, ok
}

// groups are those of the project, with the members that have an account here.
func (v *view) groups(logins map[string]string, now time.Time) []api.AccountGroup {
	members := map[string][]string{}
	for _, m := range v.facts.Members {
		if login, ok := logins[m.User]; ok && !ended(m.Until, now) {
			members[m.Group] = append(members[m.Group], login)
		}
	}
	out := make([]api.AccountGroup, 0, len(v.facts.Groups))
	for _, g := range v.facts.Groups {
		slices.Sort(members[g.ID])
		out = append(out, api.AccountGroup{Group: g.ID, Name: g.Name, GID: g.GID, Members: append([]string{}, members[g.ID]...)})
	}
	slices.SortFunc(out, func(a, b api.AccountGroup) int { return cmp.Compare(a.GID, b.GID) })
	return out
}
