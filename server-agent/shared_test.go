package serveragent

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
)

// Whoever can write to the log can ascribe a session to as many as he likes.
func TestTheLedgerIsBounded(t *testing.T) {
	l := openLedger(filepath.Join(t.TempDir(), sessionsFile))
	l.process = func(int) (string, bool) { return "4711", true }
	saw := func(n int) {
		for i := range n {
			l.saw(200, api.AgentEvent{Kind: "login", Login: "deploy", KeyID: fmt.Sprintf("cardea:user=usr_%d:session=x", i)})
		}
	}
	saw(maxAscribed)
	if got := l.open[0].Users; len(got) != maxAscribed || got[maxAscribed-1] != fmt.Sprintf("usr_%d", maxAscribed-1) {
		t.Errorf("at the limit: %q", got)
	}
	saw(maxAscribed + 5)
	if got := l.open[0].Users; len(got) != maxAscribed+1 || got[maxAscribed] != tooMany {
		t.Errorf("beyond it: %q", got)
	}
}

// A session ends with the break-glass under which it began, whoever's it is, and no other
// does. What was seen outlives the agent.
func TestSessionsEndWithTheirBreakGlass(t *testing.T) {
	path := filepath.Join(t.TempDir(), sessionsFile)
	var ended []int
	open := func() *ledger {
		l := openLedger(path)
		l.process = func(pid int) (string, bool) { return "4711", true }
		l.end = func(_ string, pid int, _ string) error { ended = append(ended, pid); return nil }
		return l
	}
	people := []api.Account{{User: "usr_a", Login: "ann", State: "active"}, {Login: "deploy", Shared: true, State: "active", People: []string{"usr_a", "usr_b"}}}
	login := func(l *ledger, pid int, login, glass string) {
		l.saw(pid, api.AgentEvent{Kind: "login", Login: login, KeyID: "cardea:user=usr_a:session=x:device=y:login=" + login + glass})
	}
	l := open()
	l.rule(people, "brg_one")
	login(l, 100, "ann", "")
	login(l, 101, "ann", ":glass=brg_one")
	login(l, 102, "deploy", ":glass=brg_one")
	login(l, 103, "deploy", "")
	l.enforce()
	if len(ended) > 0 {
		t.Errorf("while it is in force %v end", ended)
	}
	login(l, 101, "ann", "") // a line that says otherwise changes nothing
	l = open()
	l.enforce()
	if len(ended) > 0 {
		t.Errorf("before anybody says what is in force %v end", ended)
	}
	l.rule(people, "")
	out, problems := l.enforce()
	if !slices.Equal(ended, []int{101, 102}) || len(problems) > 0 || !strings.Contains(out["ann"], "break-glass that is over (process 101)") {
		t.Errorf("%v end: %v %v", ended, out, problems)
	}
	// A certificate of then is good for minutes still, and another break-glass is another.
	login(l, 104, "ann", ":glass=brg_one")
	l.enforce()
	l.rule(people, "brg_two")
	login(l, 105, "ann", ":glass=brg_two")
	login(l, 106, "ann", ":glass=brg_one")
	l.enforce()
	if !slices.Equal(ended[2:], []int{104, 106}) {
		t.Errorf("%v end", ended)
	}
	for i := range 2 * maxAscribed {
		login(l, 105, "ann", fmt.Sprintf(":glass=brg_%d", i))
	}
	if n := len(l.open[slices.IndexFunc(l.open, func(s sshSession) bool { return s.PID == 105 })].Glass); n != maxAscribed+1 {
		t.Errorf("%d break-glasses are remembered of one session", n)
	}
}

// A process that is no session of the account is not ended. It is looked at again
// for a while, because it may become one, and then forgotten.
func TestADoubtfulProcessIsForgotten(t *testing.T) {
	l := openLedger(filepath.Join(t.TempDir(), sessionsFile))
	l.process = func(int) (string, bool) { return "4711", true }
	asked := 0
	l.end = func(string, int, string) error { asked++; return accounts.ErrNotTheirs }
	l.rule([]api.Account{{Login: "deploy", Shared: true, State: "active", People: []string{"usr_b"}}}, "")
	l.saw(100, api.AgentEvent{Kind: "login", Login: "deploy", KeyID: "cardea:user=usr_m:session=x"})
	for range 2 {
		if ended, problems := l.enforce(); len(ended)+len(problems) > 0 || !l.doubtful() {
			t.Errorf("%v %v, doubtful %v", ended, problems, l.doubtful())
		}
	}
	l.doubt[instance{100, "4711"}] = time.Now().Add(-doubtFor - time.Second)
	if ended, problems := l.enforce(); len(ended)+len(problems)+len(l.open) > 0 || l.doubtful() || asked != 3 {
		t.Errorf("%v %v %v, asked %d times", ended, problems, l.open, asked)
	}
}

// Who can write to the log knows the process of his own login before sshd writes of it.
func TestALineBeforeThatOfSSHDHidesNoSession(t *testing.T) {
	for name, of := range map[string]struct{ login, glass string }{
		"in an account of several": {"deploy", ""},
		"under a break-glass":      {"ann", ":glass=brg_one"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLedger(filepath.Join(t.TempDir(), sessionsFile))
			l.process = func(int) (string, bool) { return "4711", true }
			is, ended := "", 0
			l.login = func(int, string) string { return is }
			l.end = func(login string, _ int, _ string) error {
				if login != is {
					return accounts.ErrNotTheirs
				}
				ended++
				return nil
			}
			people := []api.Account{{User: "usr_a", Login: "ann", State: "active"}, {Login: "deploy", Shared: true, State: "active", People: []string{"usr_a"}}}
			l.rule(people, "brg_one")
			l.saw(100, api.AgentEvent{Kind: "login", Login: "bob", KeyID: "cardea:user=usr_a:session=x:glass=brg_one"})
			l.saw(100, api.AgentEvent{Kind: "login", Login: of.login, KeyID: "cardea:user=usr_a:session=x" + of.glass})
			l.enforce()
			if !l.doubtful() || ended > 0 {
				t.Error("before the session has begun it is not looked at again, or ended")
			}
			is = of.login
			l.enforce()
			if l.doubtful() || ended > 0 {
				t.Error("the session is in doubt, or ended, though it may be there")
			}
			people[1].People = nil
			l.rule(people, "")
			if l.enforce(); ended != 1 {
				t.Errorf("it ended %d times", ended)
			}
		})
	}
}
