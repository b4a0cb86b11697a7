package serveragent

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// etc is all of /etc, with what every file holds; the backups and locks of
// shadow-utils are theirs.
func (r *rig) etc() string {
	r.Helper()
	return r.sh(`cd /etc; { find . -xdev ! -name '*-' ! -name .pwd.lock -exec stat -c '%n %F %a %u:%g' {} +
		find . -xdev -type f ! -name '*-' ! -name .pwd.lock -exec sha256sum {} +; } | LC_ALL=C sort`)
}

func (r *rig) unenroll(args ...string) (string, error) {
	r.Helper()
	return r.h.Run(r.Context(), "/usr/bin/env", append([]string{"CARDEA_TEST_AGENT=1", agentPath, "unenroll"}, args...)...)
}

// enrolled is a host with two people on it, one of them an administrator, and a
// root with a key of his own.
func enrolled(t *testing.T, prepare string) (r *rig, root person, before string) {
	r = newRig(t)
	root = r.person("root", false)
	r.write("/root/.ssh/authorized_keys", root.public(r), 0o600)
	r.sh(prepare)
	r.sshd()
	before = r.etc()
	v := r.p.set(func(d *api.DesiredState) {
		d.Accounts = []api.Account{alice("active", true), carol()}
		d.Groups = []api.AccountGroup{{Group: "grp_o", Name: "ops", GID: 80001, Members: []string{"alice"}}}
	})
	r.start()
	r.p.confirmed(v)
	r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	return r, root, before
}

func (r *rig) rootMayEnter(root person) {
	r.Helper()
	if out, err := r.ssh(root, true, "id", "-un").CombinedOutput(); err != nil || string(out) != "root\n" {
		r.Errorf("root cannot enter any more: %v: %s", err, out)
	}
	if out := r.sh("visudo -c >/dev/null && /usr/sbin/sshd -t && echo valid"); out != "valid\n" {
		r.Errorf("the configuration: %s", out)
	}
}

func TestAHostThatLeavesIsWhatItWas(t *testing.T) {
	for name, prepare := range map[string]string{
		"an sshd with drop-ins":         "true",
		"an sshd that includes nothing": "rm -r /etc/ssh/sshd_config.d; printf '# by hand\nUsePAM yes\nMatch User nobody\n\tX11Forwarding no' >/etc/ssh/sshd_config; chmod 600 /etc/ssh/sshd_config",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, root, before := enrolled(t, prepare)
			if out, err := r.unenroll("remove"); err == nil || !strings.Contains(err.Error(), "stop it first") {
				t.Fatalf("while the agent runs: %v %s", err, out)
			}
			r.stop()
			out, err := r.unenroll("remove")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(before, r.etc()); diff != "" {
				t.Errorf("/etc (-before +after):\n%s", diff)
			}
			r.rootMayEnter(root)
			if out, err := r.ssh(r.person("alice", true), true, "echo", "IN").CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
				t.Errorf("alice: %v %s", err, out)
			}
			if got := r.sh("ls -A /var/lib; ls -A /home") + out; strings.Contains(got, "cardea-server-agent\n") && !strings.Contains(got, "alice\ncarol\n") || !strings.Contains(got, "/home/alice (uid 70001)") {
				t.Errorf("left: %s", got)
			}
			r.p.event("the end", func(e api.AgentEvent) bool {
				return e.Kind == "alarm" && strings.Contains(e.Detail, "taken out of Cardea by root") && strings.Contains(e.Detail, "accounts: remove")
			})
			r.p.problem("taken out of Cardea")
			if out, err := r.unenroll("remove"); err != nil {
				t.Errorf("a second time: %v %s", err, out)
			}
			if diff := cmp.Diff(before, r.etc()); diff != "" {
				t.Errorf("/etc after the second time:\n%s", diff)
			}
		})
	}
}

