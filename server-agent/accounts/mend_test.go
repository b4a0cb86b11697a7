package accounts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShadowAndGshadowAreBroughtInStep(t *testing.T) {
	reg := Register{
		Accounts: map[int]OwnedAccount{70001: {Login: "alice"}, 70002: {Login: "carol"}},
		Groups:   map[int]OwnedGroup{70001: {Name: "alice", Kind: kindOwn}, 70002: {Name: "carol", Kind: kindOwn}, 80001: {Name: "ops", Kind: kindProject}, 80002: {Name: "dev", Kind: kindProject}},
	}
	const passwd, group = "root:x:0:0::/:/bin/sh\nalice:x:70001:70001::/home/alice:/bin/sh\n", "root:x:0:\nwheel:x:10:root\nalice:x:70001:\nops:x:80001:alice\n"
	const shadow, gshadow = "root:*:1::::::\nalice:*:1::::::\n", "root:*::\nwheel:!::root\nalice:!::\nops:!::alice\n"
	for _, tc := range []struct {
		name, group, shadow, gshadow string
		names                        string
		wantShadow, wantGshadow      string
	}{
		{"files in step are left alone", group, shadow, gshadow, "", shadow, gshadow},
		{"another order of members is in step", "ops:x:80001:alice,root\n", shadow, "ops:!::root,alice\n", "", shadow, "ops:!::root,alice\n"},
		{"a line of somebody of ours who is gone goes", group, shadow + "carol:*:1::::::\n", gshadow + "carol:!::\n", "carol", shadow, gshadow},
		{"a line of somebody else's stays, whatever it says", group, shadow + "ghost:*:1::::::\n", gshadow + "ghost:!::\n", "", shadow + "ghost:*:1::::::\n", gshadow + "ghost:!::\n"},
		{"a group of ours without a line gets one", group, shadow, "root:*::\nwheel:!::root\nalice:!::\n", "ops", shadow, gshadow},
		{"also behind a last line without an end", group, shadow, "root:*::\nwheel:!::root\nalice:!::", "ops", shadow, gshadow},
		{"members are those of group, and who may change it stays", group, shadow, "ops:!:root:carol\nalice:!::\n", "ops", shadow, "ops:!:root:alice\nalice:!::\n"},
		{"a group of somebody else's is not ours to mend", group, shadow, "root:*::\nwheel:!::\nalice:!::\nops:!::alice\n", "", shadow, "root:*::\nwheel:!::\nalice:!::\nops:!::alice\n"},
		{"nor is one by the name of ours with another gid", strings.Replace(group, "80001", "999", 1), shadow, "alice:!::\nops:!::\n", "", shadow, "alice:!::\nops:!::\n"},
		{"a group that the host removed goes from gshadow", "root:x:0:\nalice:x:70001:\n", shadow, "ops:!::alice\nalice:!::\n", "ops", shadow, "alice:!::\n"},
		{"a comment stays", group, shadow, gshadow + "# by hand\n", "", shadow, gshadow + "# by hand\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			names, mended := outOfStep(map[string][]byte{"passwd": []byte(passwd), "group": []byte(tc.group), "shadow": []byte(tc.shadow), "gshadow": []byte(tc.gshadow)}, reg)
			if got := strings.Join(names, " "); got != tc.names {
				t.Errorf("names %q, want %q", got, tc.names)
			}
			if diff := cmp.Diff([]string{tc.wantShadow, tc.wantGshadow}, []string{string(mended["shadow"]), string(mended["gshadow"])}); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a host without gshadow gets none", func(t *testing.T) {
		names, mended := outOfStep(map[string][]byte{"passwd": []byte(passwd), "group": []byte(group), "shadow": []byte(shadow)}, reg)
		if _, made := mended["gshadow"]; made || len(names) > 0 {
			t.Errorf("%v %v", names, mended)
		}
	})
}
