package accounts

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Plan is what Decide found.
type Plan struct {
	Steps []Step
	// Problems are sentences for the administrator, safe to print.
	Problems []string
	// Usable are the logins that may enter once the steps are done.
	Usable []string
	// Held are logins that the brake keeps as they are.
	Held []string
	// Locked are our accounts whose people may not enter once the steps are done.
	Locked []User
	// CanaryReady is false if the probe's account cannot be ours.
	CanaryReady bool
	// More is set if accounts are to be removed that are not gone after this plan.
	More bool
}

// Decide compares what the host has with what is wanted. It is pure. Locks
// come first, so that nothing that fails later can delay them.
func Decide(have Host, want Want) Plan {
	p := newPlanner(have, want)
	p.decide()
	return p.out()
}

func newPlanner(have Host, want Want) *planner {
	p := &planner{
		have: have, want: want, reg: have.Register.clone(),
		byName: map[string]User{}, byUID: map[int]User{}, groups: map[string]Group{}, byGID: map[int]Group{}, members: map[string][]string{},
	}
	for _, u := range have.Users {
		// Where a name stands twice the first line is what the system sees.
		if _, twice := p.byName[u.Name]; !twice {
			p.byName[u.Name] = u
		}
		if _, twice := p.byUID[u.UID]; !twice {
			p.byUID[u.UID] = u
		}
	}
	for _, g := range have.Groups {
		if _, twice := p.groups[g.Name]; !twice {
			p.groups[g.Name] = g
		}
		if _, twice := p.byGID[g.GID]; !twice {
			p.byGID[g.GID] = g
		}
	}
	return p
}

type planner struct {
	have   Host
	want   Want
	reg    Register // with what this plan adds
	byName map[string]User
	byUID  map[int]User
	groups map[string]Group
	byGID  map[int]Group
	// members are the wanted members of our groups that exist or will.
	members map[string][]string

	locks, base, made, fixes, sudo []Step
	// fresh are the groups of several that this plan makes.
	fresh []Group
	// homes and people are of the accounts that weave has not put into made yet.
	homes, people []Step

	problems, usable, held []string
	locked                 []User
	canary                 bool
	// gone are the steps that remove; more says that there is more to remove.
	gone []Step
	more bool
}

func (p *planner) out() Plan {
	steps := p.locks
	if len(p.reg.Accounts) != len(p.have.Register.Accounts) || len(p.reg.Groups) != len(p.have.Register.Groups) ||
		!maps.Equal(p.reg.Accounts, p.have.Register.Accounts) || !maps.Equal(p.reg.Adopted, p.have.Register.Adopted) || !maps.Equal(p.reg.Groups, p.have.Register.Groups) {
		reg := p.reg
		steps = append(steps, Step{Op: OpRecord, Register: &reg})
	}
	if len(p.have.OutOfStep) > 0 {
		steps = append(steps, mendStep(p.have.OutOfStep))
	}
	steps = slices.Concat(steps, p.base, p.fixes, p.made, p.sudo, p.gone)
	return Plan{Steps: steps, Problems: p.problems, Usable: p.usable, Held: p.held, Locked: p.locked, CanaryReady: p.canary, More: p.more}
}

func (p *planner) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *planner) decide() {
	managed := p.planManaged()
	wanted, named := p.checkWanted()
	groups := p.planGroups(wanted, named)
	var absent, ours []User
	for _, u := range p.have.Users {
		if !p.have.Register.ownsAccount(u.Name, u.UID) || u.Name == ident.Canary {
			continue
		}
		ours = append(ours, u)
		if !named[u.Name] {
			absent = append(absent, u)
		}
	}
	p.planAbsent(absent, ours)
	for _, a := range wanted {
		if !a.Existing && (managed || a.locked()) {
			p.planAccount(a, groups[a.Login])
		}
		if len(p.homes) == homesTogether {
			p.weave()
		}
	}
	p.weave()
	if managed {
		for _, u := range ours {
			p.members[Managed] = append(p.members[Managed], u.Name)
		}
		if p.canary {
			p.members[Managed] = append(p.members[Managed], ident.Canary)
		}
	}
	wanted = p.planAdopted(wanted, groups, managed)
	p.fixMembers(managed)
	p.planSudo(wanted)
	p.planRemovals(wanted, len(ours))
	p.planOld()
	p.problems = append(p.problems, p.have.Unread...)
}

// planManaged makes sure of the managed group and the canary. Without them no
// account is made: it would not fall under Cardea's sshd rules.
func (p *planner) planManaged() bool {
	g, exists := p.groups[Managed]
	switch {
	case exists && p.have.Register.ownsGroup(Managed, g.GID):
	case exists && (len(g.Members) > 0 || p.primaryOf(g.GID) != "" || g.GID < minSystemID || g.GID > maxSystemID):
		p.problem("the group %s is not Cardea's and is in use; remove it, then Cardea makes its own", Managed)
		return false
	case exists: // an empty one by that name: the register of an earlier life was lost
		p.reg.Groups[g.GID] = OwnedGroup{Name: Managed, Kind: kindManaged}
	default:
		gid, ok := p.freeSystemID(func(id int) bool { _, used := p.byGID[id]; return used }, p.recordedGID(Managed))
		if !ok {
			p.problem("there is no free system gid for the group %s", Managed)
			return false
		}
		g = Group{Name: Managed, GID: gid}
		p.reg.Groups[gid] = OwnedGroup{Name: Managed, Kind: kindManaged}
		p.base = append(p.base, p.groupadd("group "+Managed, gid, Managed, true))
		p.groups[Managed], p.byGID[gid] = g, g
		p.fresh = append(p.fresh, g)
	}
	if foreign := p.foreignPrimary(g.GID); foreign != "" {
		p.problem("the account %s has %s for its primary group, which belongs to Cardea; give it another", quote(foreign), Managed)
	}
	p.planCanary(g.GID)
	return true
}

