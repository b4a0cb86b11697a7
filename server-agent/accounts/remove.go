package accounts

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What becomes of the home of a removed account, on the wire.
const homeKeep, homeArchive, homeDelete = "keep", "archive", "delete"

// oldPrefix begins the name of a folder of root's in HomeBase, in which a home
// waits for its end. No login begins with a dot.
const oldPrefix = ".cardea-old-"

func oldHome(uid int) string { return filepath.Join(HomeBase, oldPrefix+strconv.Itoa(uid)) }

// oldHomes are the uids whose homes wait for their end.
func oldHomes(base string) (uids []int) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), oldPrefix)
		if uid, err := strconv.Atoi(text); ok && err == nil && checkID(uid) == nil && e.IsDir() {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return uids
}

// planRemovals removes accounts of ours of which the state says so, each only
// once it was found locked, with no process and no job: what locks it is in the
// plan before. First goes the home, if it shall, and then the account, so that
// its files have a name as long as there are any. The register keeps the uid.
func (p *planner) planRemovals(wanted []account, ours int) {
	var going []account
	logins, uids := map[string]int{}, map[int]int{}
	for _, a := range p.want.Accounts {
		logins[a.Login]++
		uids[a.UID]++
	}
	for _, a := range wanted {
		switch {
		case !a.locked() || a.Remove == "":
		case a.Remove != homeKeep && a.Remove != homeArchive && a.Remove != homeDelete:
			p.problem("the account %s is locked and not removed: %s is nothing that this agent does with homes", a.Login, quote(a.Remove))
		case logins[a.Login] > 1 || uids[a.UID] > 1:
			p.problem("the account %s is not removed: its name or uid is given twice", a.Login)
		case p.removable(a):
			going = append(going, a)
		}
	}
	braked := func(a account) bool { return !a.WhenIdle } // that one's time was over; nobody made a mistake
	n := 0
	for _, a := range going {
		if braked(a) {
			n++
		}
	}
	if ours >= brakeFrom && n*100 > ours*brakePercent && !p.want.ConfirmedRemovals {
		p.problem("%d of %d accounts would be removed; they are locked, and this waits until you type: cardea-server-agent confirm-removals", n, ours)
		going = slices.DeleteFunc(going, braked)
	}
	for _, a := range going {
		p.more = true
		u, here := p.byName[a.Login]
		switch {
		case here && (!p.expired(a.Login) || p.have.Busy[a.UID] || len(p.have.Jobs[a.UID]) > 0):
		case a.Remove != homeKeep && p.hasHome(a):
			p.gone = append(p.gone, Step{Op: OpLeave, Subject: "home of " + a.Login, Login: a.Login, UID: a.UID, Home: a.Remove})
		case here:
			p.gone = append(p.gone, Step{Op: OpRun, Subject: a.Login, Login: a.Login, UID: u.UID, GID: u.GID, Argv: []string{userdel, a.Login}})
			p.ungroup(a)
		default:
			p.ungroup(a)
		}
	}
}

// removable: it is ours, and something of it is left.
func (p *planner) removable(a account) bool {
	if !p.have.Register.ownsAccount(a.Login, a.UID) {
		return false
	}
	u, here := p.byName[a.Login]
	if here {
		return u.UID == a.UID
	}
	if other, taken := p.byUID[a.UID]; taken {
		p.problem("what %s has left is not removed: its uid %d belongs to %s", a.Login, a.UID, quote(other.Name))
		return false
	}
	return a.Remove != homeKeep && p.hasHome(a) || p.ownsGroup(a)
}

func (p *planner) hasHome(a account) bool {
	home, there := p.have.Homes[a.Login]
	return there && home.Dir && home.UID == a.UID
}

func (p *planner) ownsGroup(a account) bool {
	g, here := p.groups[a.Login]
	o := p.have.Register.Groups[g.GID]
	return here && o.Name == a.Login && o.Kind == kindOwn && len(g.Members) == 0 && p.primaryOf(g.GID) == ""
}

// ungroup removes the group of the account's own, which userdel may have done.
func (p *planner) ungroup(a account) {
	if g, here := p.groups[a.Login]; here {
		if o := p.have.Register.Groups[g.GID]; o.Name == a.Login && o.Kind == kindOwn {
			p.gone = append(p.gone, Step{Op: OpUngroup, Subject: a.Login, Login: a.Login, GID: g.GID})
		}
	}
}

