package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFileOfPolicyTestsHasBounds(t *testing.T) {
	const line = "  - {user: bob, server: web-1, expect: deny}\n"
	for name, c := range map[string]struct {
		text string
		want string // of the error; "" for none
	}{
		"as many as there may be": {"tests:\n" + strings.Repeat(line, maxPolicyTests), ""},
		"one more":                {"tests:\n" + strings.Repeat(line, maxPolicyTests+1), "has 1001 tests"},
		"none":                    {"", "has 0 tests"},
		"as long as it may be":    {"tests:\n" + line + "#" + strings.Repeat("x", maxPolicyFile-len("tests:\n"+line)-1), ""},
		"a byte longer":           {"tests:\n" + line + "#" + strings.Repeat("x", maxPolicyFile-len("tests:\n"+line)), "longer than 1048576 bytes"},
	} {
		file := filepath.Join(t.TempDir(), "access.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readPolicy(file, time.Now)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || exitOf(err) != ExitUsage) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPolicyTestsThatSayNothingAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no user":                  "{server: web-1, expect: deny}",
		"no server":                "{user: bob, expect: deny}",
		"no verdict":               "{user: bob, server: web-1}",
		"another verdict":          "{user: bob, server: web-1, expect: ALLOW}",
		"a role where it is no":    "{user: bob, server: web-1, expect: deny, role: user}",
		"an unknown role":          "{user: bob, server: web-1, expect: allow, role: root}",
		"an unknown key":           "{user: bob, server: web-1, expect: deny, becuase: x}",
		"a key that comes twice":   "{user: bob, user: eve, server: web-1, expect: deny}",
		"a login that none can be": "{user: bob, server: web-1, login: 'a b', expect: deny}",
		"a time that is none":      "{user: bob, server: web-1, at: noon, expect: deny}",
		"a list":                   "[bob, web-1]",
	} {
		if cases, err := parsePolicy("access.yaml", []byte("tests:\n  - "+text+"\n"), time.Now); err == nil || exitOf(err) != ExitUsage {
			t.Errorf("%s: %+v, %v", name, cases, err)
		}
	}
}
