package sso

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestLogins(t *testing.T) {
	whole := Rules{LoginClaim: "u", LoginRule: store.LoginWhole}
	local := Rules{LoginClaim: "u", LoginRule: store.LoginLocalPart, Domains: []string{"example.com", "example.org"}}
	for _, c := range []struct {
		name  string
		rules Rules
		said  any
		want  string // empty: refused
	}{
		{"a login as it is", whole, "alice", "alice"},
		{"capital letters become small", whole, "Alice", "alice"},
		{"dots become hyphens", whole, "alice.ang", "alice-ang"},
		{"an address is no login", whole, "alice@example.com", ""},
		{"what stands before the @", local, "Alice.Ang@Example.com", "alice-ang"},
		{"another domain that is listed", local, "alice@example.org", "alice"},
		{"a domain that is not", local, "alice@evil.com", ""},
		{"a domain that ends like one", local, "alice@evilexample.com", ""},
		{"a domain below one", local, "alice@sub.example.com", ""},
		{"two @", local, "alice@evil.com@example.com", ""},
		{"no domain", local, "alice", ""},
		{"nothing before the @", local, "@example.com", ""},
		{"a plus", local, "alice+root@example.com", ""},
		{"root", whole, "root", ""},
		{"Root", whole, "Root", ""},
		{"a dot that makes a name of ours", whole, "cardea.canary", ""},
		{"a letter that only looks like one", whole, "аlice", ""}, // Cyrillic
		{"a sign that becomes a letter in lower case", whole, "\u212Aate", ""},
		{"a space", whole, "alice ang", ""},
		{"a line end", whole, "alice\n", ""},
		{"an option", whole, "-x", ""},
		{"a first dot", whole, ".alice", ""},
		{"33 letters", whole, strings.Repeat("a", 33), ""},
		{"32 letters", whole, strings.Repeat("a", 32), strings.Repeat("a", 32)},
		{"nothing", whole, "", ""},
		{"a number", whole, 7, ""},
		{"a list", whole, []any{"alice"}, ""},
		{"a guest of another tenant", local, "alice_gmail.com#EXT#@example.com", ""},
		{"no such rule", Rules{LoginClaim: "u", LoginRule: "any"}, "alice", ""},
	} {
		got, err := c.rules.Login(Claims{"u": c.said})
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if _, err := whole.Login(Claims{}); err == nil {
		t.Error("no claim made a login")
	}
}

func TestAnAddressThatWasNotVerifiedMakesNoLogin(t *testing.T) {
	r := Rules{LoginClaim: "email", LoginRule: store.LoginLocalPart, Domains: []string{"example.com"}}
	for _, c := range []struct {
		verified any
		ok       bool
	}{{true, true}, {"true", true}, {false, false}, {"false", false}, {nil, false}, {1, false}, {"TRUE", false}} {
		claims := Claims{"email": "alice@example.com", "email_verified": c.verified}
		if _, err := r.Login(claims); (err == nil) != c.ok {
			t.Errorf("verified %v: %v", c.verified, err)
		}
	}
	for _, claim := range []string{"email", `"email"`} {
		r.LoginClaim = claim
		if _, err := r.Login(Claims{"email": "alice@example.com"}); err == nil {
			t.Errorf("%s, of which nothing is said, made a login", claim)
		}
	}
}

// Whatever a provider says: what comes out is a login that agents take, and it comes of
// nothing but the claim's own letters.
func FuzzLogin(f *testing.F) {
	for _, s := range []string{"alice", "Alice.Ang@example.com", "root", "\u212A", "a@b@example.com", "..", "-@example.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		for _, rule := range []string{store.LoginWhole, store.LoginLocalPart} {
			login, err := Rules{LoginClaim: "u", LoginRule: rule, Domains: []string{"example.com"}}.Login(Claims{"u": said})
			if err != nil {
				continue
			}
			if ident.Login(login) != nil || !strings.HasPrefix(strings.ReplaceAll(strings.ToLower(said), ".", "-"), login) {
				t.Errorf("%q became %q", said, login)
			}
		}
	})
}

