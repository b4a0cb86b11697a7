package serveragent

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// removed is the tombstone of alice with what becomes of her home.
func removed(home string) api.Account {
	a := alice("locked", true)
	a.Remove = home
	return a
}

// whatIsLeft is all of alice that a host may have.
func (r *rig) whatIsLeft() string {
	r.Helper()
	return r.sh(`grep -h '^alice\|[:,]alice' /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/sudoers.d/* | cut -d: -f1-3
		ls -A /home; ls /etc/ssh/cardea/principals; ls /var/lib/cardea-server-agent/homes 2>/dev/null | sed 's/-[0-9TZ]*\./-TIME./'; pwck -qr; grpck -r; true`)
}

const goneWithArchive = "carol\ncardea-canary\ncarol\nalice-70001-TIME.tar.gz\n"

// Alice's access ended, and the project says that her account goes then.
func TestAnAccountThatIsRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	r.p.confirmed(r.begin())
	v := r.p.set(func(d *api.DesiredState) { d.Accounts[0] = removed("archive") })
	r.p.confirmed(v)
	r.eventually("alice is gone", func() bool { return r.whatIsLeft() == goneWithArchive })
	r.p.event("the archive", func(e api.AgentEvent) bool {
		return e.Login == "alice" && strings.HasPrefix(e.Detail, "its home was archived in /var/lib/cardea-server-agent/homes/alice-70001-")
	})
	r.p.event("the removal", func(e api.AgentEvent) bool { return e.Login == "alice" && e.Detail == "removed" })
	r.p.event("what is left", func(e api.AgentEvent) bool {
		return e.Login == "alice" && strings.Contains(e.Detail, `such as "/tmp/alice-notes"`)
	})
	got := r.sh("cd /var/lib/cardea-server-agent; stat -c '%a %U' homes homes/*; tar -xzOf homes/alice-* alice/work; grep -c '\"login\": \"alice\"' accounts.json; id carol >/dev/null && cat /etc/shadow | grep -c ^root")
	if want := "700 root\n600 root\nhers\n1\n1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	t.Run("her uid is nobody else's", func(t *testing.T) {
		r.T = t
		r.p.set(func(d *api.DesiredState) {
			d.Accounts[0] = api.Account{User: "usr_e", Login: "eve", UID: 70001, GID: 70001, State: "active"}
		})
		r.p.problem("its uid 70001 was that of alice, and a uid is never given twice")
	})
	t.Run("she comes back to an empty home and the same uid", func(t *testing.T) {
		r.T = t
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("active", true) }))
		if got := r.mayEnter(r.person("alice", true), "id -u; ls"); got != "70001\n" {
			t.Errorf("alice is %q", got)
		}
	})
	t.Run("a mount below a home keeps both", func(t *testing.T) {
		r.T = t
		r.sh("mkdir -p /home/alice/data; mount -t tmpfs none /home/alice/data")
		r.p.set(func(d *api.DesiredState) { d.Accounts[0] = removed("delete") })
		r.p.problem(`could not delete the home of alice, uid 70001: "/home/alice/data" is mounted; unmount it`)
		if got := r.sh("ls -d /home/alice/data; grep -c ^alice /etc/passwd"); got != "/home/alice/data\n1\n" {
			t.Errorf("left: %s", got)
		}
	})
}

// begin makes alice and carol and waits until they are there; alice leaves traces.
func (r *rig) begin() api.StateVersion {
	r.Helper()
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
	r.start()
	r.p.confirmed(v)
	r.sh(`set -e
		runuser -u alice -- sh -c 'echo hers >/home/alice/work; ln -s /etc /home/alice/etc; touch /tmp/alice-notes; mkdir -p /home/alice/a/b; touch /home/alice/a/b/c'
		runuser -u alice -- setsid sleep 1000 >/dev/null 2>&1 </dev/null &`)
	return v
}

// The agent is killed before a step by which an account goes, any of them over
// many runs of the test. The next run finishes it, with one whole archive.
func TestARemovalThatIsKilledAnywhereIsFinishedByTheNext(t *testing.T) {
	const steps, tried = 11, 2
	for _, die := range some(t, tried, upTo(steps)) {
		t.Run("before step "+strconv.Itoa(die), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.sshd()
			r.p.confirmed(r.begin())
			r.stop()
			r.p.set(func(d *api.DesiredState) { d.Accounts[0] = removed("archive") })
			r.start("CARDEA_TEST_DIE_AT=" + strconv.Itoa(die))
			r.eventually("the agent dies", func() bool {
				select {
				case <-r.agent.Done():
					return true
				default:
					return false
				}
			})
			if got := r.sh("visudo -c >/dev/null && /usr/sbin/sshd -t && pwck -qr; grpck -r; echo valid; [ -e /home/alice/work ] || tar -xzOf /var/lib/cardea-server-agent/homes/alice-*.gz alice/work"); got != "valid\n" && got != "valid\nhers\n" {
				t.Errorf("killed: %s", got)
			}
			r.start()
			r.eventually("alice is gone", func() bool { return r.whatIsLeft() == goneWithArchive })
			if diff := cmp.Diff("hers\n", r.sh("tar -xzOf /var/lib/cardea-server-agent/homes/alice-*.gz alice/work")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
