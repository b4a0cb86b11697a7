package serveragent

import (
	"net/http"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// A host that hears nothing for days stays as it is. What sshd accepts ends by
// itself, seven days after the last news, whether or not the agent is restarted.
func TestAHostThatHearsNothingForDays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root := r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sshd()
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
	r.start()
	r.p.confirmed(v)
	r.stop()
	was := r.etc() + r.sh("ls -lnR --time-style=+ /home")
	r.p.lying(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	for _, days := range []string{"48h", "168h", "240h"} {
		before := r.sh("stat -c %Y%i /var/lib/cardea-server-agent/status.json")
		r.start("CARDEA_TEST_AHEAD=" + days)
		r.eventually("the agent has looked at the host "+days+" later", func() bool {
			return r.sh("stat -c %Y%i /var/lib/cardea-server-agent/status.json") != before
		})
		r.stop()
		if diff := cmp.Diff(was, r.etc()+r.sh("ls -lnR --time-style=+ /home")); diff != "" {
			t.Errorf("%s without news changed the host: %s", days, diff)
		}
	}
	r.rootMayEnter(root)
	r.p.lying(nil)
	r.start()
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts = d.Accounts[1:] }))
	r.mayEnter(r.person("carol", true), "true")
	r.mayNotEnter(r.person("alice", true))
}
