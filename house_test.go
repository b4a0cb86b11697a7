package cardea_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// minimum is the oldest version of what we build with that has no weakness
// known to matter here. Raise a line when an advisory says so.
var minimum = map[string]string{
	"go":                            "1.26.6",
	"golang.org/x/crypto":           "v0.55.0", // CVE-2026-39827 to 39835, 42508, 46597, 46598
	"github.com/jackc/pgx/v5":       "v5.9.2",  // CVE-2026-41889
	"github.com/spf13/cobra":        "v1.10.2",
	"modernc.org/sqlite":            "v1.60.0",
	"filippo.io/age":                "v1.3.1",
	"github.com/go-jose/go-jose/v4": "v4.1.8",
}

// maximum holds back what would hurt.
var maximum = map[string]string{
	"github.com/mattn/go-runewidth": "v0.0.19", // v0.0.27 spends 19 ms in init, in every ProxyCommand
	"modernc.org/sqlite":            "v1.60.0", // v1.61 breaks go mod tidy
}

func TestVersionsAreNeitherTooOldNorTooNew(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range versions(string(mod)) {
		t.Error(complaint)
	}
	if v, ok := strings.CutPrefix(runtime.Version(), "go1."); ok && older("1."+strings.Fields(v)[0], minimum["go"]) {
		t.Errorf("this is Go 1.%s; install %s or newer", v, minimum["go"])
	}
}

var requirement = regexp.MustCompile(`(?m)^(?:require )?\s*(\S+) (v?\d\S*)`)

// replacement is a line by which another version is built with than what is required.
var replacement = regexp.MustCompile(`(?m)^replace (\S+) => (\S+) (v\d\S*)$`)

// versions returns what in the text of a go.mod is outside the bounds.
func versions(mod string) []string {
	var out []string
	found := requirement.FindAllStringSubmatch(mod, -1)
	instead := map[string]string{}
	for _, m := range replacement.FindAllStringSubmatch(mod, -1) {
		if m[1] == m[2] { // a fork is another matter
			instead[m[1]] = m[3]
		}
	}
	for _, m := range found {
		if v := instead[m[1]]; v != "" {
			m[2] = v
		}
		if low := minimum[m[1]]; low != "" && older(m[2], low) {
			out = append(out, fmt.Sprintf("%s %s is older than %s", m[1], m[2], low))
		}
		if high := maximum[m[1]]; high != "" && older(high, m[2]) {
			out = append(out, fmt.Sprintf("%s %s is newer than %s", m[1], m[2], high))
		}
	}
	if !slices.ContainsFunc(found, func(m []string) bool { return m[1] == "go" }) {
		out = append(out, "go.mod has no go line")
	}
	return out
}

// older compares versions number by number; a pre-release (v0.0.0-2024…) is as
// old as the version before its dash.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return slices.Compare(x, y) < 0
}

func numbers(v string) []int {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	var out []int
	for part := range strings.SplitSeq(v, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}

func TestThePlantedOldVersionIsFound(t *testing.T) {
	const good = "module m\n\ngo 1.26.6\n\nrequire (\n\tgolang.org/x/crypto v0.55.0\n\tgithub.com/jackc/pgx/v5 v5.10.0 // indirect\n)\n"
	for _, tc := range []struct{ name, old, new, want string }{
		{"nothing changed", "", "", ""},
		{"old Go", "go 1.26.6", "go 1.26.5", "go 1.26.5 is older"},
		{"no Go line", "go 1.26.6", "", "no go line"},
		{"old x/crypto", "v0.55.0", "v0.54.9", "golang.org/x/crypto v0.54.9 is older"},
		{"old pgx, though 9 sorts behind 10", "v5.10.0", "v5.9.1", "pgx/v5 v5.9.1 is older"},
		{"new runewidth on a line of its own", ")\n", ")\nrequire github.com/mattn/go-runewidth v0.0.27\n", "runewidth v0.0.27 is newer"},
		{"new runewidth that is held back", ")\n", ")\nrequire github.com/mattn/go-runewidth v0.0.27\n\nreplace github.com/mattn/go-runewidth => github.com/mattn/go-runewidth v0.0.19\n", ""},
		{"new runewidth that a fork stands for", ")\n", ")\nrequire github.com/mattn/go-runewidth v0.0.27\n\nreplace github.com/mattn/go-runewidth => example.com/go-runewidth v0.0.19\n", "runewidth v0.0.27 is newer"},
	} {
		got := versions(strings.Replace(good, tc.old, tc.new, 1))
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestEveryProgramIsReleasedForThePlatformsThatMakeChecks(t *testing.T) {
	var release struct {
		Builds []struct {
			ID, Main, Binary string
			Goos, Goarch     []string
			Env, Flags       []string
			LDFlags          []string `yaml:"ldflags"`
		}
		Archives []struct{ IDs []string }
	}
	text, err := os.ReadFile("goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A key after a merge replaces the merged one, which goccy calls a duplicate.
	if err := yaml.UnmarshalWithOptions(text, &release, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]bool{}
	for _, b := range release.Builds {
		built[b.Main] = true
		if b.Main != "./cmd/"+b.Binary || b.ID != b.Binary {
			t.Errorf("goreleaser.yaml: %s builds %s from %s", b.ID, b.Binary, b.Main)
		}
		if len(b.LDFlags) != 1 || !strings.HasPrefix(b.LDFlags[0], "-s -w ") || !slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) || !slices.Equal(b.Flags, []string{"-trimpath"}) {
			t.Errorf("goreleaser.yaml: %s is not built as in the Makefile: %q %q %q", b.Binary, b.Env, b.Flags, b.LDFlags)
		}
		var got []string
		for _, os := range b.Goos {
			for _, arch := range b.Goarch {
				got = append(got, os+"/"+arch)
			}
		}
		if want := platforms(string(makefile), b.Binary); !slices.Equal(got, want) {
			t.Errorf("goreleaser.yaml releases %s for %v, the Makefile checks %v", b.Binary, got, want)
		}
		if !slices.ContainsFunc(release.Archives, func(a struct{ IDs []string }) bool { return slices.Contains(a.IDs, b.ID) }) {
			t.Errorf("goreleaser.yaml: no archive holds %s", b.ID)
		}
	}
	programs, err := filepath.Glob("cmd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if !built["./"+p] {
			t.Errorf("goreleaser.yaml does not build %s", p)
		}
	}
}

// platforms reads what the Makefile says about a binary.
func platforms(makefile, binary string) []string {
	value := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` := (.*)$`).FindStringSubmatch(makefile)
		if m == nil {
			return ""
		}
		return m[1]
	}
	all := value("PLATFORMS")
	if own := value("PLATFORMS_" + binary); own != "" {
		all = strings.Replace(own, "$(PLATFORMS)", all, 1)
	}
	return strings.Fields(all)
}
