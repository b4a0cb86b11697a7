package provision

import (
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/store"
)

func TestNamesAreMadeByRuleOrNotAtAll(t *testing.T) {
	for userName, want := range map[string]string{
		"alice": "alice", "Alice.Jones@Example.com": "alice-jones", "a_b-c@x": "a_b-c", "a@b@c": "a",
		"": "", "@x": "", "root@x": "", "1a@x": "", "a b@x": "", "é@x": "", "\u212a@x": "", "a+b@x": "", strings.Repeat("a", 33): "",
	} {
		if got, err := loginOf(userName); got != want || (err == nil) != (want != "") {
			t.Errorf("login of %q: %q, %v; want %q", userName, got, err, want)
		}
	}
	for name, want := range map[string]string{"Web Users": "web-users", "Team.A": "team-a", "R&D": "", "sudo": "", "a/b": "", "": ""} {
		if got, err := groupName(name); got != want || (err == nil) != (want != "") {
			t.Errorf("group %q: %q, %v; want %q", name, got, err, want)
		}
	}
}

// What could not stand in a file of a server, or in a terminal, stays in the resource.
func TestWhatLeavesTheResourceIsPlain(t *testing.T) {
	for in, want := range map[string]string{"Ms Alice": "Ms Alice", "a:b": "", "a\nb": "", "\x1b[2J": "", strings.Repeat("x", maxFullName+1): ""} {
		if got := fullName(in); got != want {
			t.Errorf("full name %q: %q", in, got)
		}
	}
	for in, want := range map[string]string{"a@b.c": "a@b.c", "a": "", "a@": "", "<a@b>": "", "a@b\n": "", "x@" + strings.Repeat("b", maxEmail): ""} {
		if got := email(in); got != want {
			t.Errorf("address %q: %q", in, got)
		}
	}
}

func TestTags(t *testing.T) {
	for header, want := range map[string]bool{`W/"3"`: true, `"3"`: true, `"1", W/"3"`: true, `*`: true, `W/"30"`: false, `3`: false, `W/`: false} {
		if matches(header, 3) != want {
			t.Errorf("%s: %t", header, !want)
		}
	}
}

func TestAResourceIsKeptAsLargeAsItMayBe(t *testing.T) {
	list := []any{}
	for range 20 {
		list = append(list, scim.Tree{"value": strings.Repeat("x", 3200)})
	}
	if _, err := kept(scim.Tree{"emails": list}); err != nil {
		t.Error(err)
	}
	if _, err := kept(scim.Tree{"emails": append(list, scim.Tree{"value": strings.Repeat("x", 3200)})}); err == nil {
		t.Error("more than 64 KiB are kept")
	}
	many := scim.Tree{}
	for i := range 300 {
		many[strings.Repeat("k", i+1)] = "x"
	}
	if _, err := kept(many); err == nil {
		t.Error("what could not be read again is kept")
	}
}

// A filter without an index looks at as many as maxScan, and no more.
func TestHowManyAFilterLooksAt(t *testing.T) {
	f, err := scim.ParseFilter(`title eq "x"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, total := range []int{maxScan, maxScan + 1} {
		looked := 0
		got, err := list(scim.Query{Filter: f, Start: 1, Count: 10}, "userName", func(q store.ScimQuery) ([]scim.Tree, int, error) {
			n := min(q.Limit, total-q.Offset)
			looked += n
			rows := make([]scim.Tree, n)
			for i := range rows {
				rows[i] = scim.Tree{"title": "X"}
			}
			return rows, total, nil
		})
		if total <= maxScan && (err != nil || looked != total || got.Total != total || len(got.Resources) != 10) {
			t.Errorf("of %d: looked at %d, %v", total, looked, err)
		}
		if total > maxScan && (err == nil || looked > scanPage) {
			t.Errorf("of %d: looked at %d, %v", total, looked, err)
		}
	}
}

func TestWhatAnIndexFinds(t *testing.T) {
	for text, want := range map[string]store.ScimQuery{
		`userName eq "a"`: {Name: "a"}, `id eq "a"`: {ID: "a"}, `externalId eq "a" and active eq true`: {ExternalID: "a"},
		`active eq true and (id eq "a" and members eq "b")`: {ID: "a"}, `userName eq "a" or id eq "b"`: {}, `not (userName eq "a")`: {}, `userName ne "a"`: {},
	} {
		f, err := scim.ParseFilter(text)
		if err != nil {
			t.Fatal(text, err)
		}
		if got, none := narrow(f, "userName"); got != want || none {
			t.Errorf("%s: %+v %t", text, got, none)
		}
	}
	if f, _ := scim.ParseFilter(`id eq ""`); f != nil {
		if _, none := narrow(f, "userName"); !none {
			t.Error("an empty id finds all")
		}
	}
}
