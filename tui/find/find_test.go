package find

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func team() []Text {
	return []Text{
		{Name: "web-1", Project: "shop", Labels: map[string]string{"env": "prod", "tier": "web"}},
		{Name: "web-10", Project: "shop", Labels: map[string]string{"env": "prod"}},
		{Name: "db-1", Project: "shop", AltNames: []string{"orders"}, Labels: map[string]string{"env": "test", "host/os": "debian"}},
		{Name: "build", Project: "web", Labels: map[string]string{"env": "production"}},
		{Name: "jürgen", Project: "öl"},
	}
}

// names are what is found, best first.
func names(x *Index, texts []Text, line string) []string {
	hits := slices.Clone(x.Find(Parse(line)))
	slices.SortStableFunc(hits, func(a, b Hit) int { return b.Score - a.Score })
	var out []string
	for _, h := range hits {
		out = append(out, texts[h.At].Name)
	}
	return out
}

func TestWhatIsFound(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "web-1 web-10 db-1 build jürgen",
		"web-1":               "web-1 web-10",
		"w1":                  "web-1 web-10",
		"web":                 "web-1 web-10 build", // names, then projects
		"WEB shop":            "web-1 web-10",
		"orders":              "db-1",
		"env=prod":            "web-1 web-10 build",
		"env=production":      "build",
		"env!=prod":           "db-1 build jürgen",
		"env=":                "web-1 web-10 db-1 build",
		"env!=":               "web-1 web-10 db-1 build jürgen",
		"project:sh":          "web-1 web-10 db-1",
		"project:":            "web-1 web-10 db-1 build jürgen",
		"project:SHOP env!=x": "web-1 web-10 db-1",
		"debian":              "db-1",
		"host/os=deb":         "db-1",
		"jürg":                "jürgen",
		"project:ö":           "jürgen",
		"web env=test":        "",
		"zzz":                 "",
		"=x":                  "",
	} {
		if got := strings.Join(names(New(team()), team(), line), " "); got != want {
			t.Errorf("%q finds %q, want %q", line, got, want)
		}
	}
}

// Typing on and looking anew find the same, letter by letter, and back.
func TestNarrowingFindsWhatLookingAnewFinds(t *testing.T) {
	texts := many(300)
	x := New(texts)
	for _, line := range []string{"web-1", "w1 env=prod", "env=pr region", "env!=prod web", "project:pr web 7", "e nv n", "zzz", "12"} {
		runes := []rune(line)
		for n := 0; n <= 2*len(runes); n++ {
			typed := string(runes[:min(n, 2*len(runes)-n)])
			got, want := names(x, texts, typed), names(New(texts), texts, typed)
			if !slices.Equal(got, want) {
				t.Fatalf("%q: %d found by narrowing, %d anew", typed, len(got), len(want))
			}
		}
	}
}

func TestMarksAreWhereTheLettersAre(t *testing.T) {
	got := ""
	for i, on := range Parse("w1 env=prod").Marks("web-1") {
		if on {
			got += fmt.Sprint(i)
		}
	}
	if got != "04" {
		t.Errorf("marked %s", got)
	}
}

func many(n int) (texts []Text) {
	for i := range n {
		texts = append(texts, Text{
			Name: fmt.Sprintf("%s-%d", []string{"web", "db", "cache", "build"}[i%4], i), Project: fmt.Sprintf("project-%d", i%50),
			Labels: map[string]string{"env": []string{"prod", "test"}[i%2], "tier": "web", "region": fmt.Sprintf("eu-%d", i%7)},
		})
	}
	return texts
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{"w1 env=prod", "project:ö", "a=b!=c", "\x00\xff", "ﬀ"} {
		f.Add(s, "web-1")
	}
	f.Fuzz(func(t *testing.T, line, name string) {
		x := New([]Text{{Name: name, Project: line, Labels: map[string]string{name: line}}})
		if n := len(x.Find(Parse(line))); n > 1 {
			t.Errorf("%d found of one", n)
		}
		if n := len(Parse(line).Marks(name)); n != len(name) {
			t.Errorf("%d marks for %d bytes", n, len(name))
		}
	})
}

// Each letter has to be found within a frame, the first ones among all.
func BenchmarkTypingAmong10000(b *testing.B) {
	x := New(many(10_000))
	for b.Loop() {
		for _, line := range []string{"", "w", "we", "web", "web e", "web eu", "web eu env=p"} {
			x.Find(Parse(line))
		}
	}
}

func BenchmarkFirstLetterAmong10000(b *testing.B) {
	x := New(many(10_000))
	for b.Loop() {
		x.Find(Parse("e"))
		x.Find(Query{})
	}
}
