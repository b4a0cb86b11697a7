package accounts

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// planAccount decides about one checked account. groups are the project's
// groups that it shall be in.
func (p *planner) planAccount(a account, groups []string) {
	u, exists := p.byName[a.Login]
	switch {
	case exists && (u.UID != a.UID || !p.have.Register.ownsAccount(a.Login, u.UID)):
		p.problem("the host has an account %s that is not Cardea's; it is left alone, and the person cannot enter until it is renamed or removed", a.Login)
	case exists:
		p.changeAccount(a, u, groups)
	case a.locked():
		// Nothing to lock. Its uid stays in the register if it ever was here.
	default:
		p.createAccount(a, groups)
	}
}

func (p *planner) createAccount(a account, groups []string) {
	if other, taken := p.byUID[a.UID]; taken {
		p.problem("the account %s is not made: its uid %d belongs to %s", a.Login, a.UID, quote(other.Name))
		return
	}
	if o, recorded := p.have.Register.Accounts[a.UID]; recorded && o.Login != a.Login {
		p.problem("the account %s is not made: its uid %d was that of %s, and a uid is never given twice", a.Login, a.UID, quote(o.Login))
		return
	}
	if !p.homeFits(a, true) {
		return
	}
	group, ok := p.ownGroup(a)
	if !ok {
		return
	}
	p.reg.Accounts[a.UID] = OwnedAccount{Login: a.Login, User: a.User}
	if strings.HasPrefix(p.have.Sudoers[a.UID], sudoHeader) {
		// Of an account that somebody removed. Whoever has the login until ours is
		// there again, in a directory service for one, must not find it.
		p.locks = append(p.locks, Step{Op: OpUnsudo, Subject: "sudo " + a.Login, Login: a.Login, UID: a.UID})
	}
	p.home(a)
	_, there := p.groups[a.Login]
	fresh := &newAccount{gecos: a.gecos, home: a.home(), shell: a.shell, group: there || a.GID != a.UID, groups: append([]string{Managed}, groups...)}
	argv := slices.Concat([]string{useradd, "-M", "-u", strconv.Itoa(a.UID)}, group, []string{
		"-d", a.home(), "-s", a.shell, "-G", strings.Join(fresh.groups, ","), "-p", "*", "-c", a.gecos, a.Login,
	})
	p.people = append(p.people, Step{Op: OpRun, Subject: a.Login, Login: a.Login, UID: a.UID, GID: a.GID, Argv: argv, New: fresh})
	p.usable = append(p.usable, a.Login)
}

func (p *planner) changeAccount(a account, u User, groups []string) {
	p.members[Managed] = append(p.members[Managed], a.Login)
	if a.locked() {
		if a.WhenIdle && !p.expired(u.Name) && p.have.Busy[u.UID] {
			p.held = append(p.held, u.Name) // its time is over, but not what he is doing
			p.more = true
			return
		}
		p.lock(u)
		return
	}
	for _, g := range groups {
		p.members[g] = append(p.members[g], a.Login)
	}
	if u.Home != a.home() {
		p.problem("the home of %s was changed to %s; the person cannot enter until it is %s again", a.Login, quotePath(u.Home), a.home())
		return
	}
	if u.GID != a.GID {
		// usermod -g would go through the home as root, so this is for a person.
		p.problem("the primary group of %s was changed to gid %d; the person cannot enter until it is %d again", a.Login, u.GID, a.GID)
		return
	}
	if !p.homeFits(a, false) {
		return
	}
	argv := []string{usermod}
	if u.Shell != a.shell {
		argv = append(argv, "-s", a.shell)
	}
	if u.GECOS != a.gecos {
		argv = append(argv, "-c", a.gecos)
	}
	s := p.have.Shadow[a.Login]
	if s.Password == "" || strings.HasPrefix(s.Password, "!") {
		// "!" counts as locked for an sshd without PAM; an empty one lets anybody in.
		argv = append(argv, "-p", "*")
	}
	if p.expired(a.Login) {
		argv = append(argv, "-e", "")
	}
	p.home(a)
	_, named := p.groups[a.Login]
	_, taken := p.byGID[a.GID]
	if !named && !taken && p.have.Register.ownsGroup(a.Login, a.GID) {
		// Somebody removed it, or the power went within useradd.
		p.people = append(p.people, p.groupadd(a.Login, a.GID, a.Login, false))
	}
	if len(argv) > 1 {
		p.people = append(p.people, Step{Op: OpRun, Subject: a.Login, Login: a.Login, UID: a.UID, Argv: append(argv, a.Login)})
	}
	p.usable = append(p.usable, a.Login)
}

