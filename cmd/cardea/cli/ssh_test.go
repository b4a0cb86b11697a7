//go:build unix

package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/internal/ident"
)

func TestSSHIsPassedADescriptorUnlessTheGatewayIsFar(t *testing.T) {
	a, _, _ := testApp(t)
	a.paths = agent.Paths{Run: "/run/user/1/cardea", State: "/home/alice/state", SSH: "/home/alice/.ssh/cardea"}
	for far, want := range map[bool]bool{false: true, true: false} {
		c := agent.Connected{ServerID: ident.New(ident.Server), ServerName: "web-1", Login: "alice", Far: far}
		args, err := a.sshArgs(sshOptions{host: "web-1"}, c)
		if err != nil {
			t.Fatal(err)
		}
		passes := slices.Contains(args, "ProxyUseFdpass yes")
		helper := slices.ContainsFunc(args, func(s string) bool { return strings.HasPrefix(s, "ProxyCommand ") && strings.Contains(s, "--fdpass") })
		if passes != want || helper != want {
			t.Errorf("far: %v; ssh takes a descriptor: %v, the helper passes one: %v", far, passes, helper)
		}
	}
}
