package workload

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, value string
		want           bool
	}{
		{"a", "a", true},
		{"a", "A", false},
		{"a", "ab", false},
		{"a", "", false},
		{"repo:acme/web:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main", true},
		{"repo:acme/web:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main2", false},
		{"repo:acme/web:ref:refs/heads/main", "repo:acmeXweb:ref:refs/heads/main", false},
		{"repo:acme/*:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main", true},
		{"repo:acme/*:ref:refs/heads/main", "repo:acme/:ref:refs/heads/main", true},
		{"repo:acme/*:ref:refs/heads/main", "repo:acme/web:pull_request:ref:refs/heads/main", false},
		{"repo:acme/*", "repo:acme/web", true},
		{"repo:acme/*", "repo:acme/web:pull_request", false},
		{"repo:acme/*", "repo:acme/web/more", false},
		{"repo:acme/**", "repo:acme/web:ref:refs/heads/a/b", true},
		{"repo:acme/web:ref:refs/heads/release-*", "repo:acme/web:ref:refs/heads/release-1", true},
		{"repo:acme/web:ref:refs/heads/release-*", "repo:acme/web:ref:refs/heads/release-1/x", false},
		{"repo:acme/web:ref:refs/heads/release-**", "repo:acme/web:ref:refs/heads/release-1/x", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"**a", "bab", false},
		{"**a", "baba", true},
		{"*", "", true},
		{"*", "a/b", false},
		{"**", "a/b:c", true},
		{"a.c", "abc", false},
		{"a?", "ab", false},
		{"[a]", "a", false},
		{`a\*`, `a\b`, true},
		{"a*", "a\nb", true},
		{"é*", "éa", true},
		{"**", strings.Repeat("a", MaxValue), true},
		{"**", strings.Repeat("a", MaxValue+1), false},
	} {
		if got := Match(c.pattern, c.value); got != c.want {
			t.Errorf("%q against %q: %t", c.pattern, c.value, got)
		}
	}
}

