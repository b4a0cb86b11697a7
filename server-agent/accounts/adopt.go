package accounts

import "slices"

// planAdopted lets people into accounts of the host's own, where the project
// makes none: those that root has named for it, and never root's or the system's.
// They get groups and sudo; nothing else of them is changed, and none is ever
// locked or removed. It returns the accounts whose sudo rules are to be planned,
// these with the uids of the host.
func (p *planner) planAdopted(wanted []account, groups map[string][]string, managed bool) (out []account) {
	for _, a := range wanted {
		switch {
		case !a.Existing:
			out = append(out, a)
		case !a.locked() && managed && p.adoptable(a):
			u := p.byName[a.Login]
			a.UID, a.GID = u.UID, u.GID
			p.reg.Adopted[u.UID] = a.Login
			for _, g := range groups[a.Login] {
				p.members[g] = append(p.members[g], a.Login)
			}
			p.usable = append(p.usable, a.Login)
			out = append(out, a)
		}
	}
	// Who was let in once stays under Cardea's rules for sshd as long as root names
	// the account: else keys that it has of its own would hold again when its
	// person's access ends.
	for uid, login := range p.reg.Adopted {
		if u, here := p.byName[login]; here && u.UID == uid && managed && slices.Contains(p.want.Adopt, login) {
			p.members[Managed] = append(p.members[Managed], login)
		}
	}
	return out
}

func (p *planner) adoptable(a account) bool {
	u, here := p.byName[a.Login]
	switch {
	case !slices.Contains(p.want.Adopt, a.Login):
		p.problem("nobody enters the account %s: the project uses accounts of the host, and adopt in the agent's configuration does not name it", a.Login)
	case !here:
		p.problem("nobody enters the account %s: the project uses accounts of the host, which has none of that name", a.Login)
	case p.have.Register.ownsAccount(u.Name, u.UID):
		p.problem("nobody enters the account %s: the project uses accounts of the host, and Cardea made this one", a.Login)
	case checkID(u.UID) != nil:
		p.problem("nobody enters the account %s: its uid %v", a.Login, checkID(u.UID))
	case checkID(u.GID) != nil:
		p.problem("nobody enters the account %s: its gid %v", a.Login, checkID(u.GID))
	default:
		return true
	}
	return false
}