func TestGroups(t *testing.T) {
	r := Rules{GroupsClaim: "groups"}
	many := func(n int) (list []any) {
		for range n {
			list = append(list, "g")
		}
		return list
	}
	for _, c := range []struct {
		name   string
		rules  Rules
		claims Claims
		want   []string
		said   bool
		fails  bool
	}{
		{"a list", r, Claims{"groups": []any{"a", "SRE Team"}}, []string{"a", "SRE Team"}, true, false},
		{"one name", r, Claims{"groups": "a"}, []string{"a"}, true, false},
		{"no claim is no groups", r, Claims{}, []string{}, true, false},
		{"null is no groups", r, Claims{"groups": nil}, []string{}, true, false},
		{"an empty list", r, Claims{"groups": []any{}}, []string{}, true, false},
		{"a way through objects", Rules{GroupsClaim: "realm_access.roles"}, Claims{"realm_access": map[string]any{"roles": []any{"a"}}}, []string{"a"}, true, false},
		{"a name with dots comes first", Rules{GroupsClaim: "https://a.b/g"}, Claims{"https://a.b/g": []any{"a"}}, []string{"a"}, true, false},
		{"what is no name is left out", r, Claims{"groups": []any{"a", 7, nil, "", strings.Repeat("g", maxGroup+1), strings.Repeat("g", maxGroup)}}, []string{"a", strings.Repeat("g", maxGroup)}, true, false},
		{"the provider is not asked", Rules{}, Claims{"groups": []any{"a"}}, nil, false, false},
		{"a number", r, Claims{"groups": 7}, nil, false, true},
		{"an object", r, Claims{"groups": map[string]any{}}, nil, false, true},
		{"too many for a token", r, Claims{"_claim_names": map[string]any{"groups": "src1"}}, nil, false, true},
		{"too many, said otherwise", r, Claims{"hasgroups": true}, nil, false, true},
		{"2,001", r, Claims{"groups": many(MaxGroups + 1)}, nil, false, true},
	} {
		got, said, err := c.rules.Groups(c.claims)
		if !cmp.Equal(got, c.want) || said != c.said || (err != nil) != c.fails {
			t.Errorf("%s: got %v, %v, %v", c.name, got, said, err)
		}
	}
	if got, _, err := r.Groups(Claims{"groups": many(MaxGroups)}); err != nil || len(got) != MaxGroups {
		t.Errorf("2,000: %d, %v", len(got), err)
	}
}

func TestRequiredClaims(t *testing.T) {
	r := Rules{Require: map[string]string{"hd": "example.com", "groups": "staff"}}
	for _, c := range []struct {
		claims Claims
		ok     bool
	}{
		{Claims{"hd": "example.com", "groups": []any{"x", "staff"}}, true},
		{Claims{"hd": "example.com", "groups": "staff"}, true},
		{Claims{"hd": "example.com"}, false},
		{Claims{"hd": "Example.com", "groups": "staff"}, false},
		{Claims{"hd": []any{}, "groups": "staff"}, false},
		{Claims{"hd": map[string]any{"example.com": true}, "groups": "staff"}, false},
		{Claims{}, false},
	} {
		if err := r.Admit(c.claims); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.claims, err)
		}
	}
	if err := (Rules{}).Admit(nil); err != nil {
		t.Error(err)
	}
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct{ name, claim, value, want string }{
		{"a name", "name", "Alice Ang", "Alice Ang"},
		{"one of another script", "name", "李明", "李明"},
		{"a colon, which ends a field of passwd", "name", "a:0:0", ""},
		{"a line end", "name", "a\nroot", ""},
		{"an escape", "name", "a\x1b[2J", ""},
		{"101 bytes", "name", strings.Repeat("a", 101), ""},
		{"an address", "email", "alice@example.com", "alice@example.com"},
		{"no address", "email", "alice", ""},
		{"an address with a name", "email", "Alice <alice@example.com>", ""},
	} {
		full, email := Attributes(Claims{c.claim: c.value})
		got := map[string]*string{"name": full, "email": email}[c.claim]
		if (got == nil) != (c.want == "") || got != nil && *got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if full, _ := Attributes(Claims{"given_name": "Alice", "family_name": "Ang"}); full == nil || *full != "Alice Ang" {
		t.Errorf("of two parts: %v", full)
	}
	if _, email := Attributes(Claims{"email": "a@example.com", "email_verified": false}); email != nil {
		t.Error("an address that is not verified is shown as his")
	}
}

