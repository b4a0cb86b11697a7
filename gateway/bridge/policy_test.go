package bridge

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/recording"
)

// good is a payload that parses, for each rule.
func good(r rule) []byte {
	for _, p := range [][]byte{
		nil, {1}, {0, 0, 0, 1},
		ssh.Marshal(text{subsystemSFTP}), ssh.Marshal(variable{"A", "b"}), ssh.Marshal(resize{1, 2, 3, 4}), ssh.Marshal(ptyRequest{Term: "xterm"}),
		ssh.Marshal(addressPair{"h", 1, "o", 2}), ssh.Marshal(directUnix{Path: "/x"}), ssh.Marshal(forwardedUnix{Path: "/x"}), ssh.Marshal(origin{"h", 1}),
		ssh.Marshal(x11Request{Protocol: "p", Cookie: "c"}), ssh.Marshal(exitSignal{Signal: "TERM"}), ssh.Marshal(listenTCP{"h", 1}),
	} {
		if _, err := r.read(p); err == nil {
			return p
		}
	}
	return nil
}

func TestTheTableIsAllThatPasses(t *testing.T) {
	t.Parallel()
	seen := map[ruleKey]bool{}
	for _, r := range rules() {
		key := ruleKey{r.place, r.from, r.name}
		if seen[key] {
			t.Errorf("%s is there twice", r.name)
		}
		seen[key] = true
		payload := good(r)
		for name, tc := range map[string]struct {
			policy Policy
			want   bool
		}{
			"nothing":         {Policy{}, r.needs == always},
			"port forwarding": {Policy{PortForwarding: true}, r.needs == always || r.needs == forwarding},
			"the agent":       {Policy{AgentForwarding: true}, r.needs == always || r.needs == agent},
			"X11":             {Policy{X11: true}, r.needs == always || r.needs == x11},
			"everything":      {Policy{true, true, true}, r.needs != ignored},
		} {
			v := tc.policy.judge(r.place, r.from, r.name, payload)
			if v.pass != tc.want || v.pass && v.told != "" || !v.pass && (v.told == "") != (r.needs == ignored) {
				t.Errorf("%s with %s allowed: %+v", r.name, name, v)
			}
		}
		for _, other := range []ruleKey{{r.place, fromUser + fromServer - r.from, r.name}, {r.place, r.from, r.name + "x"}, {r.place, r.from, strings.ToUpper(r.name)}} {
			if _, known := policyTable[other]; known {
				continue
			}
			if v := (Policy{true, true, true}).judge(other.place, other.from, other.name, payload); v.pass || v.told == "" {
				t.Errorf("%s passes as %+v", r.name, other)
			}
		}
		if r.needs != ignored && len(payload) > 0 {
			if v := (Policy{true, true, true}).judge(r.place, r.from, r.name, append(payload, 0)); v.pass && r.name != "keepalive@openssh.com" {
				t.Errorf("%s passes with something behind it", r.name)
			}
		}
	}
	for _, name := range []string{"", "tun@openssh.com", "session\x00", "direct-tcpip2", strings.Repeat("x", 1<<20), "\x1b]0;title\x07"} {
		for _, at := range []place{channelOpen, sessionRequest, channelRequest, globalRequest} {
			v := (Policy{true, true, true}).judge(at, fromUser, name, nil)
			if v.pass || len(v.told) > 200 || strings.ContainsAny(v.told, "\x1b\x00\x07") {
				t.Errorf("%.20q: %+v", name, v)
			}
		}
	}
}

// FuzzPolicy has no payload of any name panic, and nothing be recorded that no event can hold.
func FuzzPolicy(f *testing.F) {
	table := rules()
	for i, r := range table {
		f.Add(uint(i), r.name, good(r))
	}
	f.Fuzz(func(t *testing.T, i uint, name string, payload []byte) {
		r := table[i%uint(len(table))]
		for _, name := range []string{r.name, name} {
			v := (Policy{true, true, true}).judge(r.place, r.from, name, payload)
			if v.pass && v.told != "" || len(v.told) > 300 {
				t.Errorf("%q: %+v", name, v)
			}
			rec := &memory{}
			b := &bridge{}
			b.rec.init(rec, true, recordTime, func() {})
			if v.pass {
				if err := b.note(1, v.record); err != nil {
					t.Error(err)
				}
			}
			for _, e := range rec.events {
				if len(e.Data) > recording.MaxData {
					t.Errorf("an event of %d bytes", len(e.Data))
				}
			}
		}
	})
}
