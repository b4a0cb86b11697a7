package serveragent

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
	"github.com/cardea-ssh/cardea/server-agent/hooks"
	"github.com/cardea-ssh/cardea/server-agent/sshd"
)

// Run keeps the host until ctx ends, which it obeys between two steps. Before
// that it returns only for what a person must mend first: a folder that cannot
// be used, a damaged credential.
func (a *Agent) Run(ctx context.Context) error {
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := a.sweep(); err != nil {
		return err
	}
	r := &reconciler{
		Agent:    a,
		accounts: accounts.Applier{Register: a.path(registerFile), Now: a.opt.Now, ManyFrom: a.opt.manyFrom},
		sshd:     sshd.Manager{State: a.opt.StateDir, Now: a.opt.Now},
	}
	a.watchdog = daemon.NewWatchdog()
	r.sshd.Before = func(string) { a.watchdog.Progress() }
	if before := a.opt.before; before != nil {
		r.accounts.Before = func(s accounts.Step) { before(s.String()) }
		r.sshd.Before = func(stage string) { before("sshd: " + stage) }
	}
	defer daemon.NotifyStopping(ctx)()
	if a.queue, err = openQueue(a.path(queueFile)); err != nil {
		return err
	}
	if r.hooks, err = a.openHooks(); err != nil {
		a.log.Error("no hook is run", "err", err)
		a.board.set("hooks", "no hook is run: "+err.Error())
	}
	r.recover(ctx)
	daemon.NotifyStatus("waits for an enrolment token in " + a.opt.TokenFile)
	daemon.Notify("READY=1") // also without a token: the agent waits for it
	if err := a.waitForEnrolment(ctx); err != nil {
		return err
	}
	if a.anew { // what waited was of another server
		if a.queue, err = openQueue(a.path(queueFile)); err != nil {
			return err
		}
	}
	r.beats = a.openBeats()
	if r.state, err = a.loadState(); err != nil {
		a.alarm(err.Error())
		a.board.set("state", err.Error())
	}
	a.board.update(func(s *Status) {
		s.Server, s.Name, s.ControlURL, s.Told = a.cred.Server, a.cred.Name, a.cred.ControlURL, r.state.Version
	})
	last := r.state.Version
	news := make(chan api.DesiredState, 1)
	group := daemon.NewGroup(ctx)
	group.Go("fetch", func(ctx context.Context) error { return a.fetch(ctx, last, news) })
	group.Go("reconcile", func(ctx context.Context) error { return r.run(ctx, news) })
	group.Go("hooks", r.hooks.Run)
	group.Go("logins", a.watchLogins)
	group.Go("labels", a.gatherLabels)
	group.Go("events", a.postEvents)
	return group.Wait()
}

// sweep removes what a killed run left in the agent's folder.
func (a *Agent) sweep() error {
	halves, err := filepath.Glob(a.path(identityFile) + ".new-*") // of dpop.LoadOrCreate
	for _, half := range halves {
		err = errors.Join(err, os.Remove(half))
	}
	_, gone := atomicfile.Remove(a.path(credentialFile + roomSuffix))
	return errors.Join(err, gone, atomicfile.Sweep(a.opt.StateDir))
}

// openHooks gives a runner also with an error, one that runs nothing.
func (a *Agent) openHooks() (*hooks.Runner, error) {
	r := &hooks.Runner{Record: a.path(hooksFile), Dir: a.opt.hooksDir, Log: a.log, Tell: func(problems []string) { a.board.set("hooks", problems...) }}
	reg, err := accounts.LoadRegister(a.path(registerFile))
	if err != nil {
		return r, err
	}
	return r, r.Open(slices.Collect(maps.Keys(reg.Accounts)))
}

// fetch asks for news for ever and passes on what it may believe.
func (a *Agent) fetch(ctx context.Context, last api.StateVersion, news chan api.DesiredState) error {
	for failures, burst := 0, 0; ; {
		began := time.Now()
		d, newer, err := a.poll(ctx, last)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failures++
			wait := a.opt.backoff(failures, err)
			a.log.Debug("no news", "err", err, "wait", wait)
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		failures = 0
		a.board.set("fetch")
		a.heard()
		a.board.update(func(s *Status) { s.Contact = a.now().UTC() })
		if newer {
			last = d.Version
			a.board.update(func(s *Status) { s.Told = last })
			select { // the reconciler takes the newest only
			case <-news:
			default:
			}
			news <- d
		}
		early := minPoll - time.Since(began)
		if early <= 0 {
			burst = 0
			continue
		}
		if burst++; !newer || burst > maxBurst {
			if err := sleep(ctx, early+jitter(minPoll)); err != nil {
				return err
			}
		}
	}
}

// poll is one conditional long poll. newer is false if nothing came.
func (a *Agent) poll(ctx context.Context, last api.StateVersion) (d api.DesiredState, newer bool, err error) {
	signed, found, err := a.getState(ctx, last, api.LongPoll)
	if err != nil {
		if a.board.set("fetch", "there is no news from the control plane: "+err.Error()) && ctx.Err() == nil {
			a.log.Warn("there is no news from the control plane", "err", err)
		}
		return d, false, err
	}
	if !found {
		return d, false, nil
	}
	d, err = verify(signed, a.cred.PolicyKey, a.cred.Server, last)
	if err != nil {
		if a.board.set("fetch", "an answer was refused: "+err.Error()) {
			a.alarm("an answer that claims to be this server's state was refused: " + err.Error())
		}
		return d, false, err
	}
	if !last.Less(d.Version) {
		return d, false, nil
	}
	a.board.set("state")
	if err := a.saveState(signed); err != nil {
		a.board.set("state", "the state cannot be kept on disk: "+err.Error())
		a.log.Error("the state cannot be kept on disk", "err", err)
	}
	return d, true, nil
}

func (a *Agent) getState(ctx context.Context, last api.StateVersion, wait time.Duration) (signed api.SignedState, found bool, err error) {
	call, cancel := context.WithTimeout(ctx, wait+pollSlack)
	defer cancel()
	query := url.Values{
		"epoch":   {strconv.FormatInt(last.Epoch, 10)},
		"counter": {strconv.FormatInt(last.Counter, 10)},
		"wait":    {strconv.Itoa(int(wait / time.Second))},
	}
	found, err = a.client.Get(call, "/v1/agent/state", query, &signed)
	return signed, found, err
}
