package serveragent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
	"github.com/cardea-ssh/cardea/server-agent/hooks"
	"github.com/cardea-ssh/cardea/server-agent/sshd"
)

// reconciler makes the host what the state says. One goroutine owns it.
type reconciler struct {
	*Agent
	accounts accounts.Applier
	sshd     sshd.Manager
	hooks    *hooks.Runner
	beats    beats

	state   api.DesiredState // the zero value until there is one
	hostKey string
	hostCA  string // fingerprint of who signed the certificate that sshd was proved to show

	lookAt, reportAt time.Time
	waiting          bool      // an account waits until nothing of it runs
	lookedWith       time.Time // when the control plane was heard, at the last look
	reportFailures   int
	reported, told   int // the counts of board and said at the last report
	// heldUntil is when a change of sshd that failed is tried again, heldFor the
	// state at which it failed, held what came of it.
	heldUntil time.Time
	heldFor   api.StateVersion
	held      sshd.Outcome
}

// recover puts right what a killed run left.
func (r *reconciler) recover(ctx context.Context) {
	if err := r.accounts.Sweep(); err != nil {
		r.log.Warn("half-made homes could not be removed", "err", err)
	}
	undone, err := r.sshd.Recover(ctx)
	switch {
	case err != nil:
		r.alarm("a change of sshd that was cut off could not be put back: " + err.Error())
	case undone:
		r.alarm("a change of sshd that was cut off was put back")
	}
}

