package scim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

const alice = `{
	"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "usr_mine", "USERNAME": "Alice@example.com", "externalId": "00u1",
	"password": "secret", "name": {"givenName": "Alice", "familyName": "Ada"}, "active": true, "meta": {"x": 1},
	"emails": [{"value": "home@example.com", "type": "home"}, {"value": "alice@example.com", "type": "work", "primary": true}],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D", "employeeNumber": 701984}
}`

func tree(t *testing.T, text string) Tree {
	t.Helper()
	out, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsReadOfAUser(t *testing.T) {
	got := tree(t, alice)
	u, err := UserOf(got)
	want := User{UserName: "Alice@example.com", ExternalID: "00u1", FullName: "Alice Ada", Email: "alice@example.com", Active: true}
	if err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
	for _, name := range []string{"id", "password", "meta", "schemas", "USERNAME"} {
		if _, there := got[name]; there {
			t.Errorf("%s is kept", name)
		}
	}
	for text, want := range map[string]bool{`"False"`: false, `"TRUE"`: true, `false`: false} {
		if u, err := UserOf(tree(t, `{"userName":"a","active":`+text+`}`)); err != nil || u.Active != want {
			t.Errorf("active %s: %+v, %v", text, u, err)
		}
	}
	for _, text := range []string{`{}`, `{"userName":" "}`, `{"userName":"a","active":"maybe"}`, `{"userName":"a","active":1}`, `{"userName":"` + strings.Repeat("a", maxWord+1) + `"}`} {
		if u, err := UserOf(tree(t, text)); err == nil {
			t.Errorf("%.40s is taken for %+v", text, u)
		}
	}
}

func TestFilters(t *testing.T) {
	a := tree(t, alice)
	for text, want := range map[string]bool{
		`userName eq "alice@example.com"`:                     true,
		`USERNAME EQ "ALICE@example.com"`:                     true,
		`userName eq "bob"`:                                   false,
		`userName ne "bob"`:                                   true,
		`userName sw "ali"`:                                   true,
		`userName ew ".com" and active pr`:                    true,
		`userName co "xample"`:                                true,
		`active eq true`:                                      true,
		`active eq "True"`:                                    true,
		`active eq False`:                                     false,
		`emails eq "alice@example.com"`:                       true,
		`emails.type eq "home"`:                               true,
		`emails[type eq "work"] pr`:                           true,
		`emails[type eq "work" and value co "@example.com"]`:  true,
		`emails[type eq "home" and value co "alice"]`:         false,
		`emails[type eq "work"].value eq "alice@example.com"`: true,
		`not (userName eq "bob")`:                             true,
		`not (userName sw "a") or externalId eq "00u1"`:       true,
		`title pr`:      false,
		`title eq null`: true,
		`name.familyName eq "ada" and (active eq false or id pr)`: false,
		`urn:ietf:params:scim:schemas:core:2.0:User:userName pr`:  true,
		EnterpriseURN + `:department eq "r&d"`:                    true,
		EnterpriseURN + `:employeeNumber gt 701983`:               true,
		EnterpriseURN + `:employeeNumber le 701983`:               false,
		`userName gt "al"`:               true,
		`externalId eq "\u0030\u0030u1"`: true,
	} {
		f, err := ParseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if f.Matches(a) != want {
			t.Errorf("%s: %t", text, !want)
		}
		again, err := ParseFilter(f.String())
		if err != nil || again.String() != f.String() {
			t.Errorf("%s is written as %s, which is read as %v, %v", text, f, again, err)
		}
	}
}

func TestFiltersThatAreNone(t *testing.T) {
	deep := strings.Repeat("(", maxFilterDeep+1) + "a pr" + strings.Repeat(")", maxFilterDeep+1)
	for _, text := range []string{
		``, `userName`, `userName eq`, `userName is "a"`, `userName eq "a`, `userName eq "a\q"`, `"a" eq userName`, `a eq b`, `a pr and`, `(a pr`, `a pr)`,
		`emails[type eq "work"`, `emails[`, `emails]`, `a..b pr`, `.a pr`, `a. pr`, `1a pr`, `a pr b pr`, `a b.c[d pr] pr`, `emails[a[b[c[d[e[f[g[h[i pr]]]]]]]]]`,
		deep, strings.Repeat("a", maxFilter+1), `userName eq "a" or or userName pr`, "a\x00b pr", `a eq {"b":1}`, `urn pr`[:3], `urn:: pr`, `urn:x pr`,
	} {
		var e *Error
		if f, err := ParseFilter(text); !errors.As(err, &e) || e.Status != 400 {
			t.Errorf("%.60q is read as %v, %v", text, f, err)
		}
	}
	if _, err := ParseFilter(deep[1 : len(deep)-1]); err != nil {
		t.Errorf("at the limit of depth: %v", err)
	}
	if _, err := ParseFilter(strings.Repeat("a", maxFilter-3) + " pr"); err != nil {
		t.Errorf("at the limit of length: %v", err)
	}
}

func TestTheOneFilterThatAnIndexAnswers(t *testing.T) {
	for text, want := range map[string]string{`userName eq "x"`: "userName=x", `externalid eq "y"`: "externalId=y", `active eq true`: "", `userName ne "x"`: "", `name.familyName eq "x"`: "", `userName eq "x" and active eq true`: ""} {
		f, err := ParseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if attr, value, ok := Equal(f); ok {
			got = attr + "=" + value
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// What providers send, as they document it, and what a user or group is after it.
func TestPatchesInTheDialectsOfProviders(t *testing.T) {
	const group = `{"displayName":"eng","members":[{"value":"usr_a"},{"value":"usr_b","display":"Bob"}]}`
	for _, tc := range []struct {
		name, before, operations, want string
	}{
		{"Okta deactivates", `{"userName":"a","active":true}`, `{"op":"replace","value":{"active":false}}`, `{"userName":"a","active":false}`},
		{"Entra deactivates", `{"userName":"a","active":true}`, `{"op":"Replace","path":"active","value":"False"}`, `{"userName":"a","active":"False"}`},
		{"Entra changes several without a path", `{"userName":"a"}`, `{"op":"Add","value":{"name.givenName":"Al","displayName":"Al B","` + EnterpriseURN + `:department":"X"}}`,
			`{"userName":"a","displayName":"Al B","name":{"givenName":"Al"},"` + EnterpriseURN + `":{"department":"X"}}`},
		{"Entra changes the address of work", `{"userName":"a","emails":[{"type":"work","value":"old"},{"type":"home","value":"h"}]}`, `{"op":"Replace","path":"emails[type eq \"work\"].value","value":"new"}`,
			`{"userName":"a","emails":[{"type":"work","value":"new"},{"type":"home","value":"h"}]}`},
		{"Entra adds the address of work where there is none", `{"userName":"a"}`, `{"op":"Add","path":"emails[type eq \"work\"].value","value":"new"}`, `{"userName":"a","emails":[{"type":"work","value":"new"}]}`},
		{"Okta adds a member", group, `{"op":"add","path":"members","value":[{"value":"usr_c","display":"c"}]}`, `{"displayName":"eng","members":[{"value":"usr_a"},{"value":"usr_b","display":"Bob"},{"value":"usr_c","display":"c"}]}`},
		{"Okta removes a member", group, `{"op":"remove","path":"members[value eq \"usr_a\"]"}`, `{"displayName":"eng","members":[{"value":"usr_b","display":"Bob"}]}`},
		{"Okta renames a group and says its id", group, `{"op":"replace","value":{"id":"grp_x","displayName":"ops"}}`, `{"displayName":"ops","members":[{"value":"usr_a"},{"value":"usr_b","display":"Bob"}]}`},
		{"Entra removes a member", group, `{"op":"Remove","path":"members","value":[{"$ref":null,"value":"usr_a"}]}`, `{"displayName":"eng","members":[{"value":"usr_b","display":"Bob"}]}`},
		{"a member twice is there once", group, `{"op":"add","path":"members","value":[{"value":"usr_a"},{"value":"usr_a"}]}`, group},
		{"one member that is no list", group, `{"op":"add","path":"members","value":{"value":"usr_c"}}`, `{"displayName":"eng","members":[{"value":"usr_a"},{"value":"usr_b","display":"Bob"},{"value":"usr_c"}]}`},
		{"all members go", group, `{"op":"remove","path":"members"}`, `{"displayName":"eng"}`},
		{"other members come", group, `{"op":"replace","path":"members","value":[{"value":"usr_z"}]}`, `{"displayName":"eng","members":[{"value":"usr_z"}]}`},
		{"a part of a name goes", `{"name":{"givenName":"a","familyName":"b"}}`, `{"op":"remove","path":"name.givenName"}`, `{"name":{"familyName":"b"}}`},
		{"the last part of a name goes", `{"name":{"givenName":"a"}}`, `{"op":"remove","path":"name.givenName"}`, `{}`},
		{"what is not named of a name stays", `{"name":{"givenName":"a","familyName":"b"}}`, `{"op":"replace","path":"name","value":{"givenName":"c"}}`, `{"name":{"givenName":"c","familyName":"b"}}`},
		{"an attribute of the core schema by its whole name", `{"userName":"a"}`, `{"op":"replace","path":"` + UserURN + `:userName","value":"b"}`, `{"userName":"b"}`},
		{"an extension's attribute goes, and the extension with its last", `{"` + EnterpriseURN + `":{"department":"x"}}`, `{"op":"remove","path":"` + EnterpriseURN + `:department"}`, `{}`},
		{"a schema of one's own", `{"userName":"a"}`, `{"op":"add","value":{"urn:ietf:params:scim:schemas:extension:custom:2.0:User":{"site":"1"}}},{"op":"add","path":"urn:ietf:params:scim:schemas:extension:custom:2.0:User:floor","value":"2"}`, `{"userName":"a","urn:ietf:params:scim:schemas:extension:custom:2.0:User":{"site":"1","floor":"2"}}`},
		{"a new primary address is the only one", `{"emails":[{"value":"a","primary":true}]}`, `{"op":"add","path":"emails","value":[{"value":"b","primary":true}]}`, `{"emails":[{"value":"a","primary":false},{"value":"b","primary":true}]}`},
		{"a password and groups are not kept", `{"userName":"a"}`, `{"op":"replace","value":{"password":"x","groups":[{"value":"grp_admins"}]}}`, `{"userName":"a"}`},
		{"in turn", `{"userName":"a"}`, `{"op":"add","path":"title","value":"x"},{"op":"remove","path":"title"},{"op":"add","path":"title","value":"y"}`, `{"userName":"a","title":"y"}`},
		{"null is nothing", `{"userName":"a","title":"x"}`, `{"op":"replace","path":"title","value":null}`, `{"userName":"a"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ops, err := ParsePatch([]byte(`{"schemas":["` + PatchURN + `"],"Operations":[` + tc.operations + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			got, want := tree(t, tc.before), tree(t, tc.want)
			if err := Apply(got, ops); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				a, _ := json.Marshal(got)
				t.Errorf("%s, want %s", a, tc.want)
			}
		})
	}
}

func TestPatchesThatAreNone(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"op":"remove","path":"title"},`, MaxOperations+1), ",")
	for name, text := range map[string]string{
		"no JSON":                        `x`,
		"another message":                `{"schemas":["` + ListURN + `"],"Operations":[{"op":"add","path":"a","value":1}]}`,
		"no operation":                   `{"schemas":["` + PatchURN + `"],"Operations":[]}`,
		"too many":                       `{"schemas":["` + PatchURN + `"],"Operations":[` + many + `]}`,
		"an operation that there is not": `{"schemas":["` + PatchURN + `"],"Operations":[{"op":"move","path":"a"}]}`,
		"remove without a path":          `{"schemas":["` + PatchURN + `"],"Operations":[{"op":"remove"}]}`,
		"add without a path or object":   `{"schemas":["` + PatchURN + `"],"Operations":[{"op":"add","value":"x"}]}`,
		"a path that is none":            `{"schemas":["` + PatchURN + `"],"Operations":[{"op":"add","path":"a b","value":"x"}]}`,
		"a value that is too deep":       `{"schemas":["` + PatchURN + `"],"Operations":[{"op":"add","path":"a","value":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}]}`,
	} {
		var e *Error
		if ops, err := ParsePatch([]byte(text)); !errors.As(err, &e) || e.Status != 400 {
			t.Errorf("%s: %v, %v", name, ops, err)
		}
	}
	ops, err := ParsePatch([]byte(`{"schemas":["` + PatchURN + `"],"Operations":[{"op":"replace","path":"emails[value sw \"x\"].type","value":"work"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := Apply(Tree{}, ops); !errors.As(err, &e) || e.Type != NoTarget {
		t.Errorf("a value that nothing describes: %v", err)
	}
}

func TestBodiesThatAreNoResource(t *testing.T) {
	wide := `{"a":1`
	for i := range maxKeys {
		wide += `,"` + strings.Repeat("b", i+1) + `":1`
	}
	for name, text := range map[string]string{
		"nothing": ``, "a list": `[]`, "text": `"x"`, "more than one": `{}{}`, "without an end": `{"a":`, "the same twice": `{"userName":"a","USERNAME":"b"}`,
		"too deep": strings.Repeat(`{"a":`, maxDepth+1) + `1` + strings.Repeat("}", maxDepth+1), "too wide": wide + "}",
		"too long": `{"a":"` + strings.Repeat("x", maxText+1) + `"}`, "deep enough to exhaust a stack": strings.Repeat("[", 1_000_000),
	} {
		if got, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken as %.60v", name, got)
		}
	}
	if _, err := Parse([]byte(strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat("}", maxDepth))); err != nil {
		t.Errorf("at the limit of depth: %v", err)
	}
	if _, err := Parse([]byte(`{"a":"` + strings.Repeat("x", maxText) + `"}`)); err != nil {
		t.Errorf("at the limit of length: %v", err)
	}
}

func TestGroupsAndLists(t *testing.T) {
	g, err := GroupOf(tree(t, `{"displayName":" eng ","externalId":"x","members":[{"value":"usr_a"},{"value":"usr_a"},"usr_b"]}`))
	if want := (Group{"eng", "x", []string{"usr_a", "usr_b"}}); err != nil || !reflect.DeepEqual(g, want) {
		t.Errorf("%+v, %v", g, err)
	}
	for _, text := range []string{`{}`, `{"displayName":"a","members":[{}]}`, `{"displayName":"a","members":[7]}`} {
		if g, err := GroupOf(tree(t, text)); err == nil {
			t.Errorf("%s is taken for %+v", text, g)
		}
	}
	q, err := ParseQuery(url.Values{"startIndex": {"-3"}, "count": {"9999"}, "filter": {`userName eq "a"`}, "excludedAttributes": {"members, name.givenName"}})
	if err != nil || q.Start != 1 || q.Count != PageSize || q.Filter == nil || q.Wants("members") || !q.Wants("name") {
		t.Errorf("%+v, %v", q, err)
	}
	if q, err := ParseQuery(url.Values{"count": {"0"}, "attributes": {"userName"}}); err != nil || q.Count != 0 || q.Wants("members") || len(q.Show(Tree{"id": 1, "userName": 2, "title": 3})) != 2 {
		t.Errorf("%+v, %v", q, err)
	}
	for _, v := range []url.Values{{"count": {"x"}}, {"filter": {"x"}}, {"attributes": {"a b"}}} {
		if _, err := ParseQuery(v); err == nil {
			t.Errorf("%v is taken", v)
		}
	}
	text, err := json.Marshal(&Error{Status: 409, Type: Uniqueness, Detail: "taken"})
	if err != nil || !strings.Contains(string(text), `"status":"409"`) || !strings.Contains(string(text), `"scimType":"uniqueness"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`userName eq "a"`, `emails[type eq "work" and not (value pr)].value co "x" or a.b lt 1.5`, EnterpriseURN + `:department eq null`, `urn:x:2.0:y pr`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFilter(text)
		if err != nil {
			return
		}
		got.Matches(Tree{"userName": "a", "emails": []any{Tree{"type": "work", "value": "x"}}})
		if again, err := ParseFilter(got.String()); len(got.String()) <= maxFilter && (err != nil || again.String() != got.String()) {
			t.Errorf("%q is written as %q, and that read as %v, %v", text, got, again, err)
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add(alice, `{"schemas":["`+PatchURN+`"],"Operations":[{"op":"Replace","path":"emails[type eq \"work\"].value","value":"new"},{"op":"add","value":{"name.givenName":"x"}}]}`)
	f.Fuzz(func(t *testing.T, before, patch string) {
		r, err := Parse([]byte(before))
		if err != nil {
			return
		}
		ops, err := ParsePatch([]byte(patch))
		if err != nil || Apply(r, ops) != nil {
			return
		}
		for name := range readOnly {
			if _, there := r[name]; there {
				t.Errorf("%s came in by %q", name, patch)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}

// Members count as members, wherever they stand among the attributes.
func TestALongListMayComeFirst(t *testing.T) {
	member := `{"value":"usr_x","type":"User"}`
	body := func(n int) string {
		return `{"members":[` + strings.TrimSuffix(strings.Repeat(member+",", n), ",") + `],"displayName":"x"}`
	}
	if _, err := Parse([]byte(body(MaxMembers))); err != nil {
		t.Error(err)
	}
	if _, err := Parse([]byte(body(MaxMembers + 1))); err == nil {
		t.Error("more than MaxMembers are read")
	}
	for n, want := range map[int]bool{maxKeys: true, maxKeys + 1: false} {
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprintf(`"k%d":1`, i))
		}
		object := "{" + strings.Join(keys, ",") + "}"
		for _, text := range []string{object, `{"emails":[` + object + `]}`} {
			if _, err := Parse([]byte(text)); (err == nil) != want {
				t.Errorf("%d attributes: %v", n, err)
			}
		}
	}
}
