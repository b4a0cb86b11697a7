package serveragent

import (
	"fmt"
	"path/filepath"
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

// A process that is no session of the account is not ended. It is looked at again
// for a while, because it may become one, and then forgotten.
func TestADoubtfulProcessIsForgotten(t *testing.T) {
	l := openLedger(filepath.Join(t.TempDir(), sessionsFile))
	l.process = func(int) (string, bool) { return "4711", true }
	asked := 0
	l.end = func(string, int, string) error { asked++; return accounts.ErrNotTheirs }
	l.rule([]api.Account{{Login: "deploy", Shared: true, State: "active", People: []string{"usr_b"}}})
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
