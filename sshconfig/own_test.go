package sshconfig

import (
	"strings"
	"testing"
)

func TestOwnHostsFindsTheNamesThatAreTaken(t *testing.T) {
	own := OwnHosts([]byte(`
Include more/*
Host web-1 "web 2" Web-3   # db-9
	User bob
host=web-4
Host jump-* !jump-9
  hostname jump.example.com
Host vm-*
  User bob
Host *
  ProxyJump bastion
Match host m-1,m-2 user bob
Match originalhost m-3
Match exec "grep web-5"
Host web-6	`), func(pattern string) [][]byte {
		if pattern == "more/*" {
			return [][]byte{[]byte("Host inc-1\nInclude more/*\n"), []byte("Host inc-2")}
		}
		return nil
	})
	for name, want := range map[string]bool{
		"web-1": true, "web 2": true, "web-3": true, "WEB-1": true, "web-4": true, "web-6": true, "jump-1": true, "jump-9": false, "vm-1": false,
		"other": false, "m-1": true, "m-2": true, "m-3": true, "web-5": false, "bob": false, "db-9": false, "inc-1": true, "inc-2": true,
	} {
		if own.Uses(name) != want {
			t.Errorf("%s: got %v, want %v", name, !want, want)
		}
	}
}

func TestPatternsMatchAsInSSH(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"web-*", "web-1", true}, {"web-*", "web-", true}, {"web-*", "web", false}, {"w?b", "web", true}, {"w?b", "wb", false},
		{"*.example.com", "a.example.com", true}, {"*a*b*c", "xxaxxbxxc", true}, {"*a*b*c", "xxaxxcxxb", false}, {"", "", true}, {"", "a", false}, {"**", "a", true},
	} {
		if matchPattern(c.pattern, c.name) != c.want {
			t.Errorf("%q and %q: want %v", c.pattern, c.name, c.want)
		}
	}
}

// A user's file is not hostile, but it is strange at times: reading it never panics and
// never takes long.
func FuzzOwnHosts(f *testing.F) {
	f.Add("Host a b\n  HostName c\nMatch host=x\n", "a")
	f.Add("Host \"a\nInclude x", "b")
	f.Add("Host "+strings.Repeat("*a", 50)+"\nHostName x", strings.Repeat("a", 100)+"b")
	f.Fuzz(func(t *testing.T, config, name string) {
		OwnHosts([]byte(config), func(string) [][]byte { return [][]byte{[]byte("Host x")} }).Uses(name)
		if in, _, err := Include([]byte(config), includePath); err == nil {
			if out, _, err := Exclude(in, includePath); err != nil || !strings.Contains(config, "cardea/config") && string(out) != config {
				t.Fatalf("%q came back as %q, %v", config, out, err)
			}
		}
	})
}