func TestARuleSaysWhoseJobsItMeans(t *testing.T) {
	github, own := shared[0], "https://kubernetes.example.com"
	for _, c := range []struct {
		name, issuer, sub string
		ok                bool
	}{
		{"a whole subject", github, "repo:acme/web:ref:refs/heads/main", true},
		{"all of an owner", github, "repo:acme/**", true},
		{"an owner in the middle of his name", github, "repo:acme*/web:**", false},
		{"every owner", github, "repo:*/web:ref:refs/heads/main", false},
		{"everybody", github, "**", false},
		{"everybody of a kind", github, "repo:**", false},
		{"no owner", github, "repo:/**", false},
		{"a slash in the first part", github, "a/b*", false},
		{"an issuer with a slash at its end", github + "/", "repo:**", false},
		{"every account of one cluster", own, "system:serviceaccount:*:*", true},
		{"everybody of one cluster", own, "**", false},
		{"a star at the beginning", own, "*:serviceaccount:ci:deploy", false},
		{"a subject without parts", own, "deploy", true},
		{"none", own, "", false},
	} {
		if err := Check(c.issuer, map[string]string{Subject: c.sub}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRulesAreBounded(t *testing.T) {
	many := map[string]string{Subject: "x"}
	for i := range MaxClaims - 1 {
		many[strings.Repeat("a", i+1)] = "x"
	}
	more := maps.Clone(many)
	more["more"] = "x"
	for name, c := range map[string]struct {
		claims map[string]string
		ok     bool
	}{
		"as many claims as there may be":       {many, true},
		"one claim more":                       {more, false},
		"the longest name":                     {map[string]string{Subject: "x", strings.Repeat("a", MaxName): "x"}, true},
		"a longer name":                        {map[string]string{Subject: "x", strings.Repeat("a", MaxName+1): "x"}, false},
		"no name":                              {map[string]string{Subject: "x", "": "x"}, false},
		"the longest pattern":                  {map[string]string{Subject: strings.Repeat("a", MaxPattern)}, true},
		"a longer pattern":                     {map[string]string{Subject: strings.Repeat("a", MaxPattern+1)}, false},
		"a pattern of nothing":                 {map[string]string{Subject: "x", "ref": ""}, false},
		"an escape in a pattern":               {map[string]string{Subject: "x\x1b"}, false},
		"as many stars as there may be":        {map[string]string{Subject: "a" + strings.Repeat("*b", MaxStars)}, true},
		"one star more":                        {map[string]string{Subject: "a" + strings.Repeat("*b", MaxStars+1)}, false},
		"three stars in a row":                 {map[string]string{Subject: "a***"}, false},
		"a quote in a name that is not closed": {map[string]string{Subject: "a", `"kubernetes.io.namespace`: "b"}, false},
		"a name in quotes":                     {map[string]string{Subject: "a", `"kubernetes.io".namespace`: "b"}, true},
		"no subject":                           {map[string]string{"ref": "x"}, false},
		"a star alone for what is no subject":  {map[string]string{Subject: "x", "ref": "*"}, true},
	} {
		if err := Check("https://a.example.com", c.claims); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllPatternsFit(t *testing.T) {
	token := map[string][]string{Subject: {"repo:acme/web:x"}, "ref": {"main"}, "groups": {"a", "b"}, "many": make([]string, MaxValues+1), "most": make([]string, MaxValues)}
	claims := func(name string) []string { return token[name] }
	for name, c := range map[string]struct {
		rule map[string]string
		want bool
	}{
		"the subject alone":           {map[string]string{Subject: "repo:acme/**"}, true},
		"another claim that fits":     {map[string]string{Subject: "repo:acme/**", "ref": "main"}, true},
		"another that does not":       {map[string]string{Subject: "repo:acme/**", "ref": "mai"}, false},
		"a subject that does not":     {map[string]string{Subject: "repo:evil/**", "ref": "main"}, false},
		"one of a list":               {map[string]string{Subject: "repo:acme/**", "groups": "b"}, true},
		"none of a list":              {map[string]string{Subject: "repo:acme/**", "groups": "c"}, false},
		"a claim that is not there":   {map[string]string{Subject: "repo:acme/**", "none": "**"}, false},
		"a rule without a subject":    {map[string]string{"ref": "main"}, false},
		"a rule of nothing":           {nil, false},
		"a list as long as it may be": {map[string]string{Subject: "repo:acme/**", "most": "*"}, true},
		"a list that is longer":       {map[string]string{Subject: "repo:acme/**", "many": "*"}, false},
	} {
		if got := Fits(c.rule, claims); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if misfit := slices.ContainsFunc(Explain(c.rule, claims), func(h Held) bool { return h.Why != "" }); c.want && misfit || !c.want && !misfit && c.rule[Subject] != "" {
			t.Errorf("%s is explained as %+v", name, Explain(c.rule, claims))
		}
	}
}

func TestAMisfitIsExplained(t *testing.T) {
	for _, c := range []struct {
		pattern string
		values  []string
		why     string
	}{
		{"main", []string{"other", "main"}, ""},
		{"main", nil, "the token has no such claim, or none that is text"},
		{"main", []string{"other"}, "the value is another one"},
		{"main", []string{"Main"}, "small and capital letters differ"},
		{"repo:acme/*", []string{"repo:acme/web:ref"}, "a single star takes neither / nor :"},
		{"repo:acme/*", []string{"repo:evil/web:ref"}, "the value is another one"},
		{"**", []string{strings.Repeat("a", MaxValue+1)}, "a value is longer than 1024 bytes, and is not looked at"},
		{"**", make([]string, MaxValues+1), "it has more than 64 values, of which none is looked at"},
	} {
		got := Explain(map[string]string{"ref": c.pattern}, func(string) []string { return c.values })
		if want := []Held{{"ref", c.pattern, c.why}}; !slices.Equal(got, want) {
			t.Errorf("%q is explained as %+v, want %+v", c.values, got, want)
		}
	}
}

// The grammar a second time, as a regular expression.
func FuzzMatch(f *testing.F) {
	f.Add("repo:acme/*:**", "repo:acme/web:ref:refs/heads/main")
	f.Add("a*b**c", "aXbY/c")
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if len(pattern) > MaxPattern || len(value) > MaxValue || strings.Count(pattern, "*") > MaxStars || strings.Contains(pattern, "***") {
			return
		}
		// Bytes above ASCII are each made a letter of their own: expressions read runes.
		wide := func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				b.WriteRune(rune(s[i]))
			}
			return b.String()
		}
		text := regexp.QuoteMeta(wide(pattern))
		text = strings.ReplaceAll(text, `\*\*`, "\x00")
		text = strings.ReplaceAll(text, `\*`, `[^/:]*`)
		if slices.Contains([]byte(pattern), 0) {
			return
		}
		text = strings.ReplaceAll(text, "\x00", `.*`)
		if want := regexp.MustCompile(`(?s)^` + text + `$`).MatchString(wide(value)); Match(pattern, value) != want {
			t.Errorf("%q against %q: %t", pattern, value, !want)
		}
	})
}
