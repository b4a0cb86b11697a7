package accounts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// Fate is what becomes of Cardea's accounts on a host that it leaves.
type Fate string

// The fates. No home is ever touched.
const (
	FateKeep   Fate = "keep"   // as they are; they can be entered by keys of their own then
	FateLock   Fate = "lock"   // nobody enters them any more
	FateRemove Fate = "remove" // out of the account files
)

// Release plans how a host becomes as if Cardea had never been there, but for
// what fate lets stay. The steps of before take away what people may do; those
// of after come when sshd does not speak of the managed group any more.
func Release(have Host, fate Fate) (before, after Plan) {
	p := newPlanner(have, Want{})
	if fate != FateKeep {
		for _, u := range have.Users {
			if have.Register.ownsAccount(u.Name, u.UID) && u.Name != ident.Canary {
				p.lock(u)
			}
		}
	}
	p.planSudo(nil)
	p.have.OutOfStep = nil // later, with the accounts
	before = p.out()

	after.Problems = slices.Clone(have.Unread)
	if len(have.OutOfStep) > 0 {
		after.Steps = append(after.Steps, mendStep(have.OutOfStep))
	}
	for _, u := range have.Users {
		if have.Register.ownsAccount(u.Name, u.UID) && (fate == FateRemove || u.Name == ident.Canary) {
			if u.Name == ident.Canary { // of people it is a step of before
				// systemd keeps a manager for whoever was signed in, for some seconds,
				// and userdel refuses an account that has a process.
				after.Steps = append(after.Steps, Step{Op: OpEnd, Subject: u.Name, Login: u.Name, UID: u.UID})
			}
			after.Steps = append(after.Steps, Step{Op: OpRun, Subject: u.Name, Login: u.Name, UID: u.UID, Argv: []string{userdel, u.Name}})
		}
	}
	for _, gid := range slices.Sorted(maps.Keys(have.Register.Groups)) {
		if o := have.Register.Groups[gid]; fate == FateRemove || o.Kind == kindManaged {
			after.Steps = append(after.Steps, Step{Op: OpUngroup, Subject: "group " + o.Name, Login: o.Name, GID: gid})
		}
	}
	return before, after
}

// Take takes the steps of a plan that was made otherwise than by Apply.
func (a *Applier) Take(ctx context.Context, p Plan) (Result, error) {
	res := Result{Plan: p, Failed: map[string]bool{}}
	err := a.take(ctx, &res)
	res.lookAfter("/")
	return res, err
}

// removeGroup removes a group if it is there and ours; userdel has removed some.
func (a *Applier) removeGroup(ctx context.Context, name string, gid int) error {
	raw, err := readFile("/etc/group")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(parseGroup(raw), func(g Group) bool { return g.Name == name && g.GID == gid }) {
		return nil
	}
	_, err = a.run(ctx, groupdel, name)
	return err
}

// CheckSudo reports whether what is left of the sudo configuration is valid.
func (a *Applier) CheckSudo(ctx context.Context) error {
	if _, err := os.Stat(visudo); err != nil {
		return nil // no sudo on this host
	}
	_, err := a.run(ctx, visudo, "-c")
	return err
}

// OwnHomes are the homes of Cardea's accounts that exist on the host.
func (h Host) OwnHomes() (homes []string) {
	for _, uid := range slices.Sorted(maps.Keys(h.Register.Accounts)) {
		home := HomeBase + "/" + h.Register.Accounts[uid].Login
		if info, err := os.Lstat(home); err == nil && ownerOf(info) == uid {
			homes = append(homes, fmt.Sprintf("%s (uid %d)", home, uid))
		}
	}
	return homes
}
