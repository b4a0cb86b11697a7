package ident

import (
	"regexp"
	"strconv"
	"testing"
	"unicode/utf8"
)

// The fuzz tests state each grammar a second time, as the pattern that the
// documentation gives, so that the two cannot drift apart.

func FuzzNames(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	for _, s := range []string{"alice", "web-1", "web-1.example.com", "prod", "root", "host/env", "EU-1"} {
		f.Add(s)
	}
	label := `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	login := regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	server := regexp.MustCompile(`^` + label + `(\.` + label + `)*$`)
	project := regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	key := regexp.MustCompile(`^[a-z]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	value := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	f.Fuzz(func(t *testing.T, s string) {
		agree(t, "login", s, Login(s) == nil, login.MatchString(s) && !Reserved(s))
		agree(t, "group", s, Group(s) == nil, Login(s) == nil)
		agree(t, "project", s, ProjectName(s) == nil, project.MatchString(s))
		agree(t, "entitlement", s, EntitlementName(s) == nil, project.MatchString(s))
		agree(t, "provider", s, ProviderName(s) == nil, project.MatchString(s))
		agree(t, "SCIM client", s, ScimName(s) == nil, project.MatchString(s))
		agree(t, "workload issuer", s, WorkloadName(s) == nil, project.MatchString(s))
		agree(t, "label key", s, LabelKey(s) == nil, key.MatchString(s))
		agree(t, "host label key", s, HostLabelKey("host/"+s) == nil, key.MatchString(s))
		agree(t, "label value", s, LabelValue(s) == nil, value.MatchString(s))
		if ServerName(s) == nil && !server.MatchString(s) {
			t.Errorf("server name %q is accepted against its pattern", s)
		}
	})
}

func agree(t *testing.T, kind, s string, got, want bool) {
	t.Helper()
	if got != want {
		t.Errorf("%s %q: accepted = %v, its pattern says %v", kind, s, got, want)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[2J\u202e\xff\\")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		if !utf8.ValidString(got) {
			t.Fatalf("Text(%q) is not UTF-8", s)
		}
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Fatalf("Text(%q) holds %q", s, r)
			}
		}
	})
}
