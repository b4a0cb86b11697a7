package accounts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/program"
)

// Applier takes the steps of a plan. Use one at a time.
type Applier struct {
	// Register is the path of the register.
	Register string
	// Run runs programs; nil means program.Run.
	Run program.Runner
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Stale is asked before every step whether the want has been overtaken; then
	// Apply ends with ErrStale. Nil means never. Making a thousand accounts takes
	// half a minute, and a lock must not wait for that.
	Stale func() bool
	// ManyFrom is another manyFrom, for tests.
	ManyFrom int
	// HomeDone is called, from elsewhere, when a home that took long is archived or
	// deleted: then Apply has more to do. Nil means nobody is told.
	HomeDone func()
	// Before is called before every step, for tests that stop in the middle.
	Before func(Step)

	going goneHomes
	notes map[string]string // what steps have to tell, by login

	// sudoValid: visudo has found the whole of sudo's configuration valid, in this
	// Apply, and only what it checked was put in since.
	sudoValid bool
	// sudoers is another folder of sudo rules, for tests.
	sudoers string
	// homeBase is another HomeBase, for tests.
	homeBase string
}

const (
	// atOnce bounds the homes and the files of sudo rules that are made at the
	// same time. They wait for the disk, which writes many as fast as one.
	atOnce = 8
	// homesTogether is how many homes are made before their accounts are: so many
	// at most are left without one when a plan is overtaken or cut off.
	homesTogether = 256
)

// ErrStale: there is a newer want, and the plan was left where it was.
var ErrStale = errors.New("there is a newer state")

// Result is what came of an Apply.
type Result struct {
	Plan
	// Done are the steps that were taken.
	Done []Step
	// Failed are the subjects of which a step failed; their sentences are among
	// the problems.
	Failed map[string]bool
	// LockFailed is set if somebody who should be locked may not be.
	LockFailed bool
	// Left says, by login, what those who were locked have left behind; it was not
	// touched. Safe to print.
	Left map[string]string

	// runFailed: a program did.
	runFailed bool
}

// Sweep removes what a killed run left behind. Call it once at the start.
func (a *Applier) Sweep() error {
	return errors.Join(a.sweepSudo(), sweepHomes(), sweepAccountFiles())
}

// Read gives the host as the planner wants it.
func (a *Applier) Read(want Want) (Host, error) {
	reg, err := LoadRegister(a.Register)
	if err != nil {
		return Host{}, err
	}
	h, err := ReadHost("/", reg, want.Logins(), a.now())
	if err != nil {
		return h, err
	}
	locked := map[int]bool{}
	for uid, o := range reg.Accounts {
		if s, ok := h.Shadow[o.Login]; ok && s.Expires >= 0 && s.Expires <= h.Today && uid >= MinID {
			locked[uid] = true
		}
	}
	if h.Busy, err = busy("/", want.idle(locked)); err != nil {
		return h, err
	}
	people := map[int]string{}
	for uid := range locked {
		people[uid] = reg.Accounts[uid].Login
	}
	for uid, o := range reg.Accounts {
		if _, here := h.Shadow[o.Login]; !here && uid >= MinID {
			people[uid] = o.Login // removed; its files may stand somewhere yet
		}
	}
	found, err := findBelongings("/", people)
	if err != nil {
		h.Unread = append(h.Unread, "jobs of locked accounts cannot be looked for: "+ident.Text(err.Error()))
	}
	h.Jobs, h.Leftovers = pathsByUID(found), findLeftovers("/", people)
	return h, nil
}

// Apply makes the host what is wanted: read, decide, act. An error means that
// nothing could be decided or that ctx is over; failures of single steps are
// problems, and the steps of other subjects go on.
func (a *Applier) Apply(ctx context.Context, want Want) (Result, error) {
	a.comeBack(want)
	host, err := a.Read(want)
	if err != nil {
		return Result{}, err
	}
	res := Result{Plan: Decide(host, want), Failed: map[string]bool{}}
	if err := a.take(ctx, &res); err != nil {
		return res, err
	}
	if err := res.proveMade("/"); err != nil {
		return res, err
	}
	res.dropFailed()
	res.lookAfter("/")
	return res, nil
}

// take takes the steps in their order, and together those that can be.
func (a *Applier) take(ctx context.Context, res *Result) error {
	a.sudoValid, a.notes = false, map[string]string{}
	defer func() { maps.Copy(res.left(), a.notes) }()
	defer a.mendAfter(res)
	for rest := res.Steps; len(rest) > 0; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if a.Stale != nil && a.Stale() {
			return ErrStale
		}
		n := together(rest)
		some := rest[:0:0]
		for _, s := range rest[:n] {
			if res.pointless(s) {
				res.Failed[s.Subject] = true // so that nobody is told that it was done
				continue
			}
			some = append(some, s)
		}
		rest = rest[n:]
		// A step is finished also when the agent shall stop: a killed useradd
		// leaves its lock behind.
		for i, err := range a.steps(context.WithoutCancel(ctx), some) {
			if err == nil {
				res.Done = append(res.Done, some[i])
				continue
			}
			if errors.Is(err, errAside) {
				continue
			}
			res.fail(some[i], err)
			if some[i].Op == OpRecord {
				return fmt.Errorf("write the register of accounts: %w", err)
			}
		}
	}
	return nil
}

