package serveragent

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// swaps makes everything in reach of alice's something else, over and over: her
// folders links to others' folders and back, files links, FIFOs and hard links.
// It counts its rounds.
const swaps = `use Fcntl;
my ($h, $n) = ("/home/alice", 0);
sub flip { my ($p, $to) = @_; rename $p, "$p.was"; symlink $to, $p; rename $p, "$p.link"; rename "$p.was", $p; unlink "$p.link"; }
mkdir "$h/.ssh"; mkdir "$h/.config"; mkdir "$h/bin"; mkdir "/tmp/alice-d";
for my $f ("$h/.ssh/authorized_keys", "$h/.profile", "$h/bin/sh", "/tmp/alice-d/f", "/tmp/alice-f") { open my $x, ">", $f; print $x "alice\n"; }
while (1) {
	flip("$h/.ssh", "/root/.ssh"); flip("$h/.ssh/authorized_keys", "/etc/shadow"); flip("$h/.config", "/etc/sudoers.d");
	flip("$h/.profile", "/precious/file"); flip("$h/bin", "/precious"); flip("/tmp/alice-d", "/precious"); flip("/tmp/alice-f", "/etc/passwd");
	link "/etc/passwd", "$h/passwd"; link "/precious/file", "$h/precious"; unlink "$h/passwd", "$h/precious";
	system "mkfifo", "$h/.bashrc.f" if $n % 500 == 0; rename "$h/.bashrc.f", "$h/.bashrc"; unlink "$h/.bashrc";
	if (++$n % 100 == 0) { open my $c, ">", "/tmp/alice-rounds"; print $c $n; }
}`

// swapEnv is how long somebody who has the time lets it go on.
const swapEnv = "CARDEA_TEST_SWAP"

// Alice swaps her folders for links to others' all the time, while the agent
// makes, locks, removes and makes her account again. Nobody else's file is
// touched, and none gets into the archive of her home.
func TestWhoSwapsFoldersForLinksGetsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root := r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sshd()
	r.sh(`mkdir -m 755 /precious; echo PRECIOUS >/precious/file; chmod 600 /precious/file; mkdir /precious/folder; echo PRECIOUS >/precious/folder/file`)
	precious := `{ find /precious /root/.ssh -printf '%p %y %m %U:%G %s %T@ %n\n'; sha256sum /precious/file /precious/folder/file /root/.ssh/authorized_keys; stat -c '%n %a %u:%g' /etc/passwd /etc/shadow /etc/sudoers.d; }`
	was := r.sh(precious)
	v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true), carol()} })
	r.start()
	r.p.confirmed(v)
	// The agent ends it with each lock; this begins it anew, soon enough to meet the rest, until
	// her home is gone: userdel refuses whoever has a process, and is tried once a minute.
	r.sh(`cat >/tmp/swaps.pl <<'EOS'
` + swaps + `
EOS
	setsid sh -c 'while :; do [ ! -d /home/alice ] || setpriv --reuid=70001 --regid=70001 --clear-groups perl /tmp/swaps.pl; sleep 0.3; done' >/dev/null 2>&1 </dev/null &`)
	rounds := func() int {
		n, _ := strconv.Atoi(strings.TrimSpace(r.sh("cat /tmp/alice-rounds 2>/dev/null || echo 0")))
		return n
	}
	r.eventually("she swaps", func() bool { return rounds() >= 100 })

	long, _ := time.ParseDuration(os.Getenv(swapEnv))
	total := 0
	for end, i := time.Now().Add(long), 0; i < 3 || time.Now().Before(end); i++ {
		before := rounds()
		// Each time she is there again, and gone again, by another way.
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("locked", true) }))
		r.p.set(func(d *api.DesiredState) { d.Accounts[0] = removed("archive") })
		if i%3 == 2 {
			r.eventually("she is removed", func() bool { return r.sh("getent passwd alice || true; ls /home") == "carol\n" })
		}
		r.p.confirmed(r.p.set(func(d *api.DesiredState) { d.Accounts[0] = alice("active", i%2 == 0) }))
		r.eventually("she swaps again", func() bool { n := rounds(); return n > 0 && n != before })
		total += max(rounds()-before, 0)
	}
	t.Logf("at least %d rounds of 9 swaps, %s archives of the home", total, strings.TrimSpace(r.sh("ls /var/lib/cardea-server-agent/homes 2>/dev/null | wc -l")))
	if diff := cmp.Diff(was, r.sh(precious)); diff != "" {
		t.Errorf("others' files are different: %s", diff)
	}
	if got := r.sh(`cd /var/lib/cardea-server-agent; for f in homes/*.tar.gz; do [ ! -e "$f" ] || tar -xzOf "$f" | grep -a -c -e PRECIOUS -e '^root:' || true; done | sort -u`); strings.TrimSpace(got) != "0" && strings.TrimSpace(got) != "" {
		t.Errorf("an archive has others' files: %q", got)
	}
	r.rootMayEnter(root)
}

// A home cannot be made: the account is not there by halves, somebody is told,
// and with the next run it is there.
func TestAHomeThatCannotBeMade(t *testing.T) {
	for _, tc := range []struct{ name, before, problem, after string }{
		{"because /home is read-only", "mount -o remount,ro /home", "read-only file system", "mount -o remount,rw /home"},
		{"because it is full", "head -c 300000 /dev/urandom >/etc/skel/large; mount -o remount,size=100k /home", "no space left", "mount -o remount,size=100m /home"},
		{"because it has no room for another file", "mount -o remount,nr_inodes=2 /home", "no space left", "mount -o remount,nr_inodes=1000 /home"},
		{"because what it is made of is too large", "truncate -s 2M /etc/skel/large", "larger than 1048576 bytes", "rm /etc/skel/large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.sshd()
			r.sh(tc.before)
			v := r.p.set(func(d *api.DesiredState) { d.Accounts = []api.Account{alice("active", true)} })
			r.start()
			r.p.problem(tc.problem)
			if got := r.sh("getent passwd alice; ls -A /home /etc/sudoers.d 2>/dev/null | grep -v :; ls /etc/ssh/cardea/principals"); strings.TrimSpace(got) != "cardea-canary" {
				t.Errorf("there is half of it: %q", got)
			}
			r.stop()
			r.sh(tc.after)
			r.start()
			r.p.confirmed(v)
			r.p.wait("the problem is gone", func() bool { return len(r.p.reports[len(r.p.reports)-1].Problems) == 0 })
			r.mayEnter(r.person("alice", true), "test -O . && sudo -n true")
			if got := r.sh("ls -A /home"); got != "alice\n" {
				t.Errorf("/home has %q", got)
			}
		})
	}
}