func TestIssuersAreHTTPSAlone(t *testing.T) {
	strict, loose := New(Options{}), New(Options{LoopbackHTTP: true})
	for raw, ok := range map[string][2]bool{
		"https://example.okta.com":                 {true, true},
		"https://example.com:8443/realms/x":        {true, true},
		"https://login.microsoftonline.com/t/v2.0": {true, true},
		"http://127.0.0.1:8080":                    {false, true},
		"http://localhost:8080/realms/x":           {false, true},
		"http://[::1]:8080":                        {false, true},
		"http://example.com":                       {},
		"http://127.0.0.1.example.com":             {},
		"ftp://example.com":                        {},
		"file:///etc/passwd":                       {},
		"https://":                                 {},
		"https://a:b@example.com":                  {},
		"https://example.com?x=1":                  {},
		"https://example.com?":                     {},
		"https://example.com#x":                    {},
		"https://example.com#":                     {},
		"example.com":                              {},
		"":                                         {},
		"https://example.com/\n":                   {},
		"https://example.com/" + strings.Repeat("a", maxURL): {},
	} {
		if err := strict.CheckIssuer(raw); (err == nil) != ok[0] {
			t.Errorf("%q: %v", raw, err)
		}
		if err := loose.CheckIssuer(raw); (err == nil) != ok[1] {
			t.Errorf("%q for tests: %v", raw, err)
		}
	}
}

func TestAddressesOfMetadataAreNeverDialled(t *testing.T) {
	for address, ok := range map[string]bool{
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "::ffff:169.254.169.254": false, "fd00:ec2::254": false,
		"0.0.0.0": false, "::": false, "224.0.0.1": false, "ff02::1": false,
		"10.0.0.1": true, "192.168.1.1": true, "fd00::1": true, "192.0.2.1": true, "127.0.0.1": true,
	} {
		if err := refuseAddress("tcp", net.JoinHostPort(address, "443"), nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	i := New(Options{})
	if _, _, err := i.get(t.Context(), "https://169.254.169.254/latest/meta-data/", ""); err == nil || !strings.Contains(err.Error(), "not one of a provider") {
		t.Errorf("dialled: %v", err)
	}
	if err := checkURL(&url.URL{Scheme: "http", Host: "169.254.169.254"}, true); err == nil {
		t.Error("http to metadata is allowed for tests")
	}
}

func TestKeysThatAreNotForUsArePassedOver(t *testing.T) {
	const good = `{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	set, err := parseKeys([]byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new","x":1},{"kty":"OKP","crv":"X448"},` + strings.Replace(good, "{", `{"use":"enc",`, 1) + `,` + good + `,7]}`))
	if err != nil || len(set) != 1 || set[0].KeyID != "a" {
		t.Errorf("got %d keys, %v", len(set), err)
	}
	for name, text := range map[string]string{"nothing": `{}`, "a secret": `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "no JSON": `<html>`, "no keys": `{"keys":[]}`} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("%s is a set of keys", name)
		}
	}
	set, err = parseKeys([]byte(`{"keys":[` + strings.Repeat(good+",", maxKeys) + good + `]}`))
	if err != nil || len(set) != maxKeys {
		t.Errorf("%d keys of %d, %v", len(set), maxKeys+1, err)
	}
}

func TestTextsOfAClaim(t *testing.T) {
	c := Claims{"text": "a", "none": "", "number": json.Number("7"), "yes": true, "list": []any{"a", json.Number("1"), nil, map[string]any{}, false},
		"object": map[string]any{"in": "b"}, "null": nil,
		"kubernetes.io": map[string]any{"namespace": "prod", "a.b": "c", "pod": map[string]any{"name": "web"}}, `"odd`: "d", "x.y": "whole", "x": map[string]any{"y": "part"}}
	for name, want := range map[string][]string{
		"text": {"a"}, "none": {""}, "number": {"7"}, "yes": {"true"}, "list": {"a", "1", "false"}, "object": nil, "object.in": {"b"}, "null": nil, "missing": nil,
		`"kubernetes.io".namespace`: {"prod"}, `"kubernetes.io"."a.b"`: {"c"}, `"kubernetes.io".pod.name`: {"web"}, `"text"`: {"a"}, `object."in"`: {"b"},
		"kubernetes.io.namespace": nil, `"kubernetes.io`: nil, `"kubernetes.io".`: nil, `"kubernetes.io"namespace`: nil, `""`: nil, `"`: nil, `"odd`: {"d"},
		"x.y": {"whole"}, `"x".y`: {"part"}, "object.": nil,
	} {
		if got := c.Texts(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
