package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
)

// manager is a package manager, and what is customary with it.
type manager struct {
	format, program string
	install, remove string
	enrol           string
	startsAtOnce    bool
}

var managers = []manager{
	{
		format: "deb", program: "dpkg",
		install: "dpkg -i --force-unsafe-io ", remove: "dpkg --remove --force-unsafe-io cardea-server-agent",
		enrol: "systemctl restart cardea-server-agent", startsAtOnce: true,
	},
	{
		format: "rpm", program: "rpm",
		install: "rpm -U --nodeps --force-debian --oldpackage ", remove: "rpm -e --nodeps --force-debian cardea-server-agent",
		enrol: "systemctl enable --now cardea-server-agent",
	},
}

// file is a package as the host sees it.
func (m manager) file(h *host, folder string) string {
	h.Helper()
	return filepath.Join(inside, folder, filepath.Base(packageFile(h.T, folder, "cardea-server-agent", m.format)))
}

const purge = "dpkg --purge --force-unsafe-io cardea-server-agent"

// The whole life of a package on a host that systemd runs, with alice's session
// open and root looking in after every step.
func TestTheLifeOfAPackage(t *testing.T) {
	t.Parallel()
	for _, m := range managers {
		t.Run(m.format, func(t *testing.T) {
			t.Parallel()
			need(t, m.program)
			port := freePort(t)
			h := newHost(t, true, forward(port))
			h.sh("rm -f /usr/sbin/policy-rc.d") // images and test machines have one
			before := h.etc()

			h.sh(m.install + m.file(h, "old"))
			h.enterable("after the installation")
			if m.startsAtOnce {
				h.is("enabled", "systemctl is-enabled cardea-server-agent")
				h.is("active", "systemctl is-active cardea-server-agent")
				h.is("1", "systemctl show -P StatusText cardea-server-agent | grep -c '^waits for '")
				h.is("0", "systemctl show -P NRestarts cardea-server-agent")
			} else {
				h.is("inactive", "systemctl is-active cardea-server-agent")
			}
			h.is("700 root:root", "stat -c '%a %U:%G' /var/lib/cardea-server-agent")

			alice := newTeam(h, port, m.enrol)
			alice.join()
			h.enterable("after the enrolment")
			h.eventually("systemctl show -P StatusText cardea-server-agent | grep -q 'is in force, accounts: 1$'")
			ended := alice.open()
			config := h.sh("sha256sum /etc/cardea/server-agent.yaml")

			for _, step := range []struct{ what, folder, version string }{
				{"after the upgrade", "new", newVersion}, {"after the downgrade", "old", oldVersion}, {"after the second upgrade", "new", newVersion},
			} {
				pid := h.sh("systemctl show -P MainPID cardea-server-agent")
				h.sh(m.install + m.file(h, step.folder))
				h.eventually("systemctl is-active -q cardea-server-agent && test $(systemctl show -P MainPID cardea-server-agent) != " + pid)
				if got := h.sh("cardea-server-agent version"); !strings.Contains(got, "v"+step.version+" ") {
					t.Errorf("%s the program is %q", step.what, got)
				}
				h.is(config, "sha256sum /etc/cardea/server-agent.yaml")
				ended.lives(step.what)
				h.enterable(step.what)
				alice.mayWork(step.what)
			}
			h.is("0", "systemctl show -P NRestarts cardea-server-agent")
			h.is("", "journalctl --no-pager -q -p err -u cardea-server-agent | grep -v 'not enrolled yet' || true")

			leaves(h, alice)
			out := h.sh(m.remove)
			if !strings.Contains(out, "people with certificates can enter for seven days at most") {
				t.Errorf("the removal does not say what stays: %s", out)
			}
			h.is("", "pgrep -x cardea-server-a || true")
			ended.lives("after the removal")
			h.enterable("after the removal")
			alice.mayWork("after the removal")
			if m.format == "deb" {
				purged(h, alice, ended, before)
			}
		})
	}
}

// left is what differs on a purged host from what it was before: accounts, locked
// and with their homes, which no package removes.
var left = regexp.MustCompile(`^\+1 (home/(alice|bob)( |/)|var/lib/cardea-server-agent( d|/accounts.json f))|^[+-]1 [0-9a-f]{64}  etc/(passwd|shadow|group|gshadow)$`)

// purged purges a removed deb and looks at what is left.
func purged(h *host, alice *team, open *session, before string) {
	h.Helper()
	said := open.say("sudo -n " + purge + " 2>&1 | tail -n 8")
	if !strings.Contains(said, "not purged: you came in as alice") {
		h.Errorf("alice would lock herself out: %q", said)
	}
	open.lives("after she tried to purge")
	alice.mayWork("after she tried to purge")

	h.Log(h.sh(purge))
	h.enterable("after the purge")
	alice.mayNotEnter("after the purge")
	h.is("", "pgrep -u alice || true")
	h.is("1", "getent shadow alice | cut -d: -f8") // the day on which the account ended
	h.is("", "ls /etc/ssh/cardea /etc/ssh/sshd_config.d /etc/sudoers.d 2>/dev/null | grep -i cardea || true")
	for _, c := range changes(before, h.etc()) {
		if !left.MatchString(c) {
			h.Errorf("after the purge: %s", c)
		}
	}
}

