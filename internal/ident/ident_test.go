package ident

import (
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := New(User)
		if err := Check(id, User); err != nil {
			t.Fatal(err)
		}
		if len(id) != len("usr_")+20 {
			t.Fatalf("%q has %d characters", id, len(id))
		}
		if seen[id] {
			t.Fatalf("%q was made twice", id)
		}
		seen[id] = true
	}
}

func TestCheckRefuses(t *testing.T) {
	good := strings.Repeat("a", 20)
	for name, id := range map[string]string{
		"an id of another kind":      "srv_" + good,
		"an empty id":                "",
		"a prefix alone":             "usr_",
		"19 characters":              "usr_" + good[1:],
		"21 characters":              "usr_a" + good,
		"an upper-case letter":       "usr_A" + good[1:],
		"a digit that base32 lacks":  "usr_1" + good[1:],
		"a line end at the end":      "usr_" + good[1:] + "\n",
		"a path":                     "usr_../" + good[3:],
		"a prefix without separator": "usr" + good + "a",
	} {
		if Check(id, User) == nil {
			t.Errorf("%s is accepted: %q", name, id)
		}
	}
}

// hostile are forms that useradd, visudo, a shell or ssh read as something else.
var hostile = []string{
	"", "ALL", "#0", "%admin", "+ops", "../../x", "..", ".", "a/b", "-oProxyCommand=touch /tmp/x", "-a", "a b", " a", "a ",
	"a\nb:x:0:0", "a\n", "\na", "a:b", "0", "123", "alice$", "aé", "а", "a\x00", "a\x00b", "Alice", "a,b", "a;id", "$(id)", "`id`",
	"%h%r", "a*", "?", "!a", "a=b", `a\b`, `a"b`, "a'b", "a@b", "a\tb", "a\u202eb", "a\xff", "~root", "a..b", ".a", "a.", "-",
	strings.Repeat("a", 300), "NOPASSWD: ALL", "#include", "@includedir", "*",
}

func TestEveryGrammarRefusesHostileNames(t *testing.T) {
	for kind, check := range map[string]func(string) error{
		"login": Login, "group": Group, "server": ServerName, "project": ProjectName, "entitlement": EntitlementName, "provider": ProviderName,
	} {
		for _, s := range hostile {
			if check(s) == nil {
				t.Errorf("%s name %q is accepted", kind, s)
			}
		}
	}
	for _, s := range hostile {
		// Upper case, and dots and digits inside, are fine in a label.
		if s == "ALL" || s == "Alice" || s == "a..b" || s == "0" || s == "123" {
			continue
		}
		if LabelKey(s) == nil || HostLabelKey("host/"+s) == nil || LabelValue(s) == nil {
			t.Errorf("label %q is accepted", s)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		name  string
		check func(string) error
		ok    []string
		bad   []string
	}{
		{"a login is a lower-case Unix name of at most 32 characters", Login,
			[]string{"a", "alice", "_x", "a-b", "a_b", "bob2", "j", strings.Repeat("a", 32)},
			[]string{strings.Repeat("a", 33), "-a", "2bob"}},
		{"a login is not one that systems come with", Login,
			[]string{"rooted", "alice-admin", "cardea-fan", "gitta"},
			[]string{"root", "toor", "daemon", "nobody", "www-data", "sshd", "postgres", "systemd-network", "systemd-anything", "_apt", "_chrony", "cardea-canary", "cardea-gateway", "ubuntu", "all"}},
		{"a login is not a privileged group, whose name its own group would take", Login,
			nil, []string{"sudo", "wheel", "admin", "docker", "shadow", "adm", "disk", "lxd"}},
		{"a group follows the same rules", Group,
			[]string{"ops", "dev-team"}, []string{"sudo", "wheel", "docker", "root", "cardea-canary", "Ops"}},
		{"a server's name is a host name", ServerName,
			[]string{"web-1", "db", "1a", "a1", "web-1.eu.example.com", "10-0-0-1", "0xg", strings.Repeat("a", 63), strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a"},
			[]string{strings.Repeat("a", 64), "web-", "-web", "Web", "web_1", "web..x", ".web", "web.", "localhost", "x.localhost", strings.Repeat(strings.Repeat("a", 62)+".", 4) + "ab"}},
		{"a server's name cannot be read as an address", ServerName,
			nil, []string{"1", "127.1", "10.0.0.1", "127.0.0.1", "::1", "web.1", "1.web", "0x7f000001", "a.0x1", "0x"}},
		{"a project's name begins with a letter", ProjectName,
			[]string{"p", "prod", "prod-eu-1", strings.Repeat("a", 40)},
			[]string{strings.Repeat("a", 41), "1st", "prod-", "prod_eu", "prod.eu"}},
		{"a label's key may not claim to come from the host", LabelKey,
			[]string{"env", "team.name", "a", "a_b", strings.Repeat("a", 63)},
			[]string{"host/env", "host/", "Env", "a/b", strings.Repeat("a", 64), "a.", "1a"}},
		{"a host's own label must say so", HostLabelKey,
			[]string{"host/env", "host/" + strings.Repeat("a", 63)},
			[]string{"env", "host/", "host/host/env", "Host/env", "host/" + strings.Repeat("a", 64)}},
		{"a label's value may have capitals", LabelValue,
			[]string{"prod", "EU-1", "v1.2", "1", strings.Repeat("a", 63)},
			[]string{"", strings.Repeat("a", 64), "a/b", "-a", "a-", "a=b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, s := range tc.ok {
				if err := tc.check(s); err != nil {
					t.Errorf("refused: %v", err)
				}
			}
			for _, s := range tc.bad {
				if tc.check(s) == nil {
					t.Errorf("%q is accepted", s)
				}
			}
		})
	}
}

func TestAnErrorRepeatsAHostileNameShortAndEscaped(t *testing.T) {
	msg := Login("\x1b[2J" + strings.Repeat("é", 10_000)).Error()
	if strings.ContainsAny(msg, "\x1b\n") || len(msg) > 600 {
		t.Errorf("the message is not safe to show: %q", msg)
	}
}

func TestText(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain text stays", "web-1 is up", "web-1 is up"},
		{"letters of any script stay", "Łódź 東京", "Łódź 東京"},
		{"an escape sequence is shown", "\x1b[31mred", `\x1b[31mred`},
		{"a line end cannot start a second line", "a\r\nb", `a\r\nb`},
		{"C1 controls are shown", "a\u009bb", `a\u009bb`},
		{"direction changes are shown", "a\u202eb", `a\u202eb`},
		{"invisible characters are shown", "a\u200bb\ufeff", `a\u200bb\ufeff`},
		{"broken UTF-8 is shown byte by byte", "a\xff\xc0", `a\xff\xc0`},
		{"a backslash is doubled", `\x1b`, `\\x1b`},
		{"a quote stays", `it's "x"`, `it's "x"`},
		{"the replacement character itself stays", "\ufffd", "\ufffd"},
		{"a quote beside an escape stays whole", "'\n'", `'\n'`},
	} {
		if got := Text(tc.in); got != tc.want {
			t.Errorf("%s: Text(%q) = %q, want %q", tc.name, tc.in, got, tc.want)
		}
	}
}
