package hooks

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/program"
)

// Scene is which accounts are here and which have gone.
type Scene struct{ Here, Gone []Account }

// Runner runs hooks. Fill it, call Open, then Run once.
type Runner struct {
	// Record is the file that remembers what has run.
	Record string
	// Dir is where the hooks are; empty means the constant.
	Dir string
	// Log gets what hooks say.
	Log *slog.Logger
	// Tell gets all that is wrong now, after each round.
	Tell func(problems []string)
	// Limit is TimeLimit but in tests.
	Limit time.Duration

	done     record
	failures []string // of the last hooks that ran
	failedAt time.Time

	mu    sync.Mutex
	scene *Scene        // the newest; guarded by mu
	news  chan struct{} // of one place: it was shown; guarded by mu until made
}

// shown is made when it is first needed, so that a runner without a record works.
func (r *Runner) shown() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.news == nil {
		r.news = make(chan struct{}, 1)
	}
	return r.news
}

// Open reads the record. Without one, accounts that are there already count as
// done: the agent was updated, and they have not come now.
func (r *Runner) Open(there []int) (err error) {
	r.Dir, r.Limit = cmp.Or(r.Dir, Dir), cmp.Or(r.Limit, TimeLimit)
	if r.done, err = load(r.Record); err != nil {
		r.done = nil
		return err
	}
	if r.done != nil {
		return nil
	}
	r.done = record{}
	for _, uid := range there {
		r.done[uid] = Created
	}
	return r.done.save(r.Record)
}

// Show gives the runner the newest scene and does not wait for it.
func (r *Runner) Show(s Scene) {
	r.mu.Lock()
	r.scene = &s
	r.mu.Unlock()
	select {
	case r.shown() <- struct{}{}:
	default:
	}
}

// Run runs hooks until ctx ends. Without a record that could be opened it runs
// none.
func (r *Runner) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.shown():
		}
		r.mu.Lock()
		scene := r.scene
		r.mu.Unlock()
		if r.done == nil {
			continue
		}
		problems := r.round(ctx, decide(r.done, *scene))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Tell(problems)
	}
}

// task is one event of one account.
type task struct {
	event Event
	Account
}

// decide is what has to be run. Who goes comes first. Who was never here does
// not go.
func decide(done record, s Scene) (tasks []task) {
	for _, a := range s.Gone {
		if done[a.UID] == Created {
			tasks = append(tasks, task{Deleted, a})
		}
	}
	for _, a := range s.Here {
		if done[a.UID] != Created {
			tasks = append(tasks, task{Created, a})
		}
	}
	return tasks
}

// still reports whether the newest scene has the task, too: hooks before it may
// have taken minutes, and a home must not be archived whose person is back.
func (r *Runner) still(t task) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scene == nil {
		return true
	}
	accounts := r.scene.Here
	if t.event == Deleted {
		accounts = r.scene.Gone
	}
	return slices.ContainsFunc(accounts, func(a Account) bool { return a.UID == t.UID })
}

// round takes the tasks. A newer scene waits until they are done, but for what
// it takes back; whoever came and went meanwhile gets neither event.
func (r *Runner) round(ctx context.Context, tasks []task) (problems []string) {
	paths := map[Event][]string{}
	for _, e := range []Event{Created, Deleted} {
		var wrong []string
		paths[e], wrong = find(r.Dir, e)
		problems = append(problems, wrong...)
	}
	if len(tasks) > 0 || time.Since(r.failedAt) > keepFailures {
		r.failures = nil
	}
	failed, saved := 0, time.Now()
	for i, t := range tasks {
		if !r.still(t) {
			continue
		}
		wrong := r.take(ctx, t, paths[t.event])
		if ctx.Err() != nil {
			break
		}
		if len(wrong) > 0 {
			if failed++; failed <= maxProblems {
				r.failures = append(r.failures, wrong...)
			}
			r.failedAt = time.Now()
		}
		r.done[t.UID] = t.event
		if i < len(tasks)-1 && time.Since(saved) > saveEvery {
			problems = append(problems, r.save()...)
			saved = time.Now()
		}
	}
	if len(tasks) > 0 {
		problems = append(problems, r.save()...)
	}
	if failed > maxProblems {
		r.failures = append(r.failures, fmt.Sprintf("hooks failed for %d more accounts", failed-maxProblems))
	}
	problems = append(problems, r.failures...)
	slices.Sort(problems)
	return slices.Compact(problems)
}

func (r *Runner) save() []string {
	if err := r.done.save(r.Record); err != nil {
		return []string{"what hooks have run cannot be kept, so they will run again: " + err.Error()}
	}
	return nil
}

// take runs all hooks of one task; that one fails does not stop the next.
func (r *Runner) take(ctx context.Context, t task, paths []string) (problems []string) {
	for _, path := range paths {
		out, err := program.Command{Argv: []string{path}, Env: environment(t.Account), Limit: r.Limit, Chatty: true}.Run(ctx)
		if ctx.Err() != nil {
			return nil // the agent stops; it runs again
		}
		text := ident.Text(string(out[:min(len(out), maxLogged)]))
		if err != nil {
			r.Log.Error("a hook failed", "hook", path, "login", t.Login, "err", err, "output", text)
			problems = append(problems, fmt.Sprintf("the hook %s failed for %s: %v", path, t.Login, err))
			continue
		}
		r.Log.Info("a hook ran", "hook", path, "login", t.Login, "output", text)
	}
	return problems
}

func environment(a Account) []string {
	return []string{
		searchPath, "CARDEA_LOGIN=" + a.Login, "CARDEA_UID=" + strconv.Itoa(a.UID), "CARDEA_GID=" + strconv.Itoa(a.GID), "CARDEA_HOME=" + a.Home,
	}
}
