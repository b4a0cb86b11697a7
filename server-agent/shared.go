package serveragent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
	"github.com/cardea-ssh/cardea/server-agent/logins"
	"github.com/cardea-ssh/cardea/sshcert"
)

// Where several people use one account, ending what one of them does means to
// end his sessions and nobody else's. Only sshd's log says whose a session is.
// By the key id it also says which session began under a break-glass: such a one ends
// with that, also that of somebody who may enter by other grants.
//
// On hosts without a journal any local user can write to that log, so a line is
// believed in one direction only: it can bring somebody under suspicion, and
// never out of it. A session counts as that of everybody to whom a line has ever
// ascribed it, and is ended as soon as one of these may not be there. So who writes
// lines can have others thrown out, of the accounts of several people or as if by a
// break-glass, and do no more: what is ended is the process of a session in the account
// (accounts.ErrNotTheirs). Where lines name several accounts for one session, /proc says in
// which it is: else who writes the first line, while he is logging in, could keep his own.

const (
	// maxLedger bounds the sessions that are remembered.
	maxLedger = 10_000
	// maxAscribed bounds the people to whom lines ascribe one session. One of more is
	// ended as if tooMany were one who may not be there: lines of sshd's own name one.
	maxAscribed = 16
	tooMany     = "and others"
	// doubtFor is how long a process may still become that of a session in the
	// account: sshd writes of a login before it begins.
	doubtFor = 30 * time.Second
)

// sshSession is one process of sshd's in an account of several people, or one that began
// under a break-glass.
type sshSession struct {
	PID   int      `json:"pid"`
	Start string   `json:"start"` // in ticks since the boot
	Login string   `json:"login"` // empty where lines disagree, until it is looked at
	Users []string `json:"users"`
	// Glass are the break-glasses under which lines say that it began.
	Glass []string `json:"glass,omitempty"`
}

// instance tells a process from a later one of its number.
type instance struct {
	pid   int
	start string
}

// ledger knows the sessions in accounts where not everybody's processes are one
// person's, and who may be there. The zero value knows nothing.
type ledger struct {
	mu      sync.Mutex
	path    string
	open    []sshSession               // guarded by mu
	allowed map[string]map[string]bool // by login, users; nil while nobody has said; guarded by mu
	glass   string                     // the break-glass in force, or empty; guarded by mu
	// doubt are processes that are of no session in the account, and since when that
	// is known; guarded by mu.
	doubt   map[instance]time.Time
	end     func(login string, pid int, start string) error
	process func(pid int) (start string, ok bool)
	login   func(pid int, start string) string
}

// open reads what an earlier run has seen. A damaged file is an empty one: the
// log then says whose new sessions are.
func openLedger(path string) *ledger {
	l := &ledger{path: path, end: accounts.EndSession, process: accounts.SSHProcess, login: accounts.SessionLogin}
	if raw, err := readSmall(path, maxStateFile); err == nil {
		json.Unmarshal(raw, &l.open)
	}
	return l
}

var keyUser = regexp.MustCompile(`^cardea:user=([a-z0-9_]+):`)

// saw takes note of a login that the log tells of.
func (l *ledger) saw(pid int, e api.AgentEvent) {
	m := keyUser.FindStringSubmatch(e.KeyID)
	start, ok := l.process(pid)
	if e.Kind != logins.Login || m == nil || !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	glass := sshcert.BreakGlassOf(e.KeyID)
	if _, of := l.allowed[e.Login]; !of && l.allowed != nil && glass == "" {
		return // an account of one person
	}
	for i, s := range l.open {
		if s.PID == pid && s.Start == start {
			users, glasses := ascribe(s.Users, m[1]), ascribe(s.Glass, glass)
			login := s.Login
			if login != e.Login {
				login = ""
			}
			if len(users) > len(s.Users) || len(glasses) > len(s.Glass) || login != s.Login {
				l.open[i].Users, l.open[i].Glass, l.open[i].Login = users, glasses, login
				l.save()
			}
			return
		}
	}
	l.open = slices.DeleteFunc(l.open, l.gone)
	if len(l.open) < maxLedger {
		l.open = append(l.open, sshSession{PID: pid, Start: start, Login: e.Login, Users: []string{m[1]}, Glass: ascribe(nil, glass)})
	}
	l.save()
}

