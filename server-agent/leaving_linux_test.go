package serveragent

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// Somebody prepares for the day on which he is locked: with jobs of every kind,
// a program that forks and never listens, a copy of the shell with the set-uid
// bit, and traps in the way of whoever cleans up.
func TestNothingActsForSomebodyWhoLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
	r.start()
	r.p.confirmed(v)
	r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	r.sh(`set -e
		umask 022
		mkdir -p /var/lib/systemd/linger /var/spool/cron/crontabs /var/spool/cron/atjobs /run/sudo/ts
		chmod 1730 /var/spool/cron/crontabs; chmod 1770 /var/spool/cron/atjobs; chown 1:1 /var/spool/cron/atjobs
		for who in alice carol; do
			uid=$(id -u $who)
			touch /var/lib/systemd/linger/$who
			echo '* * * * * /bin/true' >/var/spool/cron/crontabs/$who
			echo 'true' >/var/spool/cron/atjobs/a0000$uid
			chown $who /var/spool/cron/crontabs/$who /var/spool/cron/atjobs/a0000$uid
			touch /run/sudo/ts/$who /run/sudo/ts/$uid
			runuser -u $who -- cp /bin/bash /tmp/$who-sh
			runuser -u $who -- chmod 4755 /tmp/$who-sh
			runuser -u $who -- touch /var/tmp/$who-notes
		done
		ln -s /etc/shadow /var/spool/cron/atjobs/trap; chown -h alice /var/spool/cron/atjobs/trap`)
	// Each of the chains is a program that lives for an instant, forks, and ends.
	for range 3 {
		r.sh(`runuser -u alice -- setsid perl -e '$SIG{TERM} = $SIG{HUP} = "IGNORE"; while (1) { exit if fork }' >/dev/null 2>&1 </dev/null &`)
	}
	r.sh("runuser -u carol -- setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
	// Nobody ever sees such a process; only the numbers go up.
	forks := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(r.sh("a=$(cut -d' ' -f5 /proc/loadavg); sleep 0.2; b=$(cut -d' ' -f5 /proc/loadavg); echo $((b - a))")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r.eventually("alice's chains run", func() bool { return forks() > 100 })

	v = r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) })
	began := time.Now()
	r.p.confirmed(v)
	t.Logf("locked, ended and clean after %s", time.Since(began).Round(time.Millisecond))
	if got := r.sh("ps -o user:20= -e | grep '^alice ' | wc -l"); got != "0\n" {
		t.Errorf("%s processes of alice run", strings.TrimSpace(got))
	}
	if n := forks(); n > 20 {
		t.Errorf("something still makes processes: %d in a fifth of a second", n)
	}
	got := r.sh("find /var/lib/systemd/linger /var/spool/cron /run/sudo/ts ! -type d | LC_ALL=C sort; ls /tmp /var/tmp; ps -o args= -u carol; ls -l /etc/shadow | cut -c1-10")
	want := `/run/sudo/ts/70002
/run/sudo/ts/carol
/var/lib/systemd/linger/carol
/var/spool/cron/atjobs/a000070002
/var/spool/cron/crontabs/carol
/tmp:
alice-sh
carol-sh

/var/tmp:
alice-notes
carol-notes
sleep 1000
-rw-r-----
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	r.p.problem(`alice, who is locked, has left the set-id program "/tmp/alice-sh"`)
	e := r.p.event("what alice has left", func(e api.AgentEvent) bool { return strings.HasPrefix(e.Detail, "left behind") })
	if e.Login != "alice" || !strings.Contains(e.Detail, `1 files in /tmp, /var/tmp, /dev/shm, such as "/var/tmp/alice-notes"`) {
		t.Errorf("event %+v", e)
	}

	t.Run("who cleaned up by hand hears no more of it", func(t *testing.T) {
		r.sh("rm /tmp/alice-sh")
		r.p.set(func(*api.DesiredState) {})
		r.p.wait("the problem is gone", func() bool { return len(r.p.reports[len(r.p.reports)-1].Problems) == 0 })
	})

	t.Run("a job that comes later, out of a backup, goes too", func(t *testing.T) {
		r.T = t
		r.sh("echo '* * * * * /bin/true' >/var/spool/cron/crontabs/alice; chown alice /var/spool/cron/crontabs/alice")
		r.p.confirmed(r.p.set(func(*api.DesiredState) {}))
		if got := r.sh("ls /var/spool/cron/crontabs"); got != "carol\n" {
			t.Errorf("left: %s", got)
		}
	})

	t.Run("who comes back is let in again", func(t *testing.T) {
		r.T = t
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("active", true) }))
		if got := r.mayEnter(r.person("alice", true), "sudo -n id -u; ls /var/tmp/alice-notes"); got != "0\n/var/tmp/alice-notes\n" {
			t.Errorf("alice is %q", got)
		}
	})
}

// A hook that hangs must not keep anybody in.
func TestHooksRunBesideTheAgentsOwnWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	const hooks = "/root/hooks" // /usr is the machine's
	r.sh("umask 022; mkdir -p " + hooks + "/user-created.d " + hooks + "/user-deleted.d")
	r.write(hooks+"/user-created.d/made", "#!/bin/sh\nid -un $CARDEA_LOGIN >>/root/made; ls -d $CARDEA_HOME >>/root/made\n", 0o755)
	r.write(hooks+"/user-deleted.d/hangs", "#!/bin/sh\necho $CARDEA_LOGIN >>/root/gone; exec sleep 1000\n", 0o755)
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
	r.start("CARDEA_TEST_HOOKS=" + hooks)
	r.p.confirmed(v)
	r.eventually("both are told of", func() bool {
		return r.sh("cat /root/made 2>/dev/null || true") == "alice\n/home/alice\ncarol\n/home/carol\n"
	})
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) }))
	r.eventually("the hook hangs", func() bool { return r.sh("cat /root/gone 2>/dev/null || true") == "alice\n" })
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[1].State = "locked" }))
	r.mayNotEnter(r.person("carol", true))
	r.stop() // and ends the hook, which will run again
	if got := r.sh("ps -eo args | grep -c '[s]leep 1000' || true; cat /var/lib/cardea-server-agent/hooks.json"); got != "0\n{\"70001\":\"user-created\",\"70002\":\"user-created\"}\n" {
		t.Errorf("left: %q", got)
	}
}

// So many programs are no session: they are not asked first, in which time they
// could become more.
func TestACrowdIsEndedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sshd()
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", false)} })
	r.start()
	r.p.confirmed(v)
	r.sh(`runuser -u alice -- perl -e '$SIG{TERM} = $SIG{HUP} = sub { mkdir "/home/alice/asked" }; for (1..600) { fork or sleep 1000 or exit }' >/dev/null 2>&1 </dev/null`)
	running := func() string { return strings.TrimSpace(r.sh("ps -U alice -o pid= | wc -l")) }
	if n := running(); n != "600" {
		t.Fatalf("%s programs run", n)
	}
	began := time.Now()
	r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", false) }))
	if n, d := running(), time.Since(began); n != "0" || d > 2*time.Second {
		t.Errorf("after %s %s run", d, n)
	}
	if asked := r.sh("ls /home/alice"); strings.Contains(asked, "asked") {
		t.Error("they were asked first")
	}
}