func TestAHostThatLeavesOfflineLocksItsAccounts(t *testing.T) {
	t.Parallel()
	r, root, _ := enrolled(t, "true")
	own := r.person("alice", false)
	r.mayEnter(r.person("alice", true), "mkdir -m 700 .ssh; echo '"+strings.TrimSpace(own.public(r))+"' >.ssh/authorized_keys; nohup setsid sleep 1000 >/dev/null 2>&1 &")
	r.stop()
	r.sh("echo '# by the administrator' >>/etc/ssh/sshd_config")
	r.p.lying(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true })
	out, err := r.unenroll("lock")
	if err != nil || !strings.Contains(out, "warning: the control plane could not be told") {
		t.Fatalf("%v\n%s", err, out)
	}
	r.rootMayEnter(root)
	if out, err := r.ssh(own, true, "echo", "IN").CombinedOutput(); err == nil || strings.Contains(string(out), "IN") {
		t.Errorf("alice enters by a key that she left: %s", out)
	}
	after := r.sh(`getent shadow alice carol | cut -d: -f8; id -Gn alice; getent passwd cardea-canary; getent group cardea-managed; ls -A /etc/sudoers.d /etc/ssh/sshd_config.d
		ls -d /etc/ssh/cardea 2>/dev/null; tail -n 1 /etc/ssh/sshd_config; ls -A /var/lib/cardea-server-agent; ps -eo args | grep -c '[s]leep 1000'; true`)
	if diff := cmp.Diff("1\n1\nalice ops\n/etc/ssh/sshd_config.d:\n\n/etc/sudoers.d:\n# by the administrator\naccounts.json\n0\n", after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}

	t.Run("and knows them when it comes back", func(t *testing.T) {
		r.T = t
		r.p.lying(nil)
		r.p.mu.Lock()
		r.p.enrolled, r.p.thumbprint, r.p.reports, r.p.events = 0, "", nil, nil
		r.p.mu.Unlock()
		r.write("/var/lib/cardea-server-agent/enrollment.token", r.p.secret+"\n", 0o600)
		r.start()
		r.p.confirmed(r.p.state.Version)
		r.mayEnter(r.person("alice", true), "sudo", "-n", "true")
	})
}

func TestAHostThatIsOnlyLetGoStaysAsItIs(t *testing.T) {
	t.Parallel()
	r, root, before := enrolled(t, "true")
	r.stop()
	was := r.etc()
	out, err := r.unenroll()
	if err != nil || !strings.Contains(out, "people with certificates can enter for 168h0m0s at most") || !strings.Contains(out, "the control plane was told") {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff(was, r.etc()); diff != "" {
		t.Errorf("/etc:\n%s", diff)
	}
	r.mayEnter(r.person("alice", true), "true")
	if got := r.sh("ls -A /var/lib/cardea-server-agent"); got != "accounts.json\n" {
		t.Errorf("the agent's folder: %s", got)
	}
	if out, err := r.unenroll("remove"); err != nil {
		t.Fatalf("put back later: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, r.etc()); diff != "" {
		t.Errorf("/etc after it was put back:\n%s", diff)
	}
	r.rootMayEnter(root)
}

// The run is killed before one of its steps, any of them over many runs of the
// test. Root can always enter, and the same command finishes the work.
func TestARestoreThatIsKilledAnywhereIsFinishedByTheNext(t *testing.T) {
	const steps, tried = 16, 2
	for _, die := range some(t, tried, upTo(steps)) {
		t.Run(strconv.Itoa(die), func(t *testing.T) {
			t.Parallel()
			r, root, before := enrolled(t, "sed -i /Include/d /etc/ssh/sshd_config")
			r.stop()
			_, err := r.h.Run(t.Context(), "/usr/bin/env", "CARDEA_TEST_AGENT=1", "CARDEA_TEST_DIE_AT="+strconv.Itoa(die), agentPath, "unenroll", "remove")
			r.rootMayEnter(root)
			if err != nil {
				if out, err := r.unenroll("remove"); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			if diff := cmp.Diff(before, r.etc()); diff != "" {
				t.Errorf("/etc:\n%s", diff)
			}
			r.rootMayEnter(root)
		})
	}
}