// planOld goes on deleting the homes that a run which was cut off moved away,
// and tells of set-id programs of people who are no more.
func (p *planner) planOld() {
	for _, uid := range p.have.OldHomes {
		if o, ours := p.have.Register.Accounts[uid]; ours {
			p.more = true
			p.gone = append(p.gone, Step{Op: OpWipe, Subject: "home of uid " + strconv.Itoa(uid), Login: o.Login, UID: uid})
		}
	}
	for uid, l := range p.have.Leftovers {
		if _, here := p.byUID[uid]; !here {
			for _, text := range setIDProblems(p.have.Register.Accounts[uid].Login, l) {
				p.problem("%s", text)
			}
		}
	}
}

const (
	// homeWait is how long a home is waited for. Most are done by then; for the
	// others a lock must not wait.
	homeWait = 2 * time.Second
	// homeRetry is how long one that could not be archived or deleted is left alone:
	// looking through all of it costs the disk something.
	homeRetry = 15 * time.Minute
)

// errAside: the step goes on beside the others, and is looked at again.
var errAside = errors.New("it goes on beside the rest")

// homeJob is one home on its way out.
type homeJob struct {
	Step
	halt atomic.Bool
	done chan struct{}
	note string // when done
	err  error  // when done
}

// goneHomes is what the applier knows of homes on their way out.
type goneHomes struct {
	job    *homeJob // the one that is under way or was not looked at yet
	failed map[int]failedHome
}

type failedHome struct {
	op    Op
	home  string
	err   error
	until time.Time
}

// leave has a home archived and deleted, beside everything else: it may take
// as long as the disk likes. One goes at a time.
func (a *Applier) leave(s Step) (note string, err error) {
	g := &a.going
	if f, ok := g.failed[s.UID]; ok && f.op == s.Op && f.home == s.Home && a.now().Before(f.until) {
		return "", f.err
	}
	if g.job == nil {
		j := &homeJob{Step: s, done: make(chan struct{})}
		g.job = j
		go func() {
			defer close(j.done)
			if j.Op == OpWipe {
				j.err = a.wipeOld(j.UID, j.halt.Load)
			} else {
				j.note, j.err = a.leaveHome(j.Step, j.halt.Load)
			}
			if a.HomeDone != nil {
				a.HomeDone()
			}
		}()
	}
	j := g.job
	if j.UID != s.UID || j.Op != s.Op {
		return "", errAside
	}
	for end := time.Now().Add(homeWait); ; {
		select {
		case <-j.done:
			g.job = nil
			return j.note, g.judge(j, a.now())
		case <-time.After(endPause):
			if time.Now().After(end) || a.Stale != nil && a.Stale() {
				return "", errAside
			}
		}
	}
}

func (g *goneHomes) judge(j *homeJob, now time.Time) error {
	if errors.Is(j.err, errStopped) {
		return errAside
	}
	delete(g.failed, j.UID)
	if j.err != nil {
		if g.failed == nil {
			g.failed = map[int]failedHome{}
		}
		g.failed[j.UID] = failedHome{j.Op, j.Home, j.err, now.Add(homeRetry)}
	}
	return j.err
}

// comeBack stops what is under way with the home of somebody who shall have it
// again.
func (a *Applier) comeBack(want Want) {
	j := a.going.job
	if j == nil || j.Op != OpLeave {
		return
	}
	for _, w := range want.Accounts {
		if w.UID == j.UID && w.Login == j.Login && w.State == stateLocked && w.Remove == j.Home {
			return
		}
	}
	a.StopHomes()
}

// StopHomes stops what is under way with a home and waits until it has stopped.
// It is begun again by the next plan that wants it.
func (a *Applier) StopHomes() {
	if j := a.going.job; j != nil {
		j.halt.Store(true)
		<-j.done
		a.going.job = nil
	}
}

func (a *Applier) base() string { return cmp.Or(a.homeBase, HomeBase) }

// archives is the folder of the archives of homes, beside the register.
func (a *Applier) archives() string { return filepath.Join(filepath.Dir(a.Register), "homes") }