// leaves has bob come and go, with a service of his own and lingering: what the
// unit forbids the agent must not keep it from ending him.
func leaves(h *host, t *team) {
	h.Helper()
	ctx := h.Context()
	h.sh(`for on in created deleted; do
		printf '#!/bin/sh\nid -u "$CARDEA_LOGIN" >/var/tmp/hook-%s\n' $on | install -m 755 /dev/stdin /usr/lib/cardea-server-agent/hooks/user-$on.d/note
	done`)
	if _, err := t.AddUser(ctx, "bob"); err != nil {
		h.Fatal(err)
	}
	if err := t.Client().Send(ctx, "PUT", "/v1/groups/ops/members/bob", api.NewMember{}, nil); err != nil {
		h.Fatal(err)
	}
	h.eventually("getent passwd bob && loginctl enable-linger bob && systemctl is-active user@$(id -u bob)")
	h.sh("echo '* * * * * true' | install -o bob -m 600 /dev/stdin /var/spool/cron/crontabs/bob 2>/dev/null || true; systemd-run -q --uid=bob sleep infinity")
	if err := t.Client().Send(ctx, "DELETE", "/v1/users/bob", nil, nil); err != nil {
		h.Fatal(err)
	}
	h.eventually("! pgrep -u bob && test \"$(getent shadow bob | cut -d: -f8)\" = 1 && test ! -e /var/lib/systemd/linger/bob && test ! -e /var/spool/cron/crontabs/bob")
	h.eventually("cmp /var/tmp/hook-created /var/tmp/hook-deleted && grep -qx \"$(id -u bob)\" /var/tmp/hook-created")
	h.sh("rm -r /var/tmp/hook-created /var/tmp/hook-deleted /usr/lib/cardea-server-agent/hooks/*/note")
	h.enterable("after bob left")
}

// What must not be started is not, and what was never enrolled leaves nothing.
func TestAPackageOnHostsThatStartNothing(t *testing.T) {
	t.Parallel()
	const forbid = "printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d"
	for _, tc := range []struct {
		name, before, after string
		systemd             bool
	}{
		{"with systemd and a policy that forbids it", forbid, "", true},
		{"with systemd, where an administrator has switched it off", "rm -f /usr/sbin/policy-rc.d", "systemctl disable --now cardea-server-agent", true},
		{"without systemd, as where an image is built", "", "", false},
		{"with another folder in the place of /etc/cardea", "mkdir -p /srv/cardea; ln -s /srv/cardea /etc/cardea", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			need(t, "dpkg")
			m := managers[0]
			h := newHost(t, tc.systemd)
			h.sh(tc.before)
			before := h.etc()
			for _, step := range []string{m.install + m.file(h, "old") + "\n" + tc.after, m.install + m.file(h, "new")} {
				h.sh(step)
				h.is("", "pgrep -x cardea-server-a || true")
				h.is("1", "grep -c '^#control_url' /etc/cardea/server-agent.yaml")
			}
			h.is("ok", "cardea-server-agent config >/dev/null && echo ok")
			if out := h.sh(m.remove); strings.Contains(out, "seven days") {
				t.Errorf("the removal speaks of people on a host that was never enrolled: %s", out)
			}
			h.sh("test -e /etc/cardea/server-agent.yaml") // a removal keeps what was configured
			h.sh(purge)
			h.enterable("after the purge")
			for _, c := range changes(before, h.etc()) {
				if c != "-1 etc/cardea l 777 root:root /srv/cardea" { // dpkg takes it for the folder
					t.Errorf("after the purge: %s", c)
				}
			}
		})
	}
}

// An agent that hangs is started again: systemd sees it by the watchdog.
func TestAnAgentThatHangsIsStartedAgain(t *testing.T) {
	if os.Getenv(filesVariable) == "" {
		t.Skip("SKIPPED: it takes half a minute; type: make test-packages")
	}
	t.Parallel()
	m := managers[0]
	need(t, m.program)
	h := newHost(t, true)
	h.sh("rm -f /usr/sbin/policy-rc.d")
	h.sh("mkdir -p /etc/systemd/system/cardea-server-agent.service.d; printf '[Service]\nWatchdogSec=15\nTimeoutAbortSec=1\nRestartSec=0\n' >/etc/systemd/system/cardea-server-agent.service.d/fast.conf")
	h.sh(m.install + m.file(h, "new"))
	const pid = "systemctl show -P MainPID cardea-server-agent"
	first := h.sh(pid)
	h.sh("sleep 20") // longer than the watchdog waits
	h.is(first, pid)
	h.sh("kill -STOP " + first)
	h.eventually("test \"$(" + pid + ")\" != " + first + " && systemctl is-active -q cardea-server-agent")
	h.is("watchdog", "journalctl --no-pager -u cardea-server-agent | grep -o 'result .watchdog' | grep -o watchdog")
}
