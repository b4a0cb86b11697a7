package directory

import (
	"strings"
	"testing"
)

func TestNamesToSignInWith(t *testing.T) {
	for name, ok := range map[string]bool{
		"alice": true, "alice.b": true, "alice@example.com": true, "a": true, "_svc": true, "7of9": true, "a+b": true,
		"": false, "Alice": false, ".alice": false, "alice.": false, "-alice": false, "alice b": false, "alice\n": false, "alïce": false,
		"<script>": false, "a'b": false, "a:b": false, "a/b": false, "usr_aaaaaaaaaaaaaaaaaaaa": false,
		strings.Repeat("a", MaxName): true, strings.Repeat("a", MaxName+1): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The login is the name itself or what the administrator says; no letter is ever
// replaced, because alice.b and alice_b would become one account.
func TestTheLoginIsNeverBentIntoShape(t *testing.T) {
	for _, c := range []struct{ name, asked, want string }{
		{"alice", "", "alice"}, {"alice.b", "", ""}, {"alice@example.com", "alice", "alice"}, {"alice", "ally", "ally"},
		{"root", "", ""}, {"alice", "root", ""}, {"sudo", "", ""}, {"7of9", "", ""}, {"alice", "cardea-canary", ""}, {"alice", "a b", ""},
		{strings.Repeat("a", 33), "", ""}, {strings.Repeat("a", 32), "", strings.Repeat("a", 32)},
	} {
		got, err := loginOf(c.name, c.asked)
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%q asked %q: got %q, %v; want %q", c.name, c.asked, got, err, c.want)
		}
	}
}

func TestTextThatIsOnlyShown(t *testing.T) {
	for s, ok := range map[string]bool{
		"": true, "Alice Example": true, "Ålesund Ünal": true, "<script>alert(1)</script>": true, // inert: escaped where it is shown
		"a\nb:x:0:0": false, "a:b": false, "a\x1b[2J": false, "a\u202eb": false, "a\x00": false, "\xff": false, `a\b`: false,
		strings.Repeat("a", MaxFullName): true, strings.Repeat("a", MaxFullName+1): false,
	} {
		if err := checkText("full name", s, MaxFullName); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
	for s, ok := range map[string]bool{"": true, "a@b.example": true, "a": false, "@b": false, "a@": false, "a b@c": false, "<a@b>": false, "a@b\nBcc: c@d": false} {
		if err := checkEmail(s); (err == nil) != ok {
			t.Errorf("e-mail %q: %v", s, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	for s, ok := range map[string]bool{
		"short": false, strings.Repeat("p", MinPassword-1): false, strings.Repeat("p", MinPassword): true,
		strings.Repeat("p", MaxPassword): true, strings.Repeat("p", MaxPassword+1): false, "alice-the-great": false,
	} {
		if err := CheckPassword(s, "Alice-The-Great"); (err == nil) != ok {
			t.Errorf("%d bytes: %v", len(s), err)
		}
	}
	a, b := NewPassword(), NewPassword()
	if a == b || CheckPassword(a, "alice") != nil || len(a) != 23 {
		t.Errorf("made %q and %q", a, b)
	}
}