// home has a home made where there is none.
func (p *planner) home(a account) {
	if _, there := p.have.Homes[a.Login]; !there {
		_, here := p.byName[a.Login]
		p.homes = append(p.homes, Step{Op: OpHome, Subject: a.Login, Login: a.Login, UID: a.UID, GID: a.GID, Here: here})
	}
}

// weave puts the homes that are to be made before the accounts that get them.
func (p *planner) weave() {
	p.made = slices.Concat(p.made, p.homes, p.people)
	p.homes, p.people = nil, nil
}

// homeFits looks at a home that is already there. One of another owner may
// hold anything, programs with the set-uid bit included; it is never made fit.
func (p *planner) homeFits(a account, fresh bool) bool {
	home, there := p.have.Homes[a.Login]
	what := "the person cannot enter"
	if fresh {
		what = "the account is not made"
	}
	switch {
	case !there && p.have.HomeProblem != "":
		p.problem("the home of %s cannot be made (%s); %s", a.Login, p.have.HomeProblem, what)
	case there && !home.Dir:
		p.problem("%s is there already and is no folder; %s until it is moved away", a.home(), what)
	case there && home.UID != a.UID:
		p.problem("%s is there already and belongs to uid %d, not %d; %s until it is moved away", a.home(), home.UID, a.UID, what)
	default:
		return true
	}
	return false
}

// ownGroup makes sure of the account's own group, and returns the options with
// which useradd gives the account that group.
func (p *planner) ownGroup(a account) (options []string, ok bool) {
	gid := strconv.Itoa(a.GID)
	there := []string{"-N", "-g", gid}
	g, exists := p.groups[a.Login]
	other, taken := p.byGID[a.GID]
	switch {
	case exists && g.GID == a.GID && p.have.Register.ownsGroup(a.Login, a.GID):
		return there, true
	case exists:
		p.problem("the account %s is not made: the host has a group of that name that is not Cardea's", a.Login)
		return nil, false
	case taken:
		p.problem("the account %s is not made: its gid %d belongs to the group %s", a.Login, a.GID, quote(other.Name))
		return nil, false
	}
	if o, recorded := p.have.Register.Groups[a.GID]; recorded && (o.Name != a.Login || o.Kind != kindOwn) {
		p.problem("the account %s is not made: its gid %d was that of %s, and a gid is never given twice", a.Login, a.GID, quote(o.Name))
		return nil, false
	}
	p.reg.Groups[a.GID] = OwnedGroup{Name: a.Login, Kind: kindOwn}
	if a.GID == a.UID {
		// useradd makes the group too, with the uid for its gid if that is free and
		// in the range, in which nothing else is. It takes half the time of groupadd
		// and useradd, each of which writes all account files anew.
		return []string{"-U", "-K", "GID_MIN=" + gid, "-K", "GID_MAX=" + gid}, true
	}
	p.people = append(p.people, p.groupadd(a.Login, a.GID, a.Login, false))
	return there, true
}

func (p *planner) expired(login string) bool {
	s, ok := p.have.Shadow[login]
	return ok && s.Expires >= 0 && s.Expires <= p.have.Today
}

// lock expires the account, then ends what runs under it, then removes what
// would run later, in this order, so that nothing begins in between. Day 1 and not 0, which some read as never.
func (p *planner) lock(u User) {
	if strings.HasPrefix(p.have.Sudoers[u.UID], sudoHeader) {
		p.locks = append(p.locks, Step{Op: OpUnsudo, Subject: "sudo " + u.Name, Login: u.Name, UID: u.UID})
	}
	p.locked = append(p.locked, u)
	expired := p.expired(u.Name)
	if !expired {
		p.locks = append(p.locks, Step{Op: OpRun, Subject: u.Name, Login: u.Name, UID: u.UID, Argv: []string{usermod, "-e", "1", u.Name}})
	}
	if !expired || p.have.Busy[u.UID] {
		p.locks = append(p.locks, Step{Op: OpEnd, Subject: u.Name, Login: u.Name, UID: u.UID})
	}
	if jobs := p.have.Jobs[u.UID]; !expired || len(jobs) > 0 {
		p.locks = append(p.locks, Step{Op: OpClean, Subject: u.Name, Login: u.Name, UID: u.UID, Paths: jobs})
	}
	for _, text := range setIDProblems(u.Name, p.have.Leftovers[u.UID]) {
		p.problem("%s", text)
	}
}