func (p *planner) planCanary(gid int) {
	u, exists := p.byName[ident.Canary]
	if exists {
		p.canary = p.have.Register.ownsAccount(ident.Canary, u.UID) && u.GID == gid
		if !p.canary {
			p.problem("the account %s is not Cardea's; remove it, then Cardea makes its own", ident.Canary)
		} else if _, whole := p.have.Shadow[ident.Canary]; !whole {
			// The disk was full within useradd. Without the line nobody can enter it.
			p.base = append(p.base, Step{Op: OpRun, Subject: ident.Canary, Login: ident.Canary, UID: u.UID, Argv: []string{usermod, "-p", "*", ident.Canary}})
		}
		return
	}
	recorded := -1
	for uid, o := range p.have.Register.Accounts {
		if o.Login == ident.Canary {
			recorded = uid
		}
	}
	uid, ok := p.freeSystemID(func(id int) bool { _, used := p.byUID[id]; return used }, recorded)
	if !ok {
		p.problem("there is no free system uid for the account %s", ident.Canary)
		return
	}
	p.canary = true
	p.reg.Accounts[uid] = OwnedAccount{Login: ident.Canary}
	p.base = append(p.base, Step{Op: OpRun, Subject: ident.Canary, Login: ident.Canary, UID: uid, Argv: []string{
		useradd, "-r", "-M", "-N", "-u", strconv.Itoa(uid), "-g", strconv.Itoa(gid), "-d", "/nonexistent",
		"-s", p.nologin(), "-p", "*", "-c", "Cardea sshd probe", ident.Canary,
	}})
}

// nologin is where the host has it; sshd wants a shell that exists.
func (p *planner) nologin() string {
	for _, u := range p.have.Users {
		if u.Shell == "/sbin/nologin" {
			return u.Shell
		}
	}
	return "/usr/sbin/nologin"
}

// freeSystemID prefers the recorded id, then counts down from the top, as
// shadow-utils do for system accounts.
func (p *planner) freeSystemID(used func(int) bool, recorded int) (int, bool) {
	if recorded >= minSystemID && recorded <= maxSystemID && !used(recorded) {
		return recorded, true
	}
	for id := maxSystemID; id >= minSystemID; id-- {
		_, a := p.reg.Accounts[id]
		_, g := p.reg.Groups[id]
		if !used(id) && !a && !g {
			return id, true
		}
	}
	return 0, false
}

func (p *planner) recordedGID(name string) int {
	for gid, o := range p.have.Register.Groups {
		if o.Name == name {
			return gid
		}
	}
	return -1
}

func (p *planner) primaryOf(gid int) string {
	for _, u := range p.have.Users {
		if u.GID == gid {
			return u.Name
		}
	}
	return ""
}

func (p *planner) foreignPrimary(gid int) string {
	for _, u := range p.have.Users {
		if u.GID == gid && !p.have.Register.ownsAccount(u.Name, u.UID) {
			return u.Name
		}
	}
	return ""
}

// checkWanted returns the accounts that obey every rule, by login, and the
// logins that the state names at all: one that is named wrongly is not absent.
func (p *planner) checkWanted() (valid []account, named map[string]bool) {
	named = map[string]bool{}
	logins, uids, gids := map[string]int{}, map[int]int{}, map[int]int{}
	for _, a := range p.want.Accounts {
		logins[a.Login]++
		uids[a.UID]++
		gids[a.GID]++
		if !a.Existing { // else one of that name that is ours is absent
			named[a.Login] = true
		}
	}
	for _, a := range p.want.Accounts {
		err := checkAccount(a)
		switch {
		case err != nil:
			p.problem("the account %s is refused: %v", quote(a.Login), err)
		case a.State != stateLocked && (logins[a.Login] > 1 || uids[a.UID] > 1 || gids[a.GID] > 1):
			p.problem("the account %s is refused: its name or an id of it is given twice", a.Login)
		default:
			valid = append(valid, p.dress(a))
		}
	}
	slices.SortFunc(valid, func(a, b account) int { return strings.Compare(a.Login, b.Login) })
	return valid, named
}

// dress replaces what is merely unfit by the default.
func (p *planner) dress(a api.Account) account {
	out := account{Account: a, gecos: a.FullName}
	if err := checkGECOS(a.FullName); err != nil {
		p.problem("the full name of %s %v and is left out", a.Login, err)
		out.gecos = ""
	}
	shell, ok := pickShell(a.Shell, p.want.DefaultShell, p.have.Shells)
	if !ok {
		p.problem("the shell %s of %s is not in /etc/shells; %s is used", quote(a.Shell), a.Login, shell)
	}
	out.shell = shell
	return out
}

func (p *planner) groupadd(subject string, gid int, name string, system bool) Step {
	argv := []string{groupadd, "-g", strconv.Itoa(gid), name}
	if system {
		argv = []string{groupadd, "-r", "-g", strconv.Itoa(gid), name}
	}
	return Step{Op: OpRun, Subject: subject, GID: gid, Argv: argv}
}

// quote shows a name that may be anything.
func quote(s string) string {
	if ident.Login(s) == nil {
		return s
	}
	return strconv.QuoteToASCII(cut(s))
}
