package accounts

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/vhost"
)

// One call ends everything of a uid, and nothing of anybody else's. The test
// binary calls it inside a host, where nobody else can be hit by a mistake.
func TestAllOfAUIDAreKilledInOneGo(t *testing.T) {
	const inside, uid = "CARDEA_TEST_KILL_ALL", 71003
	if os.Getenv(inside) != "" {
		(&Applier{}).killAll(context.Background(), uid)
		return
	}
	n, err := vhost.NewNetwork(t.Context(), vhost.NetworkOptions{Private: true})
	if errors.Is(err, vhost.ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const path = "/opt/cardea-test/accounts.test"
	h, err := n.NewHost(t.Context(), vhost.Options{Name: "web-1", Binds: []vhost.Bind{{From: self, To: path}}})
	if err != nil {
		t.Fatal(err)
	}
	sh := func(script string) string {
		t.Helper()
		out, err := h.Run(t.Context(), "/bin/sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(out), " ")
	}
	const count = `for u in 71003 71004 0; do ps -U $u -o args= | grep -c '^sleep 1000' || true; done`
	sh(`for u in 71003 71004 0; do for i in 1 2 3 4 5; do
		setpriv --reuid=$u --clear-groups nohup setsid sh -c 'trap "" TERM HUP; exec sleep 1000' >/dev/null 2>&1 </dev/null & done; done
		until [ $(ps -e -o args= | grep -c '^sleep 1000') = 15 ]; do sleep 0.05; done`)
	if got := sh(count); got != "5 5 5" {
		t.Fatalf("there run %s", got)
	}
	if out, err := h.Run(t.Context(), "/usr/bin/env", inside+"=1", path, "-test.run=^TestAllOfAUIDAreKilledInOneGo$"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// They die when the kernel next lets them run.
	if got := sh(`for i in $(seq 300); do ps -U 71003 >/dev/null || break; sleep 0.1; done; ` + count); got != "0 5 5" {
		t.Errorf("afterwards there run %s", got)
	}
}
