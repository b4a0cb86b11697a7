package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// controlContent is every path with its mode that a package of the control plane brings.
const controlContent = `
0755 /etc/cardea/
0640 /etc/cardea/control.yaml
0755 /usr/bin/cardea-control
0644 /usr/lib/systemd/system/cardea-control.service
0644 /usr/share/doc/cardea-control/accounts.md
0644 /usr/share/doc/cardea-control/break-glass.md
0644 /usr/share/doc/cardea-control/control-plane.md
0644 /usr/share/doc/cardea-control/copyright
0644 /usr/share/doc/cardea-control/dashboard.md
0644 /usr/share/doc/cardea-control/devices.md
0644 /usr/share/doc/cardea-control/live-sessions.md
0644 /usr/share/doc/cardea-control/programs.md
0644 /usr/share/doc/cardea-control/provisioning.md
0644 /usr/share/doc/cardea-control/recorded-sessions.md
0644 /usr/share/doc/cardea-control/requests.md
0644 /usr/share/doc/cardea-control/rotation.md
0644 /usr/share/doc/cardea-control/single-sign-on-entra.md
0644 /usr/share/doc/cardea-control/single-sign-on-google.md
0644 /usr/share/doc/cardea-control/single-sign-on-keycloak.md
0644 /usr/share/doc/cardea-control/single-sign-on-okta.md
0644 /usr/share/doc/cardea-control/single-sign-on.md
0644 /usr/share/man/man8/cardea-control.8
0700 /var/lib/cardea-control/
`

// TestTheLifeOfAControlPlanesPackage: it is installed, makes a team, is upgraded in place,
// removed, purged and installed again, and the team is the same at the end.
func TestTheLifeOfAControlPlanesPackage(t *testing.T) {
	t.Parallel()
	for _, m := range managers {
		t.Run(m.format, func(t *testing.T) {
			t.Parallel()
			need(t, m.program)
			h := newHost(t, true)
			h.sh("rm -f /usr/sbin/policy-rc.d")
			before := h.etc()
			install := func(folder string) string {
				return h.sh(m.install + filepath.Join(inside, folder, filepath.Base(packageFile(t, folder, "cardea-control", m.format))))
			}
			const (
				pid    = "systemctl show -P MainPID cardea-control"
				answer = "bash -c ': </dev/tcp/127.0.0.1/7080'"
			)
			if said := install("old"); !strings.Contains(said, "cardea-control init --team NAME") {
				t.Errorf("it does not say what to type: %s", said)
			}
			h.is("inactive", "systemctl is-active cardea-control") // there is no team
			h.is("700 cardea-control:cardea-control", "stat -c '%a %U:%G' /var/lib/cardea-control")
			h.is("640 root:cardea-control", "stat -c '%a %U:%G' /etc/cardea/control.yaml")

			out, err := h.try("cardea-control init --team example")
			if err == nil || !strings.Contains(out, "runuser -u cardea-control -- cardea-control init") {
				t.Errorf("root made what the service cannot write, or was not told how: %v %s", err, out)
			}
			out = h.sh("runuser -u cardea-control -- cardea-control init --team example")
			if !strings.Contains(out, "systemctl enable --now cardea-control") {
				t.Errorf("init does not say how to start the service: %s", out)
			}
			h.sh("systemctl enable -q --now cardea-control")
			h.eventually("systemctl is-active -q cardea-control && " + answer)
			h.is("cardea-control", "ps -o user:20= -p $("+pid+") | tr -d ' '")
			team := h.sh("sha256sum /var/lib/cardea-control/kek")

			for _, step := range []string{"new", "old", "new"} {
				first := h.sh(pid)
				install(step)
				h.eventually("test $(" + pid + ") != " + first + " && systemctl is-active -q cardea-control && " + answer)
			}
			h.is("0", "systemctl show -P NRestarts cardea-control")
			h.is("640 root:cardea-control", "stat -c '%a %U:%G' /etc/cardea/control.yaml")
			h.is("700 cardea-control:cardea-control", "stat -c '%a %U:%G' /var/lib/cardea-control")

			h.sh(strings.ReplaceAll(m.remove, "cardea-server-agent", "cardea-control"))
			h.is("", "pgrep -x cardea-control || true")
			if m.format == "deb" {
				if out := h.sh(strings.ReplaceAll(purge, "cardea-server-agent", "cardea-control")); !strings.Contains(out, "rm -r /var/lib/cardea-control") {
					t.Errorf("the purge does not say what stays: %s", out)
				}
			}
			h.is(team, "sha256sum /var/lib/cardea-control/kek")
			install("new")
			h.sh("systemctl enable -q --now cardea-control")
			h.eventually("systemctl is-active -q cardea-control && " + answer)
			h.is(team, "sha256sum /var/lib/cardea-control/kek")
			h.is("", "journalctl --no-pager -q -p err -u cardea-control || true")

			if m.format != "deb" {
				return
			}
			h.sh(strings.ReplaceAll(purge, "cardea-server-agent", "cardea-control") + "; rm -r /var/lib/cardea-control")
			leavesNothing(h, before)
		})
	}
}

// leavesNothing compares what is left of a purged service with what was before. Its
// account stays: the number must not be somebody else's, who would own what is left.
func leavesNothing(h *host, before string) {
	h.Helper()
	for _, c := range changes(before, h.etc()) {
		if !strings.Contains(c, "etc/passwd") && !strings.Contains(c, "etc/shadow") && !strings.Contains(c, "etc/group") && !strings.Contains(c, "etc/gshadow") {
			h.Errorf("after the purge: %s", c)
		}
	}
}