// run applies news at once and looks after the host from time to time.
func (r *reconciler) run(ctx context.Context, news <-chan api.DesiredState) error {
	r.accounts.Stale = r.moves(func() bool { return len(news) > 0 })
	again := make(chan struct{}, 1)
	r.accounts.HomeDone = func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	defer r.accounts.StopHomes()
	ticker := time.NewTicker(r.opt.tick)
	defer ticker.Stop()
	for {
		r.watchdog.Progress()
		now := time.Now()
		if r.state.Complete && (now.After(r.lookAt) || r.lastHeard().Sub(r.lookedWith) > longSilence || r.confirmed()) {
			r.apply(ctx)
		}
		untold := r.reportFailures == 0 && (r.board.count() != r.reported || r.said.count() != r.told)
		if untold || time.Now().After(r.reportAt) {
			r.report(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r.state = <-news:
			r.lookAt, r.reportAt = time.Time{}, time.Time{}
		case <-again:
			r.lookAt = time.Time{}
		case <-r.nudged:
			if r.waiting {
				r.lookAt = time.Time{}
			}
		case <-ticker.C:
			if r.ledger.doubtful() {
				r.enforce()
			}
		}
	}
}

// apply compares the host with the state and changes what differs.
func (r *reconciler) apply(ctx context.Context) {
	r.lookAt, r.lookedWith = time.Now().Add(reconcileEvery), r.lastHeard()
	confirmed := r.confirmed()
	want := r.wantAccounts(confirmed)
	r.endSessions(r.state) // like locks, before all that takes time
	res, err := r.accounts.Apply(ctx, want)
	r.tellSteps(res.Done)
	var left []api.AgentEvent
	for _, login := range slices.Sorted(maps.Keys(res.Left)) {
		r.log.Info("left", "login", login, "what", res.Left[login])
		left = append(left, api.AgentEvent{Kind: "account", Login: login, Detail: res.Left[login]})
	}
	r.tell(left...)
	if ctx.Err() != nil || errors.Is(err, accounts.ErrStale) {
		return
	}
	problems := slices.Clone(res.Problems)
	if err != nil {
		problems = append(problems, err.Error())
	}
	r.show("accounts", problems)
	switch {
	case err != nil || len(res.Failed) > 0:
		r.lookAt = time.Now().Add(time.Minute)
	case res.More && len(res.Done) > 0:
		r.lookAt = time.Time{}
		r.accounts.HomeDone()
	case res.More:
		r.lookAt = time.Now().Add(time.Minute)
	}
	r.waiting = res.More
	if confirmed && err == nil && !res.More {
		if _, err := atomicfile.Remove(r.path(confirmFile)); err != nil {
			r.log.Error("the confirmation could not be removed", "err", err)
		}
	}
	out := sshd.Outcome{}
	if err == nil {
		r.hooks.Show(r.scene(res))
		out = r.applySSHD(ctx, res)
	}
	if out.Problem != "" {
		r.show("sshd", []string{out.Problem})
	} else {
		r.show("sshd", nil)
	}
	r.board.update(func(s *Status) {
		s.Applied, s.Accounts = r.now().UTC(), res.Usable
		if err == nil && out.InForce && !res.LockFailed {
			s.InForce = r.state.Version
		}
	})
	r.reportAt = time.Time{}
	r.publish()
}

func (r *reconciler) wantAccounts(confirmed bool) accounts.Want {
	return accounts.Want{Accounts: r.state.Accounts, Groups: r.state.Groups, DefaultShell: r.opt.DefaultShell, Adopt: r.opt.Adopt, ConfirmedRemovals: confirmed}
}

// scene is what hooks are run for.
func (r *reconciler) scene(res accounts.Result) (s hooks.Scene) {
	usable := map[string]bool{}
	for _, login := range res.Usable {
		usable[login] = true
	}
	for _, a := range r.state.Accounts {
		if usable[a.Login] {
			s.Here = append(s.Here, hooks.Account{Login: a.Login, UID: a.UID, GID: a.GID, Home: filepath.Join(accounts.HomeBase, a.Login)})
		}
	}
	for _, u := range res.Locked {
		s.Gone = append(s.Gone, hooks.Account{Login: u.Name, UID: u.UID, GID: u.GID, Home: u.Home})
	}
	return s
}

// show sets the problems of a part and logs them when they change.
func (r *reconciler) show(part string, problems []string) {
	if r.board.set(part, problems...) {
		for _, p := range problems {
			r.log.Warn(p, "part", part)
		}
	}
}

// showError is show for a part that has failed as a whole, or has not.
func (r *reconciler) showError(part, what string, err error) {
	if err == nil {
		r.show(part, nil)
		return
	}
	r.show(part, []string{what + ": " + ident.Text(err.Error())})
}

// tellSteps reports what was done to accounts.
func (r *reconciler) tellSteps(done []accounts.Step) {
	var events []api.AgentEvent
	for _, s := range done {
		r.log.Info("done", "step", s.String())
		detail := ""
		switch {
		case s.Login == "":
		case s.Op == accounts.OpEnd:
			detail = "locked, and its sessions ended"
		case s.Op == accounts.OpClean && len(s.Paths) > 0:
			detail = "jobs of the locked account removed"
		case s.Op == accounts.OpSudo:
			detail = "may use sudo"
		case s.Op == accounts.OpUnsudo:
			detail = "may not use sudo any more"
		case s.Op == accounts.OpRun && strings.HasSuffix(s.Argv[0], "/useradd"):
			detail = "made"
		case s.Op == accounts.OpRun && strings.HasSuffix(s.Argv[0], "/userdel"):
			detail = "removed"
		case s.Op == accounts.OpRun && strings.HasSuffix(s.Argv[0], "/usermod") && !slices.Contains(s.Argv, "1"):
			detail = "changed"
		}
		if detail != "" {
			events = append(events, api.AgentEvent{Kind: "account", Login: s.Login, Detail: detail})
		}
	}
	r.tell(events...)
}

// applySSHD does sshd's part. Principals come first and by themselves: who may
// not enter any more must not wait for a reload.
func (r *reconciler) applySSHD(ctx context.Context, res accounts.Result) sshd.Outcome {
	want := sshd.Want{
		Server: r.cred.Server, UserCAs: r.state.UserCAs, HostCAs: r.state.HostCAs, Logins: res.Usable, Keep: res.Held,
		Sources: r.state.Sources, Valid: time.Duration(r.state.PrincipalSeconds) * time.Second, News: r.lastHeard(),
		RevokedKeys: r.state.Revoked.Keys, RevokedSerials: r.state.Revoked.Serials,
	}
	if err := r.sshd.Principals(want); err != nil {
		return sshd.Outcome{Problem: "principals could not be written: " + err.Error()}
	}
	revoked := r.sshd.Revoke(ctx, want)
	r.showError("revoked", "the list of revoked keys could not be renewed, so the one before stays in force", revoked)
	if !res.CanaryReady {
		return sshd.Outcome{Problem: "sshd is left as it is: there is no probe account to prove a change with"}
	}
	if r.heldFor == r.state.Version && time.Now().Before(r.heldUntil) {
		return r.held
	}
	out := r.changeSSHD(ctx, want)
	out.InForce = out.InForce && revoked == nil
	r.heldUntil = time.Time{}
	if !out.InForce {
		wait := retrySSHD
		if out.Alarm {
			wait = retryAlarm
			r.alarm(out.Problem)
		}
		r.held, r.heldFor, r.heldUntil = out, r.state.Version, time.Now().Add(wait)
		if next := time.Now().Add(wait); next.Before(r.lookAt) {
			r.lookAt = next
		}
	}
	return out
}

func (r *reconciler) changeSSHD(ctx context.Context, want sshd.Want) sshd.Outcome {
	var err error
	if r.hostKey, err = r.sshd.HostKey(ctx); err != nil {
		return sshd.Outcome{Problem: "sshd is left as it is: " + err.Error()}
	}
	if want.Certificate, err = r.certificate(ctx, want); err != nil {
		return sshd.Outcome{Problem: "sshd is left as it is, because there is no host certificate: " + err.Error()}
	}
	r.sshd.Access = r.accessHost(ctx)
	out := r.sshd.Apply(ctx, want, func(ctx context.Context, public string) (string, error) {
		var c api.HostCertificate
		err := r.send(ctx, "/v1/agent/canary", api.CanaryRequest{PublicKey: public}, &c)
		return c.Certificate, err
	})
	if out.InForce {
		r.hostCA = sshd.Signer(want.Certificate)
	}
	if out.Changed {
		r.log.Info("sshd was changed and proved")
	}
	return out
}

// certificate is the host certificate to show: the one in use, or a new one
// when it is due. One that still holds will do where none can be had.
func (r *reconciler) certificate(ctx context.Context, want sshd.Want) (string, error) {
	line, ends, due := r.sshd.Current(r.hostKey, want.Server, want.HostCAs)
	var err error
	if due {
		line, ends, err = r.renew(ctx, want, line, ends)
		if line == "" {
			return "", err
		}
	}
	if err != nil {
		err = fmt.Errorf("the one in use is good for %s more: %w", timeLeft(ends.Sub(r.now())), err)
	}
	r.showError("certificate", "the host certificate could not be renewed", err)
	r.board.update(func(s *Status) { s.CertificateEnds = ends })
	return line, nil
}

// renew asks for a new host certificate, and gives back the old one with the error
// where none comes that is of use.
func (r *reconciler) renew(ctx context.Context, want sshd.Want, line string, ends time.Time) (string, time.Time, error) {
	var c api.HostCertificate
	err := r.send(ctx, "/v1/agent/host-certificate", api.HostCertificateRequest{PublicKey: r.hostKey}, &c)
	if err == nil {
		err = sshd.CheckCertificate(c.Certificate, r.hostKey, want.Server, want.HostCAs, r.now())
	}
	wait := retryCertificate
	switch {
	case err == nil && sshd.SignedByFirst(c.Certificate, want.HostCAs):
		return c.Certificate, c.ExpiresAt, nil
	case err == nil && line == "": // better than none
		line, ends, wait = c.Certificate, c.ExpiresAt, retryNewCA
	case err == nil:
		wait, err = retryNewCA, errors.New("the new one is still signed by the CA that is being left")
	}
	if next := time.Now().Add(wait + jitter(wait)); next.Before(r.lookAt) {
		r.lookAt = next
	}
	return line, ends, err
}

// timeLeft is a time as a person counts it.
func timeLeft(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

func (r *reconciler) send(ctx context.Context, path string, in, out any) error {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.client.Send(call, "POST", path, in, out)
}

// report tells the control plane what is in force and what is wrong.
func (r *reconciler) report(ctx context.Context) {
	count, told := r.board.count(), r.said.count()
	s := r.board.snapshot()
	in := api.AgentReport{Confirmed: s.InForce, Problems: s.Problems, HostKey: r.hostKey, HostCA: r.hostCA, Address: r.proposal(ctx), Version: r.opt.Version}
	r.propose(&in)
	in.Beat = r.beats.next()
	var out api.AgentReportAnswer
	if err := r.send(ctx, "/v1/agent/report", in, &out); err != nil {
		r.reportFailures++
		r.reportAt = time.Now().Add(r.opt.backoff(r.reportFailures, err))
		r.log.Debug("the report did not arrive", "err", err)
		r.publish()
		return
	}
	r.reportFailures, r.reported, r.told = 0, count, told
	r.reportAt = time.Now().Add(reportEvery + jitter(reportEvery/4))
	r.take(out)
	r.heard()
	r.board.update(func(s *Status) { s.Reported, s.Contact = r.now().UTC(), r.now().UTC() })
	r.publish()
}

// confirmed is true if root has confirmed the removals of exactly this state.
func (r *reconciler) confirmed() bool {
	raw, err := readSmall(r.path(confirmFile), maxSmallFile)
	return err == nil && strings.TrimSpace(string(raw)) == versionText(r.state.Version)
}

func versionText(v api.StateVersion) string { return fmt.Sprintf("%d.%d", v.Epoch, v.Counter) }

// ConfirmRemovals lets the running agent lock all accounts that the newest
// state does not name, however many they are.
func (a *Agent) ConfirmRemovals() (version string, err error) {
	if err := a.loadCredential(); err != nil {
		return "", err
	}
	state, err := a.loadState()
	if err != nil {
		return "", err
	}
	if !state.Complete {
		return "", errors.New("there is no state yet that names anybody")
	}
	version = versionText(state.Version)
	_, err = atomicfile.Write(a.path(confirmFile), []byte(version+"\n"), atomicfile.Options{Mode: 0o600})
	return version, err
}

// Plan says what the agent would do now, and does nothing. It asks the control
// plane for the newest state, and takes the stored one if it cannot be reached.
func (a *Agent) Plan(ctx context.Context) (version string, lines []string, err error) {
	if err := a.loadCredential(); err != nil {
		return "", nil, err
	}
	state, err := a.loadState()
	if err != nil {
		return "", nil, err
	}
	signed, found, ferr := a.getState(ctx, state.Version, 0)
	if ferr == nil && found {
		if d, err := verify(signed, a.cred.PolicyKey, a.cred.Server, state.Version); err == nil {
			state = d
		} else {
			lines = append(lines, "problem: the control plane's answer is refused: "+err.Error())
		}
	} else if ferr != nil {
		lines = append(lines, "problem: the stored state is used: "+ferr.Error())
	}
	if !state.Complete {
		return "", nil, cmp.Or(ferr, errors.New("there is no state yet"))
	}
	r := reconciler{Agent: a, accounts: accounts.Applier{Register: a.path(registerFile), Now: a.opt.Now}, sshd: sshd.Manager{State: a.opt.StateDir, Now: a.opt.Now}, state: state}
	want := r.wantAccounts(r.confirmed())
	host, err := r.accounts.Read(want)
	if err != nil {
		return "", nil, err
	}
	plan := accounts.Decide(host, want)
	for _, s := range plan.Steps {
		lines = append(lines, s.String())
	}
	steps, err := r.planSSHD(plan)
	if err != nil {
		return "", nil, err
	}
	lines = append(lines, steps...)
	for _, p := range plan.Problems {
		lines = append(lines, "problem: "+p)
	}
	return versionText(state.Version), lines, nil
}

// planSSHD takes the host certificate as it is.
func (r *reconciler) planSSHD(plan accounts.Plan) ([]string, error) {
	want := sshd.Want{
		Server: r.cred.Server, UserCAs: r.state.UserCAs, HostCAs: r.state.HostCAs, Logins: plan.Usable, Keep: plan.Held,
		Sources: r.state.Sources, Valid: time.Duration(r.state.PrincipalSeconds) * time.Second, News: r.lastHeard(),
		RevokedKeys: r.state.Revoked.Keys, RevokedSerials: r.state.Revoked.Serials,
	}
	raw, err := os.ReadFile(sshd.CertificateFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	want.Certificate = string(raw)
	return r.sshd.Pending(want)
}