// planAbsent locks our accounts that the state does not name, unless so many
// go at once that somebody should look first.
func (p *planner) planAbsent(absent, ours []User) {
	var going []User
	active := 0
	for _, u := range ours {
		if !p.expired(u.Name) {
			active++
		}
	}
	for _, u := range absent {
		if p.expired(u.Name) {
			p.lock(u) // ends what a cut-off run left
			continue
		}
		going = append(going, u)
	}
	if active >= brakeFrom && len(going)*100 > active*brakePercent && !p.want.ConfirmedRemovals {
		p.problem("%d of %d accounts would be locked because the state does not name them; this waits until you type: cardea-server-agent confirm-removals", len(going), active)
		for _, u := range going {
			p.held = append(p.held, u.Name)
		}
		return
	}
	for _, u := range going {
		p.lock(u)
	}
}

// planGroups makes the project's groups and returns, by login, those that the
// account shall be in.
func (p *planner) planGroups(wanted []account, named map[string]bool) map[string][]string {
	ids := map[int]int{}
	accounts := map[string]account{}
	for _, a := range wanted {
		accounts[a.Login] = a
		ids[a.GID]++
	}
	names := map[string]int{}
	for _, g := range p.want.Groups {
		names[g.Name]++
		ids[g.GID]++
	}
	in := map[string][]string{}
	groups := slices.Clone(p.want.Groups)
	slices.SortFunc(groups, func(a, b api.AccountGroup) int { return strings.Compare(a.Name, b.Name) })
	for _, g := range groups {
		switch err := ident.Group(g.Name); {
		case err != nil:
			p.problem("the group %s is refused: %v", quote(g.Name), err)
			continue
		case checkID(g.GID) != nil:
			p.problem("the group %s is refused: gid %v", g.Name, checkID(g.GID))
			continue
		case g.Name == Managed || names[g.Name] > 1 || ids[g.GID] > 1 || named[g.Name]:
			p.problem("the group %s is refused: its name or gid is given twice", g.Name)
			continue
		}
		if !p.projectGroup(g) {
			continue
		}
		p.members[g.Name] = []string{}
		for _, m := range g.Members {
			if a, ok := accounts[m]; ok && !a.locked() && !slices.Contains(in[m], g.Name) {
				in[m] = append(in[m], g.Name)
			}
		}
	}
	return in
}

func (p *planner) projectGroup(g api.AccountGroup) bool {
	have, exists := p.groups[g.Name]
	other, taken := p.byGID[g.GID]
	recorded, was := p.have.Register.Groups[g.GID]
	switch {
	case exists && have.GID == g.GID && p.have.Register.ownsGroup(g.Name, g.GID) && recorded.Kind == kindProject:
		return true
	case exists:
		p.problem("the host has a group %s that is not Cardea's; it is left alone", g.Name)
	case taken:
		p.problem("the group %s is not made: its gid %d belongs to the group %s", g.Name, g.GID, quote(other.Name))
	case was && (recorded.Name != g.Name || recorded.Kind != kindProject):
		p.problem("the group %s is not made: its gid %d was that of %s, and a gid is never given twice", g.Name, g.GID, quote(recorded.Name))
	default:
		p.reg.Groups[g.GID] = OwnedGroup{Name: g.Name, Kind: kindProject}
		p.base = append(p.base, p.groupadd("group "+g.Name, g.GID, g.Name, false))
		p.fresh = append(p.fresh, Group{Name: g.Name, GID: g.GID})
		return true
	}
	return false
}

// fixMembers makes the members of our groups exact. New accounts come into
// theirs with useradd; a project's group that is no longer wanted is emptied.
func (p *planner) fixMembers(managed bool) {
	held := map[string]bool{}
	for _, login := range p.held {
		held[login] = true
	}
	for _, g := range p.fresh {
		p.fixGroup(g, p.members[g.Name], held)
	}
	for _, g := range p.have.Groups {
		o, ours := p.have.Register.Groups[g.GID]
		if !ours || o.Name != g.Name || o.Kind == kindOwn || o.Kind == kindManaged && !managed {
			continue
		}
		p.fixGroup(g, p.members[g.Name], held)
	}
}

