// Package cardea_test holds the tests of the house itself: which package may
// import which, what no binary may link, and what may stand nowhere.
package cardea_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// floors is the plan of the house. A package imports only packages of strictly
// lower floors, or its own children; so two packages on one floor can be read,
// tested and replaced alone. A new package gets a line here in the same change.
var floors = map[string]int{
	"cmd/cardea":              5,
	"cmd/cardea-control":      5,
	"cmd/cardea-gateway":      5,
	"cmd/cardea-server-agent": 5,
	"demo":                    5,
	"bench":                   5,
	"packaging":               5,
	"bench/nodelay":           5,

	"cmd/cardea/cli":        4,
	"cmd/cardea/cli/fanout": 4,
	"demo/stage":            4,

	"control":            3,
	"control/signin":     3,
	"control/directory":  3,
	"control/fleet":      3,
	"control/issue":      3,
	"control/jit":        3,
	"control/trust":      3,
	"control/recordings": 3,
	"gateway":            3,
	"server-agent":       3,
	"proxycmd":           3,
	"doctor":             2,
	"doctor/editor":      3,
	"agent/agenttest":    3,

	"control/attestation":   2,
	"control/caller":        2,
	"control/lookup":        2,
	"control/provision":     3,
	"control/sso":           2,
	"control/sso/ssotest":   1,
	"control/workload":      2,
	"control/web":           2,
	"control/scim":          2,
	"server-agent/accounts": 2,
	"server-agent/sshd":     2,
	"server-agent/hooks":    2,
	"server-agent/labels":   2,
	"server-agent/logins":   2,
	"gateway/bridge":        2,
	"gateway/spool":         2,
	"gateway/upload":        2,
	"agent":                 2,
	"agent/offer":           2,
	"agent/socket":          1,
	"agent/service":         1,
	"login":                 2,
	"login/enclave":         1,
	"login/posture":         1,
	"login/tpm":             1,
	"login/tpm/tpmtest":     0,
	"tui":                   2,
	"tui/draw":              1,
	"tui/find":              1,
	"tui/habit":             1,
	"tui/picker":            2,
	"tui/recordings":        2,
	"tui/rows":              1,
	"tui/tuitest":           0,
	"ca":                    2,
	"store/sqlstore":        2,
	"store/storetest":       2,
	"api/apitest":           2,

	"store":     1,
	"api":       1,
	"dpop":      1,
	"sshconfig": 1,
	"hello":     1,
	"sshcert":   1,
	"policy":    1,
	"recording": 0,
	"audit":     1,
	"password":  1,

	"server-agent/program":               1,
	"server-agent/metadata":              1,
	"server-agent/sftd":                  1,
	"gateway/filewatch":                  1,
	"server-agent/metadata/metadatatest": 1,
	"internal/config":                    1,
	"internal/pgtest":                    1,
	"internal/sshtest":                   1,

	"entitlement":          0,
	"internal/atomicfile":  0,
	"internal/filelock":    0,
	"internal/browse":      0,
	"internal/bucket":      0,
	"internal/buildtest":   0,
	"internal/commandline": 0,
	"internal/daemon":      0,
	"internal/disktest":    0,
	"internal/desktop":     0,
	"internal/faulttest":   0,
	"internal/freeport":    0,
	"internal/hostkey":     0,
	"internal/ident":       0,
	"internal/postgres":    0,
	"internal/sample":      0,
	"internal/redial":      0,
	"internal/span":        0,
	"internal/socketpair":  0,
	"internal/tcptest":     0,
	"internal/term":        0,
	"internal/version":     0,
	"internal/vhost":       0,
}

// bans lists what a binary must never link, with everything below it. What a
// program does not contain, nobody who takes it over can use.
var bans = map[string][]string{
	"cmd/cardea":              {"ca", "store", "control", "gateway", "server-agent", "internal/bucket", "internal/postgres", "internal/vhost"},
	"cmd/cardea-server-agent": {"ca", "store", "control", "gateway", "tui", "login", "internal/bucket", "internal/postgres", "internal/vhost"},
	"cmd/cardea-gateway":      {"ca", "store", "control", "server-agent", "tui", "login", "internal/postgres", "internal/vhost"},
	"cmd/cardea-control":      {"server-agent", "gateway", "tui", "login", "internal/postgres", "internal/vhost"},
}

// behind lists modules that only a build with these tags may contain, so that their faults
// are in no program that people get.
var behind = map[string]string{
	"github.com/ebitengine/purego": "darwin && enclave", // it starts programs by a C runtime's rules
}

// emptyNames say nothing about what is inside.
var emptyNames = regexp.MustCompile(`^(util|common|helper|misc|type|base|core|manager)s?$`)

// identifiers that switch a check off. Tests may use them.
var unsafeNames = map[string]string{
	"InsecureIgnoreHostKey": "there is no trust on first use: check the host certificate",
	"InsecureSkipVerify":    "a TLS peer is always verified",
}

// unsafeFiles may use one of unsafeNames, for a reason that stands there.
var unsafeFiles = map[string]string{
	"hello/tls.go": "InsecureSkipVerify", // that TLS authenticates nobody: the seal within it does
}

// secrets are texts that no file may hold, tests included: make keys when needed.
var secrets = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE ` + `KEY-----`)

func TestTheHouse(t *testing.T) {
	house, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(house.packages) < 4 {
		t.Fatalf("only %d packages found: the walk is broken", len(house.packages))
	}
	for _, complaint := range house.check() {
		t.Error(complaint)
	}
}

// check returns everything that breaks the plan, sorted.
func (h *house) check() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for dir, p := range h.packages {
		if p.name == "" {
			continue // tests alone: no floor to stand on
		}
		if _, ok := floors[dir]; !ok {
			say("%s has no floor: add it to the table in floors_test.go", dir)
		}
		if !p.documented() {
			say("%s has no package comment that begins with what it is", dir)
		}
		for _, part := range append(strings.Split(dir, "/"), p.name) {
			if emptyNames.MatchString(part) {
				say("%s: the name %q says nothing about what is inside", dir, part)
			}
		}
		for target, file := range p.imports {
			if !allowed(dir, target) {
				say("%s: %s (floor %d) may not import %s (floor %d)", file, dir, floors[dir], target, floors[target])
			}
			if isTest(target) && !isTest(dir) {
				say("%s: %s may be imported by tests only", file, target)
			}
		}
	}
	for binary, banned := range bans {
		for _, b := range banned {
			for dir, path := range h.reach(binary) {
				if dir == b || strings.HasPrefix(dir, b+"/") {
					say("%s links %s: %s", binary, dir, strings.Join(path, " -> "))
				}
			}
		}
	}
	out = append(out, h.findings...)
	slices.Sort(out)
	return out
}

// allowed reports whether the package in dir may import the one in target.
func allowed(dir, target string) bool {
	return strings.HasPrefix(target, dir+"/") || floors[target] < floors[dir]
}

// isTest reports whether dir is a package that helps tests.
func isTest(dir string) bool { return strings.HasSuffix(dir, "test") }

// reach returns every package that binary links, with the way to it.
func (h *house) reach(binary string) map[string][]string {
	seen := map[string][]string{}
	var visit func(dir string, path []string)
	visit = func(dir string, path []string) {
		p, ok := h.packages[dir]
		if _, again := seen[dir]; again || !ok {
			return
		}
		path = append(slices.Clone(path), dir)
		seen[dir] = path
		for _, next := range slices.Sorted(maps.Keys(p.imports)) {
			visit(next, path)
		}
	}
	visit(binary, nil)
	return seen
}
