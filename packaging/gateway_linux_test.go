package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// gatewayContent is every path with its mode that a package of the gateway brings.
const gatewayContent = `
0755 /etc/cardea/
0644 /etc/cardea/gateway.yaml
0755 /usr/bin/cardea-gateway
0644 /usr/lib/systemd/system/cardea-gateway.service
0644 /usr/share/doc/cardea-gateway/copyright
0644 /usr/share/doc/cardea-gateway/gateway.md
0644 /usr/share/doc/cardea-gateway/record-mode.md
0644 /usr/share/doc/cardea-gateway/recording-storage.md
0644 /usr/share/doc/cardea-gateway/recording.md
0644 /usr/share/man/man8/cardea-gateway.8
0700 /var/lib/cardea-gateway/
`

// TestAGatewaysPackageIsUpgradedWithoutAPause: the gateway of a package serves all the time
// while another version is put over it, and its process is the new one then.
func TestAGatewaysPackageIsUpgradedWithoutAPause(t *testing.T) {
	t.Parallel()
	for _, m := range managers {
		t.Run(m.format, func(t *testing.T) {
			t.Parallel()
			need(t, m.program)
			port := freePort(t)
			h := newHost(t, true, forward(port))
			h.sh("rm -f /usr/sbin/policy-rc.d")
			before := h.etc()
			file := func(folder string) string {
				return filepath.Join(inside, folder, filepath.Base(packageFile(t, folder, "cardea-gateway", m.format)))
			}
			h.sh(m.install + file("old"))
			h.is("inactive", "systemctl is-active cardea-gateway") // nothing to do before it is enrolled
			h.is("700 cardea-gateway:cardea-gateway", "stat -c '%a %U:%G' /var/lib/cardea-gateway")

			team := newTeam(h, port, "true")
			address := h.Addr().String() + ":7234"
			var token api.EnrolmentToken
			in := api.NewEnrolmentToken{Kind: "gateway", Name: "gw-1", Address: address, Egress: []string{h.Addr().String()}}
			if err := team.Client().Send(t.Context(), "POST", "/v1/enrolment-tokens", in, &token); err != nil {
				t.Fatal(err)
			}
			h.sh(fmt.Sprintf(`umask 077; printf '\ncontrol_url: http://127.0.0.1:%d\n' >>/etc/cardea/gateway.yaml
				echo %s >/var/lib/cardea-gateway/enrollment.token; systemctl enable -q --now cardea-gateway`, port, token.Secret))
			const pid = "systemctl show -P MainPID cardea-gateway"
			h.eventually("systemctl is-active -q cardea-gateway && test ! -e /var/lib/cardea-gateway/enrollment.token")
			h.is("cardea-gateway", "ps -o user:20= -p $("+pid+") | tr -d ' '")

			refused := h.knocks(t, address)
			for _, step := range []string{"new", "old", "new"} {
				first := h.sh(pid)
				h.sh(m.install + file(step))
				h.eventually("test $(" + pid + ") != " + first + " && systemctl is-active -q cardea-gateway && ! kill -0 " + first + " 2>/dev/null")
			}
			h.is("1", `readlink /proc/$(`+pid+`)/exe | grep -c '^/usr/bin/cardea-gateway$'`)
			h.is("0", "systemctl show -P NRestarts cardea-gateway")
			if err := refused(); err != nil {
				t.Errorf("somebody came during an upgrade: %v", err)
			}
			// A program that does not run changes nothing.
			h.sh("cp /usr/bin/cardea-gateway /root/good; printf '#!/bin/sh\nexit 1\n' >/root/bad; chmod 755 /root/bad; mv /root/bad /usr/bin/cardea-gateway")
			first := h.sh(pid)
			h.sh("systemctl reload cardea-gateway")
			h.eventually("journalctl --no-pager -u cardea-gateway | grep -q 'this one goes on'")
			h.is(first, pid)
			h.sh("cp /root/good /root/again; mv /root/again /usr/bin/cardea-gateway; rm /root/good")
			h.sh("systemctl stop cardea-gateway")
			h.is("success", "systemctl show -P Result cardea-gateway")

			h.sh(strings.ReplaceAll(m.remove, "cardea-server-agent", "cardea-gateway"))
			if m.format != "deb" {
				return
			}
			h.sh("dpkg --purge --force-unsafe-io cardea-gateway")
			leavesNothing(h, before)
		})
	}
}

// knocks dials an address of the host all the time, until the returned function is called,
// which tells of the first failure.
func (h *host) knocks(t *testing.T, address string) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var first error
		for ctx.Err() == nil {
			var conn net.Conn
			conn, err := h.network.Dial(ctx, "tcp", address)
			if err == nil {
				conn.Close()
			} else if first == nil && ctx.Err() == nil {
				first = err
			}
			time.Sleep(5 * time.Millisecond)
		}
		done <- first
	}()
	return func() error { cancel(); return <-done }
}