// fixGroup makes the members of one group exact, one by one or, if many are
// wrong, all at once: each call writes the files of all groups anew.
func (p *planner) fixGroup(g Group, want []string, held map[string]bool) {
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	has, wanted := setOf(g.Members), setOf(want)
	exact := []string{}
	var calls [][]string
	for _, m := range want {
		if m == ident.Canary && p.byName[m].GID == g.GID {
			continue // it has the group for its primary one
		}
		if _, exists := p.byName[m]; !exists {
			continue
		}
		exact = append(exact, m)
		if !has[m] {
			calls = append(calls, []string{gpasswd, "-a", m, g.Name})
		}
	}
	for _, m := range g.Members {
		switch {
		case wanted[m]:
		case held[m] || !safeArg(m):
			exact = append(exact, m)
		default:
			calls = append(calls, []string{gpasswd, "-d", m, g.Name})
		}
	}
	if list := strings.Join(exact, ","); len(calls) > fewMembers && len(list) <= maxMembers && !slices.ContainsFunc(exact, odd) {
		calls = [][]string{{gpasswd, "-M", list, g.Name}}
	}
	for _, argv := range calls {
		p.fixes = append(p.fixes, Step{Op: OpRun, Subject: "group " + g.Name, Argv: argv})
	}
}

// odd names are nobody's of ours; a list that has one is not written as a whole.
func odd(name string) bool { return ident.Login(name) != nil }

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// safeArg refuses what gpasswd would read as an option. A foreign name may be
// anything else: it is one argument, and gpasswd looks it up as it is.
func safeArg(s string) bool { return s != "" && s[0] != '-' }

// planSudo gives active accounts that may enter what they may run by sudo, and
// takes it from everybody else of ours.
func (p *planner) planSudo(wanted []account) {
	keep, going, usable := map[int]bool{}, map[int]bool{}, setOf(p.usable)
	for _, login := range p.held {
		keep[p.byName[login].UID] = true
	}
	for _, s := range p.locks {
		if s.Op == OpUnsudo {
			going[s.UID] = true
		}
	}
	for _, a := range wanted {
		if a.locked() || !usable[a.Login] {
			continue
		}
		rules := p.rulesOf(a)
		if rules.Empty() {
			continue
		}
		text, err := sudoFile(a.Login, rules)
		if err != nil {
			p.problem("%s gets no sudo: %v", a.Login, err)
			continue
		}
		keep[a.UID] = true
		content, exists := p.have.Sudoers[a.UID]
		switch {
		case content == text && p.isHere(a):
		case exists && !strings.HasPrefix(content, sudoHeader):
			p.problem("%s is there already and is not Cardea's; it is left alone", sudoersPath(a.UID))
		default:
			p.sudo = append(p.sudo, Step{Op: OpSudo, Subject: "sudo " + a.Login, Login: a.Login, UID: a.UID, Sudo: rules})
		}
	}
	var gone []int
	for uid, content := range p.have.Sudoers {
		if !keep[uid] && !going[uid] && strings.HasPrefix(content, sudoHeader) {
			gone = append(gone, uid)
		}
	}
	slices.Sort(gone)
	for _, uid := range gone {
		p.sudo = append(p.sudo, Step{Op: OpUnsudo, Subject: "sudo " + strconv.Itoa(uid), UID: uid})
	}
}

// rulesOf are what an account may run. A command that this agent does not
// accept is left out, and reported: the others mean the same without it.
func (p *planner) rulesOf(a account) entitlement.Rules {
	if a.SudoLeftOut > 0 {
		p.problem("%s has %d sudo commands more than the %d that one account can have; they are left out", a.Login, a.SudoLeftOut, entitlement.MaxRules)
	}
	if a.SudoList != 0 && len(a.Sudo) == 0 {
		p.problem("%s gets no sudo: the state names a list of commands that is not in it", a.Login)
	}
	rules := entitlement.Rules{Everything: a.Admin, Commands: a.Sudo} // thousands may share one list
	bad := func(c entitlement.Command) bool { return c.Check() != nil }
	if !slices.ContainsFunc(a.Sudo, bad) {
		return rules
	}
	rules.Commands = slices.DeleteFunc(slices.Clone(a.Sudo), func(c entitlement.Command) bool {
		if bad(c) {
			p.problem("%s does not get a sudo command: %v", a.Login, c.Check())
		}
		return bad(c)
	})
	return rules
}

// isHere reports whether the account exists already, as ours.
func (p *planner) isHere(a account) bool {
	u, exists := p.byName[a.Login]
	return exists && u.UID == a.UID
}

func quotePath(s string) string { return strconv.QuoteToASCII(cut(s)) }
