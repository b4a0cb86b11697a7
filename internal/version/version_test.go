package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestFrom(t *testing.T) {
	build := func(main string) *debug.BuildInfo {
		b := &debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-11-01T00:00:00Z"}, {Key: "vcs.modified", Value: "true"}}}
		b.Main.Version = main
		return b
	}
	for _, tc := range []struct {
		name   string
		build  *debug.BuildInfo
		linked string
		want   string
	}{
		{"the linker's word comes first", build("v1.0.0"), "v2.0.0", "v2.0.0"},
		{"then the module's version", build("v1.0.0"), "", "v1.0.0"},
		{"a build in the tree is devel", build("(devel)"), "", "devel"},
		{"a build without any record is devel", nil, "", "devel"},
	} {
		if got := from(tc.build, tc.linked); got.Version != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got.Version, tc.want)
		}
	}
	if s := from(build(""), "v1").String(); !strings.HasPrefix(s, "v1 (0123456789ab with changes, go") {
		t.Errorf("String() = %q", s)
	}
}

func TestUserAgentIsAProductAndAComment(t *testing.T) {
	if ua := UserAgent("cardea"); !strings.HasPrefix(ua, "cardea/") || !strings.HasSuffix(ua, ")") {
		t.Errorf("UserAgent = %q", ua)
	}
}
