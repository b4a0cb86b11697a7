package serveragent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
	"github.com/cardea-ssh/cardea/server-agent/logins"
	"github.com/cardea-ssh/cardea/server-agent/sshd"
)

// farewellLimit bounds how long the control plane is told of the end. It may be
// the reason why somebody wants to leave.
const farewellLimit = 15 * time.Second

// Unenrolment is how a host leaves Cardea.
type Unenrolment struct {
	// Restore puts the host back to what it was before its enrolment. Otherwise
	// the agent forgets who it is and leaves everything as it stands.
	Restore bool
	// Accounts is what becomes of people's accounts if the host is restored;
	// empty means accounts.FateLock.
	Accounts accounts.Fate
}

// Unenrol takes the host out of Cardea and returns what to tell whoever asked.
// It works without a control plane. It can be called again after an error, and
// then does what is left to do.
func (a *Agent) Unenrol(ctx context.Context, u Unenrolment) (lines []string, err error) {
	lock, err := a.lock()
	if err != nil {
		return nil, fmt.Errorf("the agent runs on %s; stop it first, on a systemd host by: systemctl disable --now cardea-server-agent", a.opt.StateDir)
	}
	defer lock.Close()
	if err := a.sweep(); err != nil {
		return nil, err
	}
	enrolled := a.loadCredential()
	text := "this server was taken out of Cardea by root on the host; nothing on it is kept up any more"
	if u.Restore {
		if u.Accounts == "" {
			u.Accounts = accounts.FateLock
		}
		if lines, err = a.restore(ctx, u.Accounts); err != nil {
			return lines, fmt.Errorf("%w; when that is mended type the same again", err)
		}
		text = fmt.Sprintf("this server was taken out of Cardea by root on the host, and put back to what it was; accounts: %s", u.Accounts)
	} else {
		lines = a.whatStays()
	}
	if enrolled == nil {
		lines = append(lines, a.farewell(ctx, text))
	} else if !errors.Is(enrolled, ErrNotEnrolled) {
		lines = append(lines, "warning: the control plane could not be told: "+enrolled.Error())
	}
	keepRegister := !u.Restore || u.Accounts != accounts.FateRemove
	return lines, a.forget(keepRegister)
}

// whatStays says what an agent that is gone leaves in force.
func (a *Agent) whatStays() []string {
	lines := []string{"accounts, sudo rules and sshd's configuration stay as they are; to put the host back type: cardea-server-agent unenroll --restore"}
	state, err := a.loadState()
	if err != nil || !state.Complete {
		return lines
	}
	valid := time.Duration(state.PrincipalSeconds) * time.Second
	if valid == 0 {
		valid = sshd.DefaultPrincipals
	}
	return append(lines, fmt.Sprintf("people with certificates can enter for %s at most, then nobody of Cardea's can; nobody is locked or let in by the control plane any more", min(valid, sshd.MaxPrincipals)))
}

// restore puts the host back. What people may do goes first, what sshd says of
// them next, and what that speaks of last.
func (a *Agent) restore(ctx context.Context, fate accounts.Fate) (lines []string, err error) {
	applier := accounts.Applier{Register: a.path(registerFile), Now: a.opt.Now}
	manager := sshd.Manager{State: a.opt.StateDir, Now: a.opt.Now}
	if before := a.opt.before; before != nil {
		applier.Before = func(s accounts.Step) { before(s.String()) }
		manager.Before = func(stage string) { before("sshd: " + stage) }
	}
	if err := applier.Sweep(); err != nil {
		return nil, err
	}
	host, err := applier.Read(accounts.Want{})
	if err != nil {
		return nil, err
	}
	first, last := accounts.Release(host, fate)
	if lines, err = a.releaseAccounts(ctx, &applier, first); err != nil {
		return lines, err
	}
	if err := manager.Release(ctx); err != nil {
		return lines, err
	}
	lines = append(lines, "sshd is what it was, and answers")
	more, err := a.releaseAccounts(ctx, &applier, last)
	lines = append(lines, more...)
	if err != nil {
		return lines, err
	}
	if err := applier.CheckSudo(ctx); err != nil {
		return lines, fmt.Errorf("the sudo configuration of the host is broken, mend it with visudo: %w", err)
	}
	if fate == accounts.FateRemove {
		for _, home := range host.OwnHomes() {
			lines = append(lines, "left, for you to archive or remove: "+home)
		}
	}
	return lines, nil
}

func (a *Agent) releaseAccounts(ctx context.Context, applier *accounts.Applier, plan accounts.Plan) (lines []string, err error) {
	res, err := applier.Take(ctx, plan)
	for _, s := range res.Done {
		a.log.Info("done", "step", s.String())
		lines = append(lines, "done: "+s.String())
	}
	for login, left := range res.Left {
		lines = append(lines, login+": "+left)
	}
	if err == nil && len(res.Failed) > 0 {
		err = errors.New(strings.Join(res.Problems, "; "))
	} else {
		for _, p := range res.Problems {
			lines = append(lines, "problem: "+p)
		}
	}
	return lines, err
}

// farewell tells the control plane, if it can be reached, and says what is left
// to do there. Events that still waited go with it.
func (a *Agent) farewell(ctx context.Context, text string) string {
	ctx, cancel := context.WithTimeout(ctx, farewellLimit)
	defer cancel()
	err := a.sendFarewell(ctx, text)
	next := fmt.Sprintf("its record there stays until you type: cardea admin servers delete %s", a.cred.Name)
	if err != nil {
		return "warning: the control plane could not be told (" + err.Error() + "); " + next
	}
	return "the control plane was told; " + next
}

func (a *Agent) sendFarewell(ctx context.Context, text string) (err error) {
	if a.queue, err = openQueue(a.path(queueFile)); err != nil {
		return err
	}
	a.alarm(text)
	for {
		in, ok := a.queue.batch()
		if !ok {
			break
		}
		if err := a.postBatch(ctx, in); err != nil {
			return err
		}
	}
	return a.client.Send(ctx, "POST", "/v1/agent/report", api.AgentReport{Problems: []string{text}, Version: a.opt.Version}, nil)
}

// forget removes what the agent remembers, and the folder if that is all there
// was. The register stays while accounts do: a later enrolment must know its own.
func (a *Agent) forget(keepRegister bool) error {
	files := []string{a.opt.TokenFile}
	for _, name := range []string{credentialFile, identityFile, stateFile, statusFile, queueFile, beatFile, hostFile, confirmFile, hooksFile, sessionsFile, contactFile, logins.AuthLogPosition, logins.JournalPosition, lockFile} {
		files = append(files, a.path(name))
	}
	if !keepRegister {
		files = append(files, a.path(registerFile))
	}
	var errs []error
	for _, path := range files {
		if _, err := atomicfile.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	os.Remove(a.opt.StateDir) // if it is empty
	return errors.Join(errs...)
}