// together is how many of the next steps are taken as one: homes, new accounts,
// and sudo rules, which stand together in a plan and are of different people.
func together(steps []Step) int {
	most := 1
	switch steps[0].Op {
	case OpHome:
		most = homesTogether
	case OpSudo:
		most = sudoBatch
	case OpRun:
		if steps[0].New != nil {
			most = manyTogether
		}
	}
	n := 1
	for n < min(most, len(steps)) && steps[n].Op == steps[0].Op && (steps[n].New != nil) == (steps[0].New != nil) {
		n++
	}
	return n
}

// each does n things, some at once, and begins them in their order.
func (a *Applier) each(n int, begin func(int), do func(int) error) []error {
	errs := make([]error, n)
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		begin(i)
		all.Go(func() {
			errs[i] = do(i)
			<-slots
		})
	}
	all.Wait()
	return errs
}

func (a *Applier) begin(s Step) {
	if a.Before != nil {
		a.Before(s)
	}
}

// pointless reports whether an earlier failure forbids a step. Whoever could
// not be locked is at least thrown out. A sudo rule names a login, so it waits
// for an account that is ours: where useradd failed because a directory service
// (LDAP) has that name, the rule would make somebody else root.
func (r *Result) pointless(s Step) bool {
	switch s.Op {
	case OpEnd, OpClean:
		return false
	case OpSudo:
		return r.Failed[s.Login] || r.Failed[s.Subject]
	}
	return r.Failed[s.Subject]
}

func (r *Result) left() map[string]string {
	if r.Left == nil {
		r.Left = map[string]string{}
	}
	return r.Left
}

func (r *Result) fail(s Step, err error) {
	r.Failed[s.Subject] = true
	r.runFailed = r.runFailed || s.Op == OpRun
	r.Problems = append(r.Problems, fmt.Sprintf("could not %s: %s", s, ident.Text(err.Error())))
	if s.Op == OpEnd || s.Op == OpClean || s.Op == OpRun && len(s.Argv) == 4 && s.Argv[0] == usermod && s.Argv[1] == "-e" && s.Argv[2] == "1" {
		r.LockFailed = true
	}
}

// proveMade looks whether the accounts that were made are what was wanted.
func (r *Result) proveMade(root string) error {
	made := map[string]Step{}
	for _, s := range r.Done {
		if s.Op == OpRun && s.Argv[0] == useradd && s.Login != ident.Canary {
			made[s.Login] = s
		}
	}
	if len(made) == 0 {
		return nil
	}
	var h Host
	if err := h.readAccounts(root); err != nil {
		return err
	}
	for _, u := range h.Users {
		if s, ok := made[u.Name]; ok && u.UID == s.UID && u.GID == s.GID {
			delete(made, u.Name)
		}
	}
	for login, s := range made {
		r.fail(s, fmt.Errorf("the account %s is not the one that was to be made", login))
	}
	return nil
}

// dropFailed takes those from the usable whose account could not be made fit,
// and those from the locked who may not be.
func (r *Result) dropFailed() {
	usable := r.Usable[:0:0]
	for _, login := range r.Usable {
		if !r.Failed[login] {
			usable = append(usable, login)
		}
	}
	r.Usable = usable
	r.Locked = slices.DeleteFunc(r.Locked, func(u User) bool { return r.Failed[u.Name] })
	r.CanaryReady = r.CanaryReady && !r.Failed[ident.Canary] && !r.Failed["group "+Managed]
}

// steps takes some that belong together, and returns what went wrong of each.
func (a *Applier) steps(ctx context.Context, some []Step) []error {
	switch {
	case len(some) == 0:
		return nil
	case some[0].Op == OpSudo:
		return a.installSudo(ctx, some)
	case some[0].Op == OpHome:
		return a.makeHomes(ctx, some)
	case some[0].New != nil:
		return a.makeAccounts(ctx, some)
	}
	a.begin(some[0])
	return []error{a.step(ctx, some[0])}
}

func (a *Applier) step(ctx context.Context, s Step) error {
	switch s.Op {
	case OpRun:
		_, err := a.run(ctx, s.Argv...)
		return err
	case OpRecord:
		return s.Register.save(a.Register)
	case OpUnsudo:
		return a.removeSudo(s.UID)
	case OpEnd:
		return a.endProcesses(ctx, s.Login, s.UID)
	case OpUngroup:
		return a.removeGroup(ctx, s.Login, s.GID)
	case OpMend:
		return a.mend()
	case OpClean:
		return a.clean(ctx, s.Login, s.UID)
	case OpLeave, OpWipe:
		note, err := a.leave(s)
		if note != "" {
			a.notes[s.Login] = note
		}
		return err
	}
	return fmt.Errorf("step %q is not known", s.Op)
}

func (a *Applier) run(ctx context.Context, argv ...string) ([]byte, error) {
	if a.Run != nil {
		return a.Run(ctx, argv...)
	}
	return program.Run(ctx, argv...)
}

func (a *Applier) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}
