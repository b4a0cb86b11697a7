package serveragent

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// bombs are programs that never end and make others of themselves, as many as
// the limit lets them: the kernel counts those of a uid on the whole machine, so
// each has its own.
var bombs = []struct {
	name, program string
	uid           int
}{
	{"it forks without end", `$SIG{TERM} = $SIG{HUP} = "IGNORE"; while (1) { fork }`, 71001},
	{"it ends as soon as two others have begun", `$SIG{TERM} = $SIG{HUP} = "IGNORE"; while (1) { exit if fork and fork }`, 71002},
}

// maxBomb is how many programs one of them is at most.
const maxBomb = 150

// Somebody who is locked has left a program that forks faster than anybody could
// look for it.
func TestABombIsEndedWithItsAccount(t *testing.T) {
	for _, bomb := range bombs {
		t.Run(bomb.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.sshd()
			v := r.p.set(func(d *api.DesiredState) {
				d.Accounts = []api.Account{{User: "usr_b", Login: "bomber", UID: bomb.uid, GID: bomb.uid, State: "active"}, carol()}
			})
			r.start()
			r.p.confirmed(v)
			r.sh(fmt.Sprintf(`prlimit --nproc=%d setpriv --reuid=%d --regid=%[2]d --clear-groups setsid perl -e '%s' >/dev/null 2>&1 </dev/null &`, maxBomb, bomb.uid, bomb.program))
			running := func() int {
				n, err := strconv.Atoi(strings.TrimSpace(r.sh(fmt.Sprintf("ps -U %d -o pid= | wc -l", bomb.uid))))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			r.eventually("there are a hundred of it", func() bool { return running() > 100 })
			began := time.Now()
			v = r.p.set(func(d *api.DesiredState) {
				d.Accounts[0].State = "locked"
			})
			r.p.confirmed(v)
			t.Logf("ended after %s", time.Since(began).Round(time.Millisecond))
			if n := running(); n > 0 {
				t.Errorf("%d of it run", n)
			}
			r.mayEnter(r.person("carol", true), "true")
		})
	}
}