// ascribe adds to what lines ascribe to a session, if it is new and something.
func ascribe(all []string, one string) []string {
	if one != "" && len(all) >= maxAscribed && !slices.Contains(all, one) {
		one = tooMany
	}
	if one == "" || slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

func (l *ledger) gone(s sshSession) bool {
	start, ok := l.process(s.PID)
	return !ok || start != s.Start
}

func (l *ledger) save() {
	if raw, err := json.Marshal(l.open); err == nil {
		atomicfile.Write(l.path, raw, atomicfile.Options{Mode: 0o600}) // best effort: see openLedger
	}
}

// rule says who may be in which account from now on, and which break-glass is in force.
func (l *ledger) rule(all []api.Account, glass string) {
	allowed := map[string]map[string]bool{}
	own := map[string]bool{}
	for _, a := range all {
		if !a.Shared && !a.Existing {
			own[a.Login] = true // locking ends all of it
			continue
		}
		users := map[string]bool{}
		for _, u := range a.People {
			users[u] = true
		}
		if !a.Shared {
			users[a.User] = true
		}
		if a.State != "active" {
			clear(users)
		}
		allowed[a.Login] = users
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.allowed != nil {
		// Somebody whom the state does not name any more may be nowhere.
		for login := range l.allowed {
			if allowed[login] == nil && !own[login] {
				allowed[login] = map[string]bool{}
			}
		}
	}
	l.allowed, l.glass = allowed, glass
}

// over says why a session is to end, or nothing; l.mu is held.
func (l *ledger) over(s sshSession) string {
	users, ruled := l.allowed[s.Login]
	switch {
	case l.allowed == nil, s.Login == "":
	case ruled && slices.ContainsFunc(s.Users, func(u string) bool { return !users[u] }):
		return fmt.Sprintf("ended the session of %v, who may not use this account any more", s.Users)
	case slices.ContainsFunc(s.Glass, func(g string) bool { return g != l.glass }):
		return fmt.Sprintf("ended the session of %v, which began under a break-glass that is over", s.Users)
	}
	return ""
}

// enforce ends the sessions of people who may not be where they are, and says
// which and what went wrong.
func (l *ledger) enforce() (ended map[string]string, problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended = map[string]string{}
	before, doubted := len(l.open), l.doubt
	l.doubt = map[instance]time.Time{}
	for i, s := range l.open {
		if s.Login != "" || l.gone(s) {
			continue
		}
		if l.open[i].Login = l.login(s.PID, s.Start); l.open[i].Login == "" {
			l.doubt[instance{s.PID, s.Start}] = time.Now() // it has not begun: look again
		}
	}
	l.open = slices.DeleteFunc(l.open, func(s sshSession) bool {
		why := l.over(s)
		if l.gone(s) || why == "" {
			return l.gone(s)
		}
		err := l.end(s.Login, s.PID, s.Start)
		if errors.Is(err, accounts.ErrNotTheirs) {
			process := instance{s.PID, s.Start}
			since, known := doubted[process]
			if !known {
				since = time.Now()
			}
			if time.Since(since) > doubtFor {
				return true
			}
			l.doubt[process] = since
			return false
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("a session in the account %s could not be ended: %v", s.Login, err))
			return false
		}
		ended[s.Login] = fmt.Sprintf("%s (process %s)", why, strconv.Itoa(s.PID))
		return true
	})
	if len(l.open) != before {
		l.save()
	}
	slices.Sort(problems)
	return ended, problems
}

// doubtful reports whether enforce is to be asked again soon.
func (l *ledger) doubtful() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.doubt) > 0
}

// endSessions is the reconciler's part of it.
func (a *Agent) endSessions(d api.DesiredState) {
	a.ledger.rule(d.Accounts, d.BreakGlass)
	a.enforce()
}

func (a *Agent) enforce() {
	ended, problems := a.ledger.enforce()
	for _, login := range slices.Sorted(maps.Keys(ended)) {
		a.log.Info("done", "login", login, "what", ended[login])
		a.tell(api.AgentEvent{Kind: "account", Login: login, Detail: ended[login]})
	}
	a.board.set("sessions", problems...)
}

func (a *Agent) nudge() {
	select {
	case a.nudged <- struct{}{}:
	default:
	}
}
